"""Data as batches: what callers have, cut along the first axis, and what is wrong with it in a sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from support import Array, normal

from bnfold.errors import UsageError
from bnfold.inserting.batches import as_batches, batches_of, is_read_once
from bnfold.runtime import Port, load_data

X = Port("x", "float32", ("N", 3))
MASK = Port("mask", "int64", ("N",))


def rows(batches: Any, name: str = "x") -> list[int]:
    return [len(feeds[name]) for feeds in batches]


def together(batches: Any, name: str = "x") -> Array:
    return np.concatenate([feeds[name] for feeds in batches])


@pytest.mark.parametrize(("size", "expected"), [(None, [10]), (4, [4, 4, 2]), (5, [5, 5]), (10, [10]), (99, [10])])
def test_a_set_is_cut_along_the_first_axis_and_a_partial_last_batch_is_kept(
    size: int | None, expected: list[int]
) -> None:
    x = normal(10, 3)
    batches = list(as_batches({"x": x}, [X], size))
    assert rows(batches) == expected
    np.testing.assert_array_equal(together(batches), x)


def test_all_inputs_are_cut_alike_and_what_is_no_input_is_left_out() -> None:
    data = {"x": normal(5, 3), "mask": np.arange(5), "labels": np.arange(5)}
    batches = list(as_batches(data, [X, MASK], 2))
    assert [sorted(feeds) for feeds in batches] == [["mask", "x"]] * 3
    np.testing.assert_array_equal(together(batches, "mask"), np.arange(5))


def test_inputs_with_different_numbers_of_rows_are_not_cut() -> None:
    other = Port("other", "float32", ("M", 3))
    data = {"x": normal(4, 3), "other": normal(6, 3)}
    assert rows(as_batches(data, [X, other])) == [4]
    with pytest.raises(UsageError, match=r"different numbers of rows \(4 in 'x', 6 in 'other'\)"):
        list(as_batches(data, [X, other], 2))


def test_a_set_with_an_input_that_has_no_rows_stays_whole() -> None:
    weights = Port("weights", "float32", (3, 3))
    assert rows(as_batches({"x": normal(10, 3), "weights": normal(3, 3)}, [X, weights], 4)) == [10]


def test_a_model_that_is_fixed_to_a_batch_gets_that_batch_whatever_is_asked_for() -> None:
    port = Port("x", "float32", (4, 3))
    assert rows(as_batches({"x": normal(8, 3)}, [port])) == [4, 4]
    assert rows(as_batches({"x": normal(8, 3)}, [port], 3)) == [4, 4]
    with pytest.raises(UsageError, match=r"wrong shape: expected \[4, 3\], got \[9, 3\]"):
        list(as_batches({"x": normal(9, 3)}, [port]))


def test_a_generator_is_read_as_it_goes_and_once() -> None:
    given = []

    def sets() -> Iterator[dict[str, Array]]:
        for number in range(3):
            given.append(number)
            yield {"x": normal(4, 3, seed=number)}

    batches = as_batches(sets(), [X], 2)
    assert is_read_once(batches)
    running = iter(batches)
    next(running)
    assert given == [0]
    assert len(list(running)) == 5
    with pytest.raises(UsageError, match="iterator that has been read"):
        iter(batches)


def test_a_list_is_read_as_often_as_need_be() -> None:
    batches = as_batches([{"x": normal(3, 3)}, {"x": normal(2, 3)}], [X])
    assert not is_read_once(batches)
    assert rows(batches) == rows(batches) == [3, 2]


def test_files_are_loaded_and_cut_whatever_kind_they_are(tmp_path: Path) -> None:
    x = normal(10, 3)
    np.savez(tmp_path / "a.npz", x=x[:6], labels=np.arange(6))
    np.save(tmp_path / "b.npy", x[6:])
    given: list[Any] = [[tmp_path / "a.npz", str(tmp_path / "b.npy")], (tmp_path / "a.npz", tmp_path / "b.npy")]
    for data in given:
        batches = as_batches(data, [X], 4)
        assert rows(batches) == [4, 2, 4]
        np.testing.assert_array_equal(together(batches), x)
    assert rows(as_batches(tmp_path / "a.npz", [X])) == [6]
    np.testing.assert_array_equal(together(batches_of(load_data([tmp_path / "a.npz"], [X]), [X], 4)), x[:6])


def test_what_was_done_to_files_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=normal(9, 3))
    batches = as_batches(tmp_path / "a.npz", [Port("x", "float32", (4, 3))])
    assert rows(batches) == [4, 4]
    assert "the last 1 are left out" in batches.remarks[0]


def test_bytes_in_another_order_and_values_in_lists_become_arrays() -> None:
    given: Any = {"x": normal(2, 3).astype(">f4"), "mask": [1, 2]}
    (feeds,) = as_batches(given, [X, MASK])
    assert feeds["x"].dtype.isnative
    assert feeds["mask"].tolist() == [1, 2]
    (feeds,) = as_batches({"s": np.array(["a", "b"])}, [Port("s", "string", ("N",))])
    assert feeds["s"].dtype == object


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "'x' is missing in set 1 of the data, which holds nothing"),
        ({"y": normal(2, 3)}, "'x' is missing in set 1 of the data, which holds 'y'"),
        ({"x": normal(2, 3, dtype=np.float64)}, "wrong type: expected float32, got float64"),
        ({"x": [[1, 2], [3]]}, "'x' in set 1 of the data is no array"),
        ({"x": normal(2, 4)}, r"wrong shape: expected \[N, 3\], got \[2, 4\]"),
        ({"x": normal(2, 3, 1)}, r"wrong shape: expected \[N, 3\], got \[2, 3, 1\]"),
        ({"x": normal(0, 3)}, r"wrong shape: expected \[N, 3\], got \[0, 3\]"),
        ({"x": np.float32(1)}, r"wrong shape: expected \[N, 3\], got \[\]"),
        ({"x": np.array([[1, np.nan, 2]], np.float32)}, "'x' has NaN or infinite values in set 1 of the data"),
        ([{"x": normal(2, 3)}, {"x": np.full((1, 3), np.inf, np.float32)}], "values in set 2 of the data"),
        ([], "there are no data"),
        (iter(()), "there are no data"),
        ([normal(2, 3)], "set 1 of the data is of type ndarray"),
        (normal(2, 3), "not ndarray; the inputs are 'x'"),
        (7, "not int; the inputs are 'x'"),
        ("nowhere.npz", "nowhere.npz can not be read"),
    ],
)
def test_data_that_do_not_fit_are_told_in_a_sentence(data: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        list(as_batches(data, [X]))


def test_one_symbol_has_one_size() -> None:
    with pytest.raises(UsageError, match="'N' is 4 in input 'x' and 5 in input 'mask'"):
        list(as_batches({"x": normal(4, 3), "mask": np.arange(5)}, [X, MASK]))


def test_nan_in_bfloat16_is_found_too() -> None:
    port = Port("x", "bfloat16", ("N", 3))
    values = normal(2, 3).astype(ml_dtypes.bfloat16)
    assert rows(as_batches({"x": values}, [port])) == [2]
    values[1, 1] = np.nan
    with pytest.raises(UsageError, match="NaN"):
        list(as_batches({"x": values}, [port]))


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_without_rows_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="1 row or more"):
        as_batches({"x": normal(2, 3)}, [X], size)
