"""The data of a training from files, shards and arrays: which rows they are, how they are read, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import graph_model, normal

import bnfold
from bnfold.model.tensors import Array
from bnfold.runtime import Port
from bnfold.runtime.arrays import _npz_headers, mapped, stored_file
from bnfold.runtime.rows import read_rows

pytest.importorskip("torch", reason="torch is not installed")

from bnfold.training.columns import Column, Part
from bnfold.training.examples import Shuffled, Table
from bnfold.training.reading import read_table

GEMMS = "(float[N,4] x) => (float[N,3] y) { h = Gemm(x, w, b) r = Relu(h) y = Gemm(r, v, c) }"
PORTS = (Port("x", "float32", ("N", 4)),)
ROWS = 70


def gemms() -> onnx.ModelProto:
    return graph_model(GEMMS, w=normal(4, 8), b=normal(8), v=normal(8, 3), c=normal(3))


def examples(rows: int = ROWS) -> dict[str, Array]:
    x = normal(rows, 4, seed=3)
    return {"x": x, "target": x[:, :3].argmax(axis=1)}


def shards(
    folder: Path,
    data: dict[str, Array] | None = None,
    *,
    at: tuple[int, ...] = (10, 10, 41),
    save: Callable[..., None] = np.savez,
) -> Path:
    """A folder of files, cut at some rows; twice the same row makes a file without any."""
    folder.mkdir()
    whole = data or examples()
    for number, rows in enumerate(np.split(np.arange(ROWS), at)):
        save(folder / f"{number}.npz", **{name: array[rows] for name, array in whole.items()})
    return folder


def table(data: Any) -> Table:
    return read_table(data, PORTS, "the data")


def rows_of(found: Table, seed: int = 1) -> list[Array]:
    """All batches of an epoch, inputs and targets."""
    return [array for batch in Shuffled(found, 16, seed).epoch(1) for array in (batch.inputs["x"], batch.target)]


def same(one: list[Array], other: list[Array]) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


# Reading where the values lie


@pytest.mark.parametrize("array", [normal(5, 4), normal(4, 5).T, normal(5).astype(">f4"), np.arange(5), normal(5, 0)])
def test_an_array_of_an_npz_file_is_mapped_and_read_by_rows_as_numpy_reads_it(tmp_path: Path, array: Array) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=False, first=np.arange(3), **{"a/b": array})
    header = stored_file(tmp_path / "a.npz").headers["a/b"]
    rows = np.array([3, 0, 1, 2, 0])
    assert header.place is not None
    assert np.array_equal(mapped(header), array)
    assert np.array_equal(read_rows(header, rows), array[rows])
    assert read_rows(header, rows).dtype == array.dtype


def test_a_member_is_found_behind_other_bytes_and_beside_compressed_ones(tmp_path: Path) -> None:
    """The extra field of the local header differs from the directory's, and something may stand before the archive."""
    path = tmp_path / "a.npz"
    np.savez(path, x=normal(5, 4))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        np.save(tmp_path / "z.npy", normal(6))
        archive.write(tmp_path / "z.npy", "z.npy")
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("x.npy").header_offset == 10
        assert not archive.getinfo("x.npy").extra
    headers = _npz_headers(path)
    assert np.array_equal(mapped(headers["x"]), normal(5, 4))
    assert headers["z"].place is None


def test_a_file_that_is_cut_short_during_a_training_is_told_of(tmp_path: Path) -> None:
    large = {"x": normal(5, 1 << 10), "target": np.arange(5)}
    np.savez(tmp_path / "a.npz", allow_pickle=False, **large)
    header = stored_file(tmp_path / "a.npz").headers["x"]
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: 4 << 10])
    with pytest.raises(bnfold.UsageError, match=r"a\.npz can not be read: it has become shorter since it was opened"):
        read_rows(header, np.array([4]))
    (tmp_path / "a.npz").unlink()
    with pytest.raises(bnfold.UsageError, match=r"a\.npz can not be read: .*No such file"):
        read_rows(header, np.array([0]))


# Shards


@pytest.mark.parametrize("held", [0, 1 << 26])
def test_the_rows_of_parts_of_several_lengths_come_in_the_order_of_their_numbers(
    monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr("bnfold.training.columns.HELD", held)
    whole = np.arange(20)[:, None] * np.ones(3)
    parts = [
        Part(part.shape, f"part {i}", part.__getitem__) for i, part in enumerate(np.split(whole, (0, 7, 7, 8, 19)))
    ]
    column = Column(parts, np.float32)
    rows = np.random.default_rng(0).integers(0, 20, 200)
    assert column.shape == (20, 3)
    assert np.array_equal(column[rows], whole[rows])
    assert column[rows].dtype == np.float32
    assert [column.place(row).split(" of ")[1] for row in (0, 6, 7, 8, 18, 19)] == [
        f"part {number}" for number in (1, 1, 3, 4, 4, 5)
    ]
    assert column.place(9) == "row 1 (counted from 0) of part 4"


@pytest.mark.parametrize("held", [0, 1 << 26])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_shards_compressed_or_not_give_the_batches_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[..., None], held: int
) -> None:
    monkeypatch.setattr("bnfold.training.columns.HELD", held)
    expected = rows_of(table(examples()))
    folder = shards(tmp_path / "shards", save=save)
    assert same(rows_of(table(folder)), expected)
    assert same(rows_of(table(sorted(folder.iterdir()))), expected)


def test_several_folders_of_one_file_per_array_are_shards_too(tmp_path: Path) -> None:
    for name, rows in (("a", slice(0, 30)), ("b", slice(30, None))):
        (tmp_path / name).mkdir()
        for key, array in examples().items():
            np.save(tmp_path / name / f"{key}.npy", array[rows])
    assert same(rows_of(table([tmp_path / "a", tmp_path / "b"])), rows_of(table(examples())))


def test_a_model_trained_on_shards_is_to_the_last_bit_the_one_trained_on_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16}
    whole = bnfold.train(gemms(), examples(), **options).model
    monkeypatch.setattr("bnfold.training.columns.HELD", 0)
    folder = shards(tmp_path / "shards", save=np.savez_compressed)
    assert bnfold.train(gemms(), folder, **options).model == whole


def test_what_was_unpacked_is_gone_with_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards(tmp_path / "shards", save=np.savez_compressed)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr("bnfold.training.columns.HELD", 0)
    told: list[str] = []
    found = read_table(folder, PORTS, "the data", told.append)
    assert len(list((tmp_path / "scratch").rglob("*.npy"))) == 2 * 4
    assert told == [f"unpacking {folder / f'{number}.npz'}" for number in range(4)]
    left, held = found.split(0)
    del found, left
    assert len(held.batch(held.rows).target) == 7
    del held
    assert not list((tmp_path / "scratch").iterdir())


def test_a_damaged_compressed_shard_is_refused_before_the_training(tmp_path: Path) -> None:
    file = shards(tmp_path / "shards", save=np.savez_compressed) / "0.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(bnfold.UsageError, match=r"0\.npz can not be read: "):
        table(file.parent)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_temporary_folder_without_room_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards(tmp_path / "shards", save=np.savez_compressed)
    monkeypatch.setattr("bnfold.runtime.unpacking.mkstemp", lambda *_, **__: (os.open("/dev/full", os.O_WRONLY), "f"))
    said = r"'x\.npy' of .*0\.npz is compressed, and can not be unpacked .* No space left on device; .* TMPDIR"
    with pytest.raises(bnfold.UsageError, match=said):
        table(folder)


def test_targets_of_whole_numbers_of_several_widths_are_joined(tmp_path: Path) -> None:
    for name, dtype in (("a", np.uint8), ("b", ">i4")):
        np.savez(tmp_path / f"{name}.npz", x=normal(4, 4), target=np.arange(4).astype(dtype))
    found = table([tmp_path / "a.npz", tmp_path / "b.npz"])
    assert found.target.dtype == np.dtype(np.int32).newbyteorder("=")
    assert found.target[np.arange(8)].tolist() == [0, 1, 2, 3] * 2


# What does not fit


def spoilt(**arrays: Array) -> dict[str, Array]:
    return {**examples(20), **arrays}


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"x": normal(20, 4)}, r"'target' is missing in .*b\.npz, which holds 'x'"),
        ({"target": np.arange(20)}, r"input 'x' is missing in .*b\.npz, which holds 'target'"),
        (spoilt(x=normal(20, 3)), r"input 'x' in .*b\.npz has the wrong shape: expected \[N, 4\], got \[20, 3\]"),
        (spoilt(x=normal(20, 4, dtype=np.float64)), r"input 'x' in .*b\.npz has the wrong type"),
        (spoilt(target=np.arange(19)), r"b\.npz have different numbers of rows \(20 in 'x', 19 in 'target'\)"),
        (spoilt(target=np.zeros((20, 2), np.int64)), r"a row of 'target' is \[2\] in .*b\.npz and \[\] in .*a\.npz"),
        (spoilt(target=np.array(3)), "an array of numbers"),
        (spoilt(target=np.array(["a"] * 20)), "an array of numbers"),
    ],
)
def test_a_shard_that_does_not_fit_is_refused_by_name(tmp_path: Path, second: dict[str, Array], said: str) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=False, **examples(20))
    np.savez(tmp_path / "b.npz", allow_pickle=False, **second)
    with pytest.raises(bnfold.UsageError, match=said):
        table(tmp_path)


def test_shards_of_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    for name, size in (("a", 8), ("b", 9)):
        np.savez(tmp_path / f"{name}.npz", x=normal(4, 1, size, size), target=np.arange(4))
    with pytest.raises(bnfold.UsageError, match=r"a row of 'x' is \[1, 9, 9\] in .*b\.npz and \[1, 8, 8\] in .*a\.npz"):
        read_table(tmp_path, [Port("x", "float32", ("N", 1, "H", "W"))], "the data")


def test_files_without_a_row_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=False, **examples(0))
    with pytest.raises(bnfold.UsageError, match=r"a\.npz have no rows"):
        table(tmp_path / "a.npz")


def test_an_input_of_one_value_is_no_column() -> None:
    ports = [*PORTS, Port("s", "float32", ())]
    with pytest.raises(bnfold.UsageError, match=r"'s' in the data is a single value, and examples are arrays"):
        read_table({**examples(1), "s": np.array(1, np.float32)}, ports, "the data")


@pytest.mark.parametrize("insert", [True, False])
def test_a_value_that_is_not_finite_is_refused_with_its_row_and_file(tmp_path: Path, insert: bool) -> None:
    data = examples()
    data["x"][43, 2] = np.nan
    folder = shards(tmp_path / "shards", data)
    said = r"input 'x' has NaN or infinite values in row 2 \(counted from 0\) of .*3\.npz"
    with pytest.raises(bnfold.UsageError, match=said):
        bnfold.train(gemms(), folder, examples(), insert=insert, batch_size=10)


def test_a_target_that_is_not_finite_is_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnfold.training.columns.BLOCK", 64)
    monkeypatch.setattr("bnfold.training.columns.HELD", 0)
    data = {"x": examples()["x"], "target": normal(ROWS, 3)}
    data["target"][42, 1] = np.inf
    said = r"'target' has NaN or infinite values in row 1 \(counted from 0\) of .*3\.npz"
    with pytest.raises(bnfold.UsageError, match=said):
        table(shards(tmp_path / "shards", data))


def test_the_range_of_labels_is_that_of_all_rows_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnfold.training.columns.BLOCK", 64)
    monkeypatch.setattr("bnfold.training.columns.HELD", 0)
    data = examples()
    data["target"][[5, 60]] = (-7, 9)
    told: list[tuple[list[int], str]] = []
    found = table(data)
    found.refuse_targets(lambda ends, where: told.append((ends.tolist(), where)))
    without = Table(found.inputs, found.target, found.where, np.arange(6, 60))
    without.refuse_targets(lambda ends, where: told.append((ends.tolist(), where)))
    assert told == [([-7, 9], "the data"), ([0, 2], "the data")]


# Memory

LARGE = """
import resource, sys
import bnfold
model, folder, small, room = sys.argv[1:]
options = dict(epochs=1, batch_size=64, device="cpu")
bnfold.train(model, small, small, **options)
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, ((used << 10) + int(room), resource.RLIM_INFINITY))
result = bnfold.train(model, folder, small, **options)
assert result and len(result.history.epochs) == 1
"""
IMAGES = """(float[N,3,64,64] x) => (float[N,4] y) {
    h = Conv<strides = [8, 8]>(x, w) r = Relu(h) p = GlobalAveragePool(r) f = Flatten(p) y = Gemm(f, v, c) }"""
ROOM = 200 << 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what is limited is counted by Linux")
def test_data_larger_than_memory_are_trained_on(tmp_path: Path) -> None:
    """600 MB in shards, inserted, trained, calibrated and proved with 200 MB more than a training of 10 MB has taken.

    What is limited is what a process keeps to itself; pages of files, which can be given up, are not.
    """
    model = tmp_path / "m.onnx"
    onnx.save(graph_model(IMAGES, w=normal(4, 3, 8, 8), v=normal(4, 4), c=normal(4)), model)
    for name, count in (("large", 12), ("small", 1)):
        (tmp_path / name).mkdir()
        for number in range(count):
            rows = 1024 if name == "large" else 200
            images = normal(rows, 3, 64, 64, seed=number)
            np.savez(tmp_path / name / f"{number:02}.npz", x=images, target=np.arange(rows) % 4)
    size = sum(file.stat().st_size for file in (tmp_path / "large").iterdir())
    assert size > 600e6 > 2 * ROOM
    arguments = [str(model), str(tmp_path / "large"), str(tmp_path / "small"), str(ROOM)]
    done = subprocess.run([sys.executable, "-c", LARGE, *arguments], capture_output=True, text=True, check=False)
    shutil.rmtree(tmp_path / "large")
    assert done.returncode == 0, done.stderr
