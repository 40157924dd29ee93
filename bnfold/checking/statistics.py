"""How far two arrays are apart. Pure numpy; every error is computed in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnfold.checking.ulps import ulp_histogram
from bnfold.runtime import FLOATS

Array: TypeAlias = NDArray[Any]
Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """How far an output is from its reference, over the positions where both are finite.

    Attributes:
        max_abs: max|y - y'|; for values that are not floats, at least 1 where any of them differ.
        mean_abs: mean|y - y'|.
        max_rel: max(|y - y'| / |y|) over the positions where y is not 0.
        max_y: max|y| of the reference.
        cosine: Of the two as vectors; 1 where both are zero, `None` for values that are not floats.
        argmax_agreement: The share of rows with the same largest entry; `None` for what does not look like scores.
        ulps: How many elements are how many representable numbers apart (see `bnfold.checking.ulps`); empty for values
            that are not floats.
        shape_match: Whether the shapes agree. Where they do not, the errors are infinite.
        nonfinite_match: Whether NaN, +inf and -inf each are at the same positions.
        finite: How many positions of the reference are finite.
        size: How many positions there are.
    """

    max_abs: float
    mean_abs: float
    max_rel: float
    max_y: float
    cosine: float | None
    argmax_agreement: float | None
    ulps: tuple[int, ...]
    shape_match: bool
    nonfinite_match: bool
    finite: int
    size: int

    @property
    def needed(self) -> float:
        """The tolerance that would let it pass; infinite where none would."""
        return self.max_abs if self.shape_match and self.nonfinite_match else float("inf")


def difference(reference: Array, other: Array) -> Difference:
    """Measure `other` against `reference`; any shapes, any element types that numpy holds, strings among them."""
    usable = _finite(reference)
    peak = _largest(_magnitudes(reference)[usable])
    if reference.shape != other.shape:
        infinite = float("inf")
        return Difference(
            infinite, infinite, infinite, peak, None, None, (), False, True, int(usable.sum()), reference.size
        )
    both = usable & _finite(other)
    errors = _errors(reference[both], other[both])
    return Difference(
        max_abs=_largest(errors),
        mean_abs=float(errors.mean()) if errors.size else 0.0,
        max_rel=_largest_ratio(errors, _magnitudes(reference[both])),
        max_y=peak,
        cosine=_cosine(reference[both], other[both]) if is_float(reference) else None,
        argmax_agreement=_argmax_agreement(reference, other) if is_float(reference) else None,
        ulps=_ulps(reference[both], other[both]),
        shape_match=True,
        nonfinite_match=_nonfinite_match(reference, other),
        finite=int(usable.sum()),
        size=reference.size,
    )


def is_float(array: Array) -> bool:
    """Whether the values are rounded, so that two of them may differ by rounding."""
    return array.dtype.name in FLOATS


def _finite(array: Array) -> NDArray[np.bool_]:
    """Where the values are finite; everywhere for types that know no infinity."""
    if not is_float(array):
        return np.ones(array.shape, dtype=bool)
    return np.asarray(np.isfinite(array), dtype=bool)


def _magnitudes(array: Array) -> Doubles:
    """|y| in float64; 1 for every value that is not a number."""
    if is_float(array) or array.dtype.kind in "biu":
        return np.asarray(np.abs(array.astype(np.float64)))
    return np.ones(array.shape)


def _largest(values: Doubles) -> float:
    """The largest of some magnitudes; 0 when there are none."""
    return float(values.max(initial=0.0))


def _largest_ratio(errors: Doubles, magnitudes: Doubles) -> float:
    """The largest error over its value; 0 where no value has a magnitude."""
    there = magnitudes > 0
    with np.errstate(over="ignore"):  # an error of 1 at the smallest double: infinite is what it is
        return _largest(errors[there] / magnitudes[there])


def _ulps(reference: Array, other: Array) -> tuple[int, ...]:
    if not is_float(reference) or reference.dtype != other.dtype:
        return ()
    return ulp_histogram(reference, other)


def _errors(reference: Array, other: Array) -> Doubles:
    if is_float(reference):
        return np.asarray(np.abs(reference.astype(np.float64) - other.astype(np.float64)))
    unequal = np.asarray(reference != other).astype(np.float64)
    if reference.dtype.kind not in "iu":
        return unequal
    # Two 64-bit integers may differ and still be one float64.
    return np.maximum(unequal, np.abs(reference.astype(np.float64) - other.astype(np.float64)))


def _nonfinite_match(reference: Array, other: Array) -> bool:
    if not is_float(reference):
        return True
    classes = (np.isnan, np.isposinf, np.isneginf)
    first, second = (array.astype(np.float64) for array in (reference, other))
    return all(bool(np.array_equal(where(first), where(second))) for where in classes)


def _cosine(reference: Array, other: Array) -> float:
    first, second = _unit(reference), _unit(other)
    if not first.any() and not second.any():
        return 1.0
    return float(np.clip(first @ second, -1.0, 1.0))


def _unit(array: Array) -> Doubles:
    """The direction of an array as a vector of length 1; zeros stay zeros."""
    vector = array.astype(np.float64).reshape(-1)
    peak = _largest(np.abs(vector))
    if peak == 0.0:
        return vector
    scaled = vector / peak  # so that squares neither overflow nor vanish
    return np.asarray(scaled / np.linalg.norm(scaled))


def _argmax_agreement(reference: Array, other: Array) -> float | None:
    """For what looks like scores: a row of two or more per sample ([N, C] or [C]), or a map of them ([N, C, H, W]).

    Rows run along axis 1 of a map, along the last axis of any other.
    """
    if reference.ndim == 0 or reference.size == 0:
        return None
    axis = 1 if reference.ndim >= 4 else -1
    if reference.shape[axis] < 2:
        return None
    return float((reference.argmax(axis) == other.argmax(axis)).mean())
