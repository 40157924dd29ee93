"""Which tensor inside two graphs is the first to differ, in the order of the original's computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnfold.checking.insides import Insides
from bnfold.checking.intermediates import CHUNK_BYTES
from bnfold.checking.location import DIFFERENT, EQUAL, RESCALED, Location, TensorError
from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.checking.tensors import Tensor, tensors_of
from bnfold.checking.trials import Feeds
from bnfold.runtime import vary_inputs

__all__ = ["Location", "TensorError", "locate"]

_RUNS = 4
"""Enough for a map per channel of a [1, C] tensor: two numbers to find, and two samples that have to agree."""


def locate(
    before: Subject,
    after: Subject,
    feeds: Sequence[Feeds],
    settings: Settings,
    provider: str,
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> Location:
    """Compare every tensor of the main graph that both models have under one name, on up to four sets of inputs.

    Args:
        before: The original.
        after: The other model.
        feeds: The inputs of the check; its first two, its last, and variations of the first are used.
        settings: The caller's.
        provider: Where both run, by onnxruntime's name.
        chunk_bytes: How much of the tensors may be in memory at a time.

    Raises:
        ModelError: A model can not be loaded or run.
        RuntimeUnavailable: The provider can not run it.
    """
    tensors = tensors_of(before)
    others = {tensor.name for tensor in tensors_of(after)}
    common = [tensor for tensor in tensors if tensor.name in others]
    insides = Insides(before, after, _runs(feeds, settings.seed), settings, provider, chunk_bytes)
    return _located(tensors, insides.errors(common), len(tensors) - len(common))


def _runs(feeds: Sequence[Feeds], seed: int) -> list[Feeds]:
    chosen = [*feeds[:2], *feeds[2:][-1:]]
    return chosen + [vary_inputs(feeds[0], seed=seed + number) for number in range(_RUNS - len(chosen))]


def _located(tensors: Sequence[Tensor], errors: Mapping[str, TensorError], unmatched: int) -> Location:
    made = {tensor.name: tensor for tensor in tensors}
    first = next((error for error in errors.values() if error.state == DIFFERENT), None)
    if first is None:
        wrong = next((error for name, error in errors.items() if made[name].is_output and error.state != EQUAL), None)
        first = wrong and min((wrong, *_in_front(wrong, made, errors)[1]), key=list(errors.values()).index)
    agreeing, moved = _in_front(first, made, errors) if first else ((), ())
    return Location(first, tuple(errors.values()), unmatched, agreeing, moved)


def _in_front(
    error: TensorError, made: Mapping[str, Tensor], errors: Mapping[str, TensorError]
) -> tuple[tuple[TensorError, ...], tuple[TensorError, ...]]:
    """The tensors that agree and from which nothing that agrees leads to this one, and the rescaled ones in between."""
    pending, seen = list(made[error.name].reads), {error.name}
    while pending:
        name = pending.pop()
        if name not in seen and name in made:
            seen.add(name)
            if name not in errors or errors[name].state != EQUAL:
                pending += made[name].reads
    met = [found for name, found in errors.items() if name in seen - {error.name}]
    agreeing, moved = (tuple(found for found in met if found.state == state) for state in (EQUAL, RESCALED))
    return agreeing, moved
