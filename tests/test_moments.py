"""Mean and variance of a stream: the same whatever the batches, and precise where sums of squares would not be."""

from functools import reduce

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Array, normal

from bnfold.inserting.moments import Moments, moments_of, nothing

NUMBERS = st.floats(-1e6, 1e6, width=32)
COLUMNS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12)


def moments(rows: list[tuple[float, float]]) -> Moments:
    return moments_of(np.array(rows, np.float32).reshape(-1, 2), 1)


def assert_close(one: Moments, other: Moments, largest: float) -> None:
    assert one.count == other.count
    np.testing.assert_allclose(one.mean, other.mean, rtol=0, atol=1e-14 * largest)
    np.testing.assert_allclose(one.squares, other.squares, rtol=1e-12, atol=1e-14 * largest**2)


@given(st.lists(COLUMNS, min_size=1, max_size=6))
def test_batches_of_any_sizes_join_to_what_numpy_says_of_the_whole(parts: list[list[tuple[float, float]]]) -> None:
    joined = reduce(Moments.joined, [moments(part) for part in parts], nothing(2))
    whole = np.array([row for part in parts for row in part], np.float64).reshape(-1, 2)
    assert joined.count == len(whole)
    if not len(whole):
        return
    largest = 1 + np.abs(whole).max()
    np.testing.assert_allclose(joined.mean, whole.mean(0), rtol=0, atol=1e-14 * largest)
    np.testing.assert_allclose(joined.variance, whole.var(0), rtol=1e-12, atol=1e-14 * largest**2)


@given(COLUMNS, COLUMNS, COLUMNS)
def test_joining_is_associative_and_commutative(
    a: list[tuple[float, float]], b: list[tuple[float, float]], c: list[tuple[float, float]]
) -> None:
    one, two, three = moments(a), moments(b), moments(c)
    largest = 1 + max((abs(number) for part in (a, b, c) for row in part for number in row), default=0.0)
    assert_close(one.joined(two).joined(three), one.joined(two.joined(three)), largest)
    assert_close(one.joined(two), two.joined(one), largest)


def test_a_mean_of_a_million_with_a_variance_of_a_thousandth_loses_no_digits() -> None:
    # Next to a million float32 has steps of 1/16: one value in four is one step up, a variance of 3/16 of 1/256.
    values = np.full((4096, 1), 1e6, np.float32)
    values[::4] += np.float32(0.0625)
    parts = [moments_of(part, 1) for part in np.array_split(values, 7)]
    joined = reduce(Moments.joined, parts, nothing(1))
    np.testing.assert_allclose(joined.mean, [1e6 + 0.0625 / 4], rtol=4e-16)
    # A mean of a million has steps of 1e-10 in float64 too, which the distance between two parts is off by.
    np.testing.assert_allclose(joined.variance, [3 / 16 / 256], rtol=1e-10)
    naive = (values.astype(np.float32) ** 2).mean() - values.mean() ** 2
    assert abs(naive - 3 / 16 / 256) > 1, "this would be no test of stability"


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-20, 12345.678, -7e8])
@pytest.mark.parametrize("count", [3, 7, 1000, 4097])
def test_a_channel_that_never_changes_has_a_variance_of_exactly_zero(value: float, count: int) -> None:
    values = np.full((count, 2), value)
    values[:, 1] = normal(count)
    parts = [moments_of(part, 1) for part in np.array_split(values, 3)]
    joined = reduce(Moments.joined, parts, nothing(2))
    assert joined.dead == 1
    assert joined.mean[0] == value


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_channels_lie_on_any_axis_and_in_any_type(axis: int, kind: type) -> None:
    values: Array = normal(3, 4, 5, 6).astype(kind)
    others = tuple(other for other in range(4) if other != axis)
    found, wide = moments_of(values, axis), values.astype(np.float64)
    np.testing.assert_allclose(found.mean, wide.mean(others), rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.variance, wide.var(others), rtol=1e-12)


def test_the_values_themselves_are_not_touched() -> None:
    values = normal(8, 3, dtype=np.float64)
    before = values.copy()
    moments_of(values, 1)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e308])
def test_what_is_not_finite_is_told(wrong: float) -> None:
    values = normal(8, 3, dtype=np.float64)
    values[4, 1] = wrong
    found = moments_of(values, 1)
    assert not found.is_finite
    assert not nothing(3).joined(found).is_finite
