"""A table of examples from what a caller has: files, folders of them, or arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from bnfold.errors import UsageError
from bnfold.runtime import Port, bfloat16
from bnfold.runtime.arrays import Header
from bnfold.runtime.data import require_fit, stored_sets
from bnfold.runtime.inputs import STRING
from bnfold.training.columns import Column, Part
from bnfold.training.examples import Array, Table, refuse_not_finite_targets
from bnfold.training.rules import TARGET, refuse_kind, refuse_rows, target_type
from bnfold.training.scratch import Scratch

PathLike: TypeAlias = str | os.PathLike[str]
ExamplesLike: TypeAlias = PathLike | Sequence[PathLike] | Mapping[str, Array]
Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Shard:
    """Rows of every array that lie together.

    Attributes:
        where: what to call it in a message.
        headers: of the arrays, by name.
        parts: the arrays, by name.
    """

    where: str
    headers: Mapping[str, Header]
    parts: Mapping[str, Part]


def read_table(data: ExamplesLike, ports: Sequence[Port], where: str, tell: Tell = lambda text: None) -> Table:
    """The examples; of files, nothing but the targets is read now, and later the rows of a batch when it is its turn.

    Args:
        data: a mapping of names to arrays; or a path or several: an .npz file, a folder of such files, or a folder of
            one .npy file per array. Several files are one table, row behind row, and are never joined: they may be
            larger than memory. What is compressed (numpy.savez_compressed) is unpacked first, into a temporary folder.
        ports: the inputs of the model.
        where: what to call the data in a message.
        tell: told what is being done.

    Raises:
        UsageError: an array is missing, has another type, shape or number of rows than it should, or a target is not
            finite.
    """
    if isinstance(data, Mapping):
        return _table([_in_memory(data, ports, where)], ports, where)
    paths = [data] if isinstance(data, str | os.PathLike) else data
    if not are_paths(paths):
        raise UsageError(f"{where} are paths, or a mapping of names to arrays, not {type(data).__name__}")
    named = f"{where} {', '.join(os.fspath(path) for path in paths)}"
    return _table(list(_in_files(paths, ports, tell)), ports, named)


def are_paths(data: object) -> bool:
    """Whether this is a list of paths, and not an empty one."""
    return isinstance(data, list | tuple) and bool(data) and all(isinstance(one, str | os.PathLike) for one in data)


def _in_memory(data: Mapping[str, Array], ports: Sequence[Port], where: str) -> _Shard:
    names = [name for name in data if name == TARGET or any(port.name == name for port in ports)]
    arrays = {name: _array(name, data[name], where) for name in names}
    headers = {name: Header(array.shape, array.dtype) for name, array in arrays.items()}
    _require_fit(headers, list(data), ports, where, "hold")
    return _Shard(where, headers, {name: Part(a.shape, where, a.__getitem__) for name, a in arrays.items()})


def _array(name: str, values: object, where: str) -> Array:
    try:
        return np.asarray(values)
    except ValueError as error:  # lists of unequal lengths
        raise UsageError(f"'{name}' in {where} is no array: {error}") from error


def _in_files(paths: Sequence[PathLike], ports: Sequence[Port], tell: Tell) -> Iterator[_Shard]:
    scratch, names = Scratch(tell), [*(port.name for port in ports), TARGET]
    for stored in (stored for path in paths for stored in stored_sets(Path(path), ports)):
        where = str(stored.path)
        _require_fit(stored.headers, list(stored.headers), ports, where, "holds")
        headers = scratch.readable(stored, names).headers
        restored = {port.name: _restored(port, headers[port.name]) for port in ports} | {TARGET: headers[TARGET]}
        yield _Shard(
            where,
            restored,
            {name: Part(header.shape, where, scratch.reader(header)) for name, header in restored.items()},
        )


def _restored(port: Port, header: Header) -> Header:
    """The .npy format keeps the bytes of a bfloat16 array and forgets its type."""
    return replace(header, dtype=bfloat16.dtype()) if port.dtype == bfloat16.NAME else header


def _require_fit(
    headers: Mapping[str, Header], present: Sequence[str], ports: Sequence[Port], where: str, holds: str
) -> None:
    """Hold the arrays of a shard against the model, and against each other.

    Args:
        headers: of the arrays.
        present: the names of all that there is.
        ports: the inputs of the model.
        where: what to call the shard.
        holds: the verb that goes with it.
    """
    if TARGET not in headers:
        names = ", ".join(map(repr, present)) or "nothing"
        raise UsageError(
            f"'{TARGET}' is missing in {where}, which {holds} {names}: a training needs to know what should come of "
            f"the inputs; numpy.savez(path, {TARGET}=labels, ...)"
        )
    require_fit(headers, ports, where)
    refuse_kind(headers[TARGET].shape, headers[TARGET].dtype, where)
    refuse_rows({name: headers[name].shape for name in (*(port.name for port in ports), TARGET)}, where)


def _table(shards: Sequence[_Shard], ports: Sequence[Port], where: str) -> Table:
    inputs = {port.name: _column(port.name, shards, _type(port)) for port in ports}
    target = _column(TARGET, shards, target_type(*(shard.headers[TARGET].dtype for shard in shards)))
    if not len(target):
        raise UsageError(f"{where} have no rows")
    table = Table(inputs, target, where, np.arange(len(target)))
    refuse_not_finite_targets(table)
    return table


def _column(name: str, shards: Sequence[_Shard], dtype: np.dtype[Any]) -> Column:
    first = shards[0]
    for shard in shards:
        of_first, own = first.headers[name].shape[1:], shard.headers[name].shape[1:]
        if own != of_first:
            raise UsageError(
                f"a row of '{name}' is {list(own)} in {shard.where} and {list(of_first)} in {first.where}: rows of one "
                "shape make a batch"
            )
        if 0 in own:
            raise UsageError(f"a row of '{name}' in {shard.where} is {list(own)}, which is nothing")
    return Column([shard.parts[name] for shard in shards], dtype)


def _type(port: Port) -> np.dtype[Any]:
    if port.dtype == STRING:
        return np.dtype(object)
    return bfloat16.dtype() if port.dtype == bfloat16.NAME else np.dtype(port.dtype)
