"""What is decided or told is a value: nobody changes it, and two of a kind are told apart as their docstrings say."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import bnfold.affine
import bnfold.folding
import bnfold.ops

TOLD = {
    "AffineInfo",
    "Folded",
    "Inspection",
    "Kept",
    "Manner",
    "Options",
    "Preference",
    "Refusal",
    "Settlement",
}
"""Values: two of the same content are equal."""
HOLDING = {"FoldResult", "Round", "Specialized", "_Attempt"}
"""What holds a model, as large as that, and is never compared."""
IN_WORK = {"Detour", "Price", "State"}
"""What an attempt works with."""


def classes() -> Iterator[type]:
    """Every dataclass of the algebra, the rules and the fold."""
    yield bnfold.affine.Affine
    for package in (bnfold.ops, bnfold.folding):
        for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = import_module(entry.name)
            own = (kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == entry.name)
            yield from (kind for kind in own if "__dataclass_params__" in vars(kind))


def test_what_is_told_and_what_holds_a_model_can_not_be_changed() -> None:
    kept = {kind.__name__ for kind in classes() if vars(kind)["__dataclass_params__"].frozen}
    assert kept == TOLD | HOLDING


def test_what_is_told_is_compared_by_its_content_and_all_else_by_identity() -> None:
    assert {kind.__name__ for kind in classes() if vars(kind)["__dataclass_params__"].eq} == TOLD | IN_WORK
