"""Inputs that a caller has: files of arrays, fitted to what a graph expects, read when it is their turn."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np

from bnfold.errors import UsageError
from bnfold.runtime import bfloat16
from bnfold.runtime.arrays import Array, Header, Stored, stored_file, stored_folder
from bnfold.runtime.axes import axis_key
from bnfold.runtime.inputs import STRING, type_of
from bnfold.runtime.sessions import Port

Feeds: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class _Set:
    """One set of inputs: all rows of some stored arrays, or those of one batch.

    Attributes:
        stored: The arrays.
        rows: The first row and the one behind the last; `None` for all.
    """

    stored: Stored
    rows: tuple[int, int] | None = None


class Data(Sequence[Feeds]):
    """Sets of inputs in files; one file at a time is held in memory.

    Attributes:
        remarks: What a reader should know of how they were made of the files.
    """

    def __init__(self, ports: Sequence[Port], sets: Sequence[_Set], remarks: tuple[str, ...]) -> None:
        self._ports = ports
        self._sets = sets
        self._held: tuple[Stored, Feeds] | None = None
        self.remarks = remarks

    def __len__(self) -> int:
        return len(self._sets)

    @overload
    def __getitem__(self, index: int) -> Feeds: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Feeds]: ...
    def __getitem__(self, index: int | slice) -> Feeds | Sequence[Feeds]:
        if isinstance(index, slice):
            return Data(self._ports, self._sets[index], self.remarks)
        chosen = self._sets[index]
        arrays = self._arrays(chosen.stored)
        if chosen.rows is None:
            return dict(arrays)
        return {name: array[slice(*chosen.rows)] for name, array in arrays.items()}

    def _arrays(self, stored: Stored) -> Feeds:
        if self._held is None or self._held[0] is not stored:
            self._held = None  # before the next is read, so that there is room for it
            arrays = stored.read([port.name for port in self._ports])
            self._held = (stored, {port.name: _restored(port, arrays[port.name]) for port in self._ports})
        return self._held[1]


def load_data(paths: Iterable[str | os.PathLike[str]], ports: Sequence[Port]) -> Data:
    """Sets of inputs from files; all are looked at now, and read when asked for.

    Args:
        paths: Each an .npz file with an array per input, a folder of such files (sorted by name), a folder with one
            .npy file per input (`/` and `:` of its name as `_`), or an .npy file for a graph with one input. Further
            arrays are ignored. Where the graph has one fixed batch and all inputs of a file have a multiple of it, the
            file holds that many sets.
        ports: The inputs of the graph.

    Raises:
        UsageError: A file can not be read, or an array is missing or has another element type or shape. A file that is
            damaged behind its headers is told of when it is its turn.
    """
    sets, remarks = [], []
    for path in paths:
        for stored in stored_sets(Path(path), ports):
            found, remark = _fitted(stored, ports)
            sets += found
            remarks += remark
    return Data(ports, sets, tuple(remarks))


def require_fit(headers: Mapping[str, Header], ports: Sequence[Port], where: str, batch: int | None = None) -> None:
    """Hold what is known of arrays against the inputs of a graph.

    Args:
        headers: Of the arrays.
        ports: The inputs.
        where: What to call the arrays in a message.
        batch: The first axis of all inputs, where rows are to be cut into batches of it.

    Raises:
        UsageError: An array is missing, or has another element type or shape.
    """
    for port in ports:
        _require_type(port, headers, where)
    _require_shapes(ports, headers, where, batch)


def stored_sets(path: Path, ports: Sequence[Port]) -> list[Stored]:
    """The sets of arrays that a path stands for, as `load_data` takes it, with whatever else they hold.

    Raises:
        UsageError: There are none, or a file can not be read.
    """
    if not path.is_dir():
        return [_named(stored_file(path), ports)]
    archives, arrays = sorted(path.glob("*.npz")), sorted(path.glob("*.npy"))
    if archives and arrays:
        raise UsageError(f"the folder {path} holds .npz and .npy files; keep one set of inputs, or one input, per file")
    if archives:
        return [_named(stored_file(file), ports) for file in archives]
    if arrays:
        return [stored_folder(path, _files_of(path, arrays, ports))]
    raise UsageError(f"the folder {path} holds no inputs: neither .npz files nor one .npy file per input")


def _named(stored: Stored, ports: Sequence[Port]) -> Stored:
    """Give a bare array the name of the only input."""
    if "" not in stored.headers:
        return stored
    if len(ports) != 1:
        raise UsageError(
            f"the inputs {stored.path} hold one bare array, and the model has {len(ports)} inputs; "
            "save them with numpy.savez(path, name=array)"
        )
    name = ports[0].name
    return Stored(stored.path, {name: stored.headers[""]}, lambda _: {name: stored.read([""])[""]})


def _files_of(folder: Path, files: Sequence[Path], ports: Sequence[Port]) -> dict[str, Path]:
    """The file of each input, by its name or by what a file system makes of it; files of no input as they are."""
    by_stem = {file.stem: file for file in files}
    plain = [_plain(port.name) for port in ports]
    found = {}
    for port in ports:
        name = port.name if port.name in by_stem else _plain(port.name)
        if name != port.name and plain.count(name) > 1:
            raise UsageError(f"input {port.name!r} is not told from others by {name}.npy in {folder}; use an .npz file")
        if name in by_stem:
            found[port.name] = by_stem[name]
    taken = set(found.values())
    return found | {stem: file for stem, file in by_stem.items() if file not in taken}


def _plain(name: str) -> str:
    return name.replace("/", "_").replace(":", "_")


def _fitted(stored: Stored, ports: Sequence[Port]) -> tuple[list[_Set], list[str]]:
    """The sets of inputs that a file holds, and what was done to it."""
    for port in ports:
        _require_type(port, stored.headers, str(stored.path))
    batch, rows = _batch_of(ports), _rows_of(stored, ports)
    if batch is None or rows is None or rows <= batch:
        _require_shapes(ports, stored.headers, str(stored.path), None)
        return [_Set(stored)], []
    _require_shapes(ports, stored.headers, str(stored.path), batch)
    count, left = divmod(rows, batch)
    remark = f"the {rows} rows of {stored.path} make {count} sets of {batch}, the batch to which the model is fixed"
    remark += f"; the last {left} are left out" if left else ""
    return [_Set(stored, (start, start + batch)) for start in range(0, count * batch, batch)], [remark]


def _batch_of(ports: Sequence[Port]) -> int | None:
    """The first axis of all inputs, where it is fixed and the same."""
    found = {port.shape[0] if port.shape else None for port in ports}
    (batch,) = found if len(found) == 1 else (None,)
    return batch if isinstance(batch, int) and batch > 0 else None


def _rows_of(stored: Stored, ports: Sequence[Port]) -> int | None:
    """The first axis of the arrays of all inputs, where it is the same."""
    found = {shape[0] if (shape := stored.headers[port.name].shape) else None for port in ports}
    return found.pop() if len(found) == 1 else None


def _require_type(port: Port, headers: Mapping[str, Header], where: str) -> None:
    if port.name not in headers:
        present = ", ".join(map(repr, headers)) or "nothing"
        raise UsageError(f"input {port.name!r} is missing in {where}, which holds {present}")
    dtype = headers[port.name].dtype
    if dtype.hasobject:
        raise UsageError(
            f"input {port.name!r} in {where} holds Python objects, which are not read from files; "
            "save strings as array.astype(str)"
        )
    if not _is_of_type(port, dtype):
        raise UsageError(
            f"input {port.name!r} in {where} has the wrong type: expected {port.dtype}, got {type_of(dtype)}"
        )


def _is_of_type(port: Port, dtype: np.dtype[Any]) -> bool:
    """The .npy format keeps the bytes of a bfloat16 array and forgets its type."""
    return type_of(dtype) == port.dtype or (port.dtype == bfloat16.NAME and dtype == np.dtype("V2"))


def _require_shapes(ports: Sequence[Port], headers: Mapping[str, Header], where: str, batch: int | None) -> None:
    """See to it that fixed axes are as they should be (the first one where it is no batch to be cut), others alike."""
    known: dict[str, tuple[int, str]] = {}
    for port in ports:
        header = headers[port.name]
        if not _shape_fits(port, header, batch):
            expected = ", ".join("?" if size is None else str(size) for size in port.shape)
            raise UsageError(
                f"input {port.name!r} in {where} has the wrong shape: expected [{expected}], got {list(header.shape)}"
            )
        for axis, size in enumerate(port.shape):
            if not isinstance(size, int):
                _require_same(axis_key(port, axis), header.shape[axis], port.name, known, where)


def _require_same(key: str, size: int, name: str, known: dict[str, tuple[int, str]], where: str) -> None:
    first, owner = known.setdefault(key, (size, name))
    if first != size:
        raise UsageError(f"{key!r} is {first} in input {owner!r} and {size} in input {name!r} in {where}")


def _shape_fits(port: Port, header: Header, batch: int | None) -> bool:
    if not port.shape:  # a scalar, or an unknown rank
        return True
    first = 0 if batch is None else 1
    return len(port.shape) == len(header.shape) and all(
        size == other
        for size, other in zip(port.shape[first:], header.shape[first:], strict=True)
        if isinstance(size, int)
    )


def _restored(port: Port, array: Array) -> Array:
    """An array as onnxruntime takes it: in this machine's order of bytes, and of the type that its file forgot."""
    if port.dtype == bfloat16.NAME and array.dtype == np.dtype("V2"):
        return array.view(bfloat16.dtype())
    if port.dtype == STRING:
        return array.astype(object)
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")
