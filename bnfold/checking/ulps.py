"""How many representable numbers lie between two: the distance in units of the last place, whatever the magnitude.

Read as an integer, the bits of a positive IEEE number grow with it, one per representable number; those of a negative
one count the other way. So the distance is a difference of integers (Dawson, "Comparing floating point numbers", 2012).
bfloat16 is the upper half of a float32 and counts in the same way.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def ulp_histogram(reference: Array, other: Array) -> tuple[int, ...]:
    """Count the elements of two finite arrays of one float type by their distance.

    Returns:
        How many are 0 apart, 1, 2, up to 4, up to 8, and so on, as far as there are any.
    """
    counts = np.bincount(_bin(_distance(reference, other)).reshape(-1), minlength=1)
    return tuple(int(count) for count in counts)


def describe_ulps(counts: tuple[int, ...]) -> str:
    """A histogram in words: `"half within 4 ulps, all within 128"`."""
    if len(counts) == 1:
        return "every bit the same"
    total, below, half = sum(counts), 0, 0
    for place, count in enumerate(counts):
        below += count
        if 2 * below >= total:
            half = place
            break
    return f"half within {_bound(half)} ulps, all within {_bound(len(counts) - 1)}"


def _bound(place: int) -> int:
    """The largest distance that counts at a place of the histogram."""
    return 2 ** (place - 1) if place else 0


def _bin(distance: NDArray[np.uint64]) -> NDArray[np.int64]:
    """0 for 0, else 1 + ceil(log2(distance))."""
    below = np.maximum(distance, 1) - np.uint64(1)
    exponents = np.frexp(below.astype(np.float64))[1].astype(np.int64)
    return np.where(distance == 0, 0, exponents + 1)


def _distance(reference: Array, other: Array) -> NDArray[np.uint64]:
    first, second = _place(reference), _place(other)
    return np.where(first > second, first - second, second - first)


def _place(array: Array) -> NDArray[np.uint64]:
    """The number of each value among all of its type, in ascending order; -0 and 0 are one."""
    bits = array.dtype.itemsize * 8
    raw = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").astype(np.uint64)
    sign = np.uint64(1 << (bits - 1))
    magnitude = raw & (sign - np.uint64(1))
    return np.where(raw & sign, sign - magnitude, sign + magnitude)
