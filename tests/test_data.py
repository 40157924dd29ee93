"""Inputs from files: every form, every way in which they can be wrong, and how they reach a check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import parser

from bnfold.checking import check
from bnfold.errors import UsageError
from bnfold.runtime import Port, describe, load_data, open_session

PORTS = (Port("x", "float32", ("N", 3)), Port("i", "int64", ("N",)))
ONE = (Port("x", "float32", ("N", 3)),)


def text_model(graph: str) -> onnx.ModelProto:
    return parser.parse_model('<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 2]> ' + graph)


def rows(count: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + 3 * count, dtype=np.float32).reshape(count, 3)


# Forms


def test_an_npz_file_is_one_set_and_other_arrays_in_it_are_ignored(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", label=np.arange(4), i=np.arange(4), x=rows(4))
    data = load_data([tmp_path / "in.npz"], PORTS)
    assert [describe(feeds) for feeds in data] == [("x float32[4, 3]", "i int64[4]")]
    np.testing.assert_array_equal(data[0]["x"], rows(4))
    assert data.remarks == ()


def test_compressed_files_and_several_paths_are_sets_in_their_order(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "b.npz", x=rows(2))
    np.savez(tmp_path / "a.npz", x=rows(1))
    data = load_data([tmp_path / "b.npz", tmp_path / "a.npz"], ONE)
    assert [len(feeds["x"]) for feeds in data] == [2, 1]


def test_a_folder_of_npz_files_is_a_set_each_sorted_by_name(tmp_path: Path) -> None:
    for name, count in (("b", 2), ("a", 1), ("c", 3)):
        np.savez(tmp_path / f"{name}.npz", x=rows(count))
    (tmp_path / "notes.txt").write_text("")
    data = load_data([tmp_path], ONE)
    assert [len(feeds["x"]) for feeds in data] == [1, 2, 3]
    assert [len(feeds["x"]) for feeds in data[1:]] == [2, 3]
    assert len(data[-1]["x"]) == 3
    with pytest.raises(IndexError):
        data[3]


def test_a_folder_of_npy_files_is_one_set(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(4))
    np.save(tmp_path / "i.npy", np.arange(4))
    np.save(tmp_path / "label.npy", np.array([None]))
    np_data = load_data([tmp_path], PORTS)
    assert [describe(feeds) for feeds in np_data] == [("x float32[4, 3]", "i int64[4]")]


def test_a_file_stands_for_a_name_that_no_file_system_takes(tmp_path: Path) -> None:
    np.save(tmp_path / "gpu_0_data_0.npy", rows(2))
    assert "gpu_0/data:0" in load_data([tmp_path], [Port("gpu_0/data:0", "float32", ("N", 3))])[0]


def test_two_names_for_one_file_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a_0.npy", rows(2))
    with pytest.raises(UsageError, match=r"input 'a/0' is not told from others by a_0.npy"):
        load_data([tmp_path], [Port("a/0", "float32", ("N", 3)), Port("a:0", "float32", ("N", 3))])


def test_a_bare_array_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", rows(2))
    np.testing.assert_array_equal(load_data([tmp_path / "in.npy"], ONE)[0]["x"], rows(2))
    with pytest.raises(UsageError, match="one bare array, and the model has 2 inputs"):
        load_data([tmp_path / "in.npy"], PORTS)


def test_bfloat16_survives_a_file(tmp_path: Path) -> None:
    x = np.arange(3).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "in.npz", x=x)
    np.testing.assert_array_equal(load_data([tmp_path / "in.npz"], [Port("x", "bfloat16", (3,))])[0]["x"], x)


def test_another_order_of_bytes_or_axes_is_the_same_array(tmp_path: Path) -> None:
    model = text_model("g (float[N, 3] x) => (float[N, 3] y) { y = Identity(x) }")
    session = open_session(model.SerializeToString())
    np.savez(tmp_path / "in.npz", x=np.asfortranarray(rows(4)).astype(">f4", order="K"))
    feeds = load_data([tmp_path / "in.npz"], session.inputs)[0]
    np.testing.assert_array_equal(session.run(feeds)["y"], rows(4))


def test_strings_come_from_a_file(tmp_path: Path) -> None:
    model = text_model(
        "g (string[N] s) => (int64[N] y) { y = ai.onnx.ml.LabelEncoder"
        '<keys_strings = ["ant", "bee"], values_int64s = [3, 5], default_int64 = -1>(s) }'
    )
    np.savez(tmp_path / "in.npz", s=np.array(["bee", "ant", "cow"]))
    session = open_session(model.SerializeToString())
    assert session.run(load_data([tmp_path / "in.npz"], session.inputs)[0])["y"].tolist() == [5, 3, -1]
    report = check(model, model, data=tmp_path / "in.npz")
    assert report
    assert report.inputs == (("s string[3]",),)


def test_a_scalar_stays_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", s=np.float32(2))
    assert load_data([tmp_path / "in.npz"], [Port("s", "float32", ())])[0]["s"].shape == ()


# What does not fit


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"i": np.arange(4)}, r"input 'x' is missing in .*in.npz, which holds 'i'"),
        (
            {"x": np.ones((4, 3)), "i": np.arange(4)},
            "'x' in .*in.npz has the wrong type: expected float32, got float64",
        ),
        ({"x": np.ones((4, 2), np.float32), "i": np.arange(4)}, r"'x'.*expected \[N, 3\], got \[4, 2\]"),
        ({"x": np.ones((4, 3, 1), np.float32), "i": np.arange(4)}, r"expected \[N, 3\], got \[4, 3, 1\]"),
        ({"x": np.ones((4, 3), np.float32), "i": np.arange(5)}, "'N' is 4 in input 'x' and 5 in input 'i' in .*in.npz"),
        ({"x": np.array([None]), "i": np.arange(4)}, r"'x' in .* holds Python objects.*save strings as array.astype"),
        ({"x": np.array(["a"]), "i": np.arange(4)}, "expected float32, got string"),
        ({}, "which holds nothing"),
    ],
    ids=["missing", "type", "shape", "rank", "symbol", "pickle", "strings", "none"],
)
def test_data_that_does_not_fit_is_a_usage_error(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        load_data([tmp_path / "in.npz"], PORTS)


def test_a_set_that_does_not_fit_is_refused_before_any_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=rows(2))
    np.savez(tmp_path / "b.npz", x=rows(2).astype(np.float64))
    with pytest.raises(UsageError, match=r"b\.npz has the wrong type"):
        load_data([tmp_path], ONE)


@pytest.mark.parametrize(
    "content", [None, b"", b"junk", b"PK\x03\x04junk", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00junk"]
)
def test_a_file_that_holds_no_arrays_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"the inputs .*in.npz can not be read: ."):
        load_data([tmp_path / "in.npz"], ONE)


def test_a_truncated_npy_file_is_refused_early(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(40))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-8])
    for path in (tmp_path, tmp_path / "x.npy"):
        with pytest.raises(UsageError, match=f"x.npy can not be read: it is cut off: {len(content)} bytes expected"):
            load_data([path], ONE)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, np.save])
def test_a_damaged_file_is_a_usage_error_at_the_latest_when_it_is_read(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    path, generator = tmp_path / ("x.npy" if save is np.save else "x.npz"), np.random.default_rng(0)
    save(path, **{"arr" if save is np.save else "x": rows(10)})
    content, refused = path.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        try:
            list(load_data([path], ONE))
        except UsageError:
            refused += 1
    assert refused > 100
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match="can not be read"):
        load_data([path], ONE)


def test_an_empty_folder_and_a_mixed_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no inputs: neither \.npz files nor"):
        load_data([tmp_path], ONE)
    np.savez(tmp_path / "a.npz", x=rows(1))
    np.save(tmp_path / "x.npy", rows(1))
    with pytest.raises(UsageError, match=r"holds \.npz and \.npy files"):
        load_data([tmp_path], ONE)


def test_a_folder_without_a_file_for_an_input_names_it(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(1))
    with pytest.raises(UsageError, match=r"input 'i' is missing in .*, which holds 'x'"):
        load_data([tmp_path], PORTS)


# Laziness


def test_a_set_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", x=rows(2))
    data = load_data([tmp_path], ONE)
    np.savez(tmp_path / "b.npz", x=rows(2, start=50))
    assert data[1]["x"][0, 0] == 50
    (tmp_path / "b.npz").unlink()
    assert data[0]["x"][0, 0] == 0
    with pytest.raises(UsageError, match=r"b\.npz can not be read"):
        data[1]


# A fixed batch

FIXED = (Port("x", "float32", (2, 3)), Port("i", "int64", (2,)))


def test_rows_are_cut_into_the_batches_that_a_model_is_fixed_to(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=rows(7), i=np.arange(7))
    data = load_data([tmp_path / "in.npz"], FIXED)
    assert [feeds["i"].tolist() for feeds in data] == [[0, 1], [2, 3], [4, 5]]
    np.testing.assert_array_equal(data[1]["x"], rows(7)[2:4])
    assert data.remarks == (
        f"the 7 rows of {tmp_path / 'in.npz'} make 3 sets of 2, the batch to which the model is fixed; "
        "the last 1 are left out",
    )


def test_rows_that_fill_their_batches_leave_none_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=rows(4), i=np.arange(4))
    (remark,) = load_data([tmp_path / "in.npz"], FIXED).remarks
    assert "left out" not in remark
    np.savez(tmp_path / "in.npz", x=rows(2), i=np.arange(2))
    assert load_data([tmp_path / "in.npz"], FIXED).remarks == ()


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": rows(1), "i": np.arange(1)},
        {"x": rows(4), "i": np.arange(6)},
        {"x": np.ones((4, 2), np.float32), "i": np.arange(4)},
    ],
    ids=["too few", "not alike", "another axis"],
)
def test_rows_that_make_no_batches_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "in.npz", allow_pickle=False, **arrays)
    with pytest.raises(UsageError, match=r"'x' in .* has the wrong shape: expected \[2, 3\], got"):
        load_data([tmp_path / "in.npz"], FIXED)


def test_a_model_with_inputs_of_no_batch_takes_no_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=rows(4), w=np.ones(3, np.float32))
    with pytest.raises(UsageError, match=r"expected \[2, 3\], got \[4, 3\]"):
        load_data([tmp_path / "in.npz"], [Port("x", "float32", (2, 3)), Port("w", "float32", (3,))])


def test_a_check_compares_all_batches_of_a_file(tmp_path: Path) -> None:
    graph = "g (float[2, 3] x) => (float[2, 3] y) <float c = {100}> { y = Min(x, c) }"
    x = rows(6)
    x[5, 2] = 1000  # only the last batch has a value that the two models treat differently
    np.savez(tmp_path / "in.npz", x=x)
    models = [text_model(graph), text_model(graph.replace("100", "200"))]
    report = check(models[0], models[0], data=tmp_path / "in.npz")
    assert report
    assert report.draws == 3
    assert "the 6 rows of" in report.remarks[0]
    assert not check(*models, data=tmp_path / "in.npz")
