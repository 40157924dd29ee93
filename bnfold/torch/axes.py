"""Axes that operators take as an attribute in old versions and as an input in new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from bnfold.torch.registry import Spec
from bnfold.torch.values import Host, integers

Axes = Callable[[Tensor | Host | None], list[int] | None]


def axes_of(spec: Spec, *, input_since: int) -> Axes:
    """Gives the axes of a run from the input; None where the graph says none."""
    if spec.version >= input_since:
        return lambda given: None if given is None else integers(given)
    fixed = spec.get("axes")
    return lambda _: None if fixed is None else list(fixed)


def normalized(axes: Iterable[int], rank: int) -> list[int]:
    """The axes counted from the front, in order."""
    return sorted(axis % rank for axis in axes)


def squeezed(shape: Iterable[int], axes: list[int] | None) -> list[int]:
    """The shape without those axes of size one, without all of them for None."""
    found = list(shape)
    gone = [k for k, size in enumerate(found) if size == 1] if axes is None else normalized(axes, len(found))
    return [size for k, size in enumerate(found) if k not in gone]


def unsqueezed(shape: Iterable[int], axes: list[int]) -> list[int]:
    """The shape with axes of size one at those places of the result."""
    found = list(shape)
    for axis in normalized(axes, len(found) + len(axes)):
        found.insert(axis, 1)
    return found
