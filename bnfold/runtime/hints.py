"""What a graph says of the values that its inputs can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Extent:
    """A number that depends on the size of an open axis.

    Attributes:
        axis: The axis, by `axis_key`.
        plus: What comes to its size.
    """

    axis: str
    plus: int = 0

    def __add__(self, number: int) -> Extent:
        return Extent(self.axis, self.plus + number)


Bound: TypeAlias = "int | float | Extent"
Bounds: TypeAlias = "Bound | tuple[Bound, ...]"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both bounds are whole.

    Attributes:
        low: The smallest, for all elements or one for each along the last axis.
        high: The largest, likewise.
    """

    low: Bounds
    high: Bounds

    @classmethod
    def exactly(cls, values: Bounds) -> Range:
        """No choice: these values."""
        return cls(values, values)

    def resolve(self, sizes: Mapping[str, int], shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """The bounds in numbers; `None` where a size is not known, or they are not for values of this shape."""
        low, high = _numbers(self.low, sizes), _numbers(self.high, sizes)
        if low is None or high is None or not (_is_for(low, shape) and _is_for(high, shape)):
            return None
        return low, high

    def for_any_order(self) -> Range | None:
        """The range for values that are in another order than the bounds; `None` where no one range holds for all."""
        bounds = [*_each(self.low), *_each(self.high)]
        if not isinstance(self.low, tuple) and not isinstance(self.high, tuple):
            return self
        if any(isinstance(bound, Extent) for bound in bounds):
            return None
        low = max(bound for bound in _each(self.low) if not isinstance(bound, Extent))
        high = min(bound for bound in _each(self.high) if not isinstance(bound, Extent))
        return Range(low, high) if low <= high else None


@dataclass(frozen=True)
class Choice:
    """One of some values.

    Attributes:
        values: Strings or integers, at least one.
    """

    values: tuple[str | int, ...]


Hint: TypeAlias = "Range | Choice"
Hints: TypeAlias = Mapping[str, Sequence[Hint]]
"""By the name of the input, one for every reader that says something."""


def hints_of(model: ModelProto) -> Hints:
    """What the readers of a model's inputs say of the values that they can take.

    Args:
        model: The model; large weights may be missing, as only the shapes of tables are looked at.

    Returns:
        Nothing for an input that no reader needs anything of, and nothing at all for a graph that is no sound one.
    """
    from bnfold.runtime.tracing import trace_inputs

    return trace_inputs(model)


def _each(bounds: Bounds) -> tuple[Bound, ...]:
    return bounds if isinstance(bounds, tuple) else (bounds,)


def _numbers(bounds: Bounds, sizes: Mapping[str, int]) -> NDArray[Any] | None:
    if any(isinstance(bound, Extent) and bound.axis not in sizes for bound in _each(bounds)):
        return None
    numbers = [sizes[bound.axis] + bound.plus if isinstance(bound, Extent) else bound for bound in _each(bounds)]
    return np.array(numbers if isinstance(bounds, tuple) else numbers[0])


def _is_for(bounds: NDArray[Any], shape: tuple[int, ...]) -> bool:
    return bounds.ndim == 0 or (len(shape) > 0 and shape[-1] == bounds.size)
