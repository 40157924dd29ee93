"""A table of examples from what a caller has: files, folders of them, or arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bnfold.errors import UsageError
from bnfold.inserting.feeds import fitted
from bnfold.runtime import Port
from bnfold.runtime.arrays import stored_file
from bnfold.runtime.data import load_data
from bnfold.training.examples import Array, Table

TARGET = "target"
"""The name of the array that holds what should come of the inputs."""

PathLike: TypeAlias = str | os.PathLike[str]
ExamplesLike: TypeAlias = PathLike | Sequence[PathLike] | Mapping[str, Array]


def read_table(data: ExamplesLike, ports: Sequence[Port], where: str) -> Table:
    """The examples.

    Args:
        data: a mapping of names to arrays; or a path or several: an .npz file, a folder of such files, or a folder of
            one .npy file per array, which are mapped, so that they may be larger than memory. Several files are
            joined in memory.
        ports: the inputs of the model.
        where: what to call the data in a message.

    Raises:
        UsageError: an array is missing, has another type, shape or number of rows than it should, or is not finite.
    """
    if any(port.name == TARGET for port in ports):
        raise UsageError(f"the model has an input called '{TARGET}', the name of what should come out; rename it")
    if isinstance(data, Mapping):
        arrays, named = dict(data), where
    elif isinstance(data, str | os.PathLike) or _are_paths(data):
        paths = [data] if isinstance(data, str | os.PathLike) else list(data)
        arrays, named = _read(paths, ports), f"{where} {', '.join(os.fspath(path) for path in paths)}"
    else:
        raise UsageError(f"{where} are paths, or a mapping of names to arrays, not {type(data).__name__}")
    return _table(arrays, ports, named)


def _are_paths(data: object) -> bool:
    return isinstance(data, list | tuple) and bool(data) and all(isinstance(one, str | os.PathLike) for one in data)


def _read(paths: Sequence[PathLike], ports: Sequence[Port]) -> dict[str, Array]:
    sets = [feeds for path in paths for feeds in load_data([path], [*ports, _target_port(Path(path))])]
    if len(sets) == 1:
        return sets[0]
    return {name: np.concatenate([feeds[name] for feeds in sets]) for name in sets[0]}


def _target_port(path: Path) -> Port:
    """The target as one more input: of the type that the first file says, and of any shape."""
    files = [path] if not path.is_dir() else sorted(path.glob("*.npz")) or [path / f"{TARGET}.npy"]
    if path.is_dir() and not files[0].exists():
        raise UsageError(
            f"the folder {path} holds no '{TARGET}.npy', and a training needs to know what should come out"
        )
    headers = stored_file(files[0]).headers
    header = headers.get(TARGET) or headers.get("")
    if header is None or (not path.is_dir() and TARGET not in headers):
        present = ", ".join(map(repr, headers)) or "nothing"
        raise UsageError(
            f"'{TARGET}' is missing in {files[0]}, which holds {present}: a training needs to know what should come "
            f"out; numpy.savez(path, {TARGET}=labels, ...)"
        )
    return Port(TARGET, header.dtype.name, ())


def _table(arrays: Mapping[str, Array], ports: Sequence[Port], where: str) -> Table:
    if TARGET not in arrays:
        present = ", ".join(map(repr, arrays)) or "nothing"
        raise UsageError(f"'{TARGET}' is missing in {where}, which hold {present}: what should come of the inputs")
    if not ports:
        raise UsageError("the model has no inputs: there is nothing to train it on")
    inputs, target = fitted(arrays, ports, where), np.asarray(arrays[TARGET])
    if target.dtype.kind not in "iuf" or target.ndim < 1:
        raise UsageError(
            f"'{TARGET}' in {where} has to be an array of numbers [rows, ...], not {target.dtype}{list(target.shape)}"
        )
    if target.dtype.kind == "f" and not np.isfinite(target).all():
        raise UsageError(f"'{TARGET}' has NaN or infinite values in {where}")
    rows = {name: len(array) if array.ndim else 1 for name, array in (*inputs.items(), (TARGET, target))}
    if len(set(rows.values())) > 1:
        told = ", ".join(f"{count} in '{name}'" for name, count in rows.items())
        raise UsageError(f"the arrays in {where} have different numbers of rows ({told})")
    own = np.float32 if target.dtype.kind == "f" else target.dtype.newbyteorder("=")
    target = target.astype(own, copy=False)  # torch reads no foreign order of bytes
    return Table(inputs, target, where, np.arange(len(target)))
