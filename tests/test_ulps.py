"""Distances in representable numbers, for every float type."""

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from bnfold.checking.ulps import describe_ulps, ulp_histogram

TYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("value", [1.0, -1.0, 0.5, 3.0, -2.5])
def test_neighbours_are_one_apart(dtype: npt.DTypeLike, value: float) -> None:
    one = np.array([value], dtype)
    bits = one.view(f"u{one.dtype.itemsize}")
    assert ulp_histogram(one, one) == (1,)
    assert ulp_histogram(one, (bits + 1).view(dtype)) == (0, 1)
    assert ulp_histogram((bits + 5).view(dtype), one) == (0, 0, 0, 0, 1)  # up to 8


@pytest.mark.parametrize("dtype", TYPES)
def test_both_zeros_are_one_and_the_numbers_beside_it_are_two_apart(dtype: npt.DTypeLike) -> None:
    zeros = np.array([0.0, -0.0], dtype)
    assert ulp_histogram(zeros, zeros[::-1]) == (2,)
    smallest = np.array([1], f"u{zeros.dtype.itemsize}").view(dtype)
    assert ulp_histogram(smallest, -smallest) == (0, 0, 1)


def test_the_largest_distance_does_not_overflow() -> None:
    largest = np.array([np.finfo(np.float64).max])
    assert sum(ulp_histogram(-largest, largest)) == 1
    assert len(ulp_histogram(-largest, largest)) == 66  # up to 2**64


def test_words() -> None:
    assert describe_ulps((10,)) == "every bit the same"
    assert describe_ulps((5, 3, 1, 1)) == "half within 0 ulps, all within 4"
    assert describe_ulps((1, 1, 0, 2, 1)) == "half within 4 ulps, all within 8"
