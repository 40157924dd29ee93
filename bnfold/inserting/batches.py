"""Data as a stream of batches: whatever the caller has, cut along the first axis, with one batch in use at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, cast

import numpy as np

from bnfold.errors import UsageError
from bnfold.inserting.feeds import Feeds, fitted, fixed_batch
from bnfold.runtime import Port, load_data

Path: TypeAlias = str | os.PathLike[str]
DataLike: TypeAlias = Path | Sequence[Path] | Feeds | Iterable[Feeds]


class Batches(Iterable[Feeds]):
    """Sets of inputs, each held against the model's inputs when it is its turn, and cut into batches.

    Args:
        sets: the sets; an iterator can be gone through once.
        ports: the inputs of the model.
        size: how many rows a batch has; `None` for each set as it is.
        remarks: what a reader should know of how the sets were made of files.

    Attributes:
        tell: told which batch is taken.
    """

    def __init__(
        self, sets: Iterable[Feeds], ports: Sequence[Port], size: int | None, remarks: tuple[str, ...] = ()
    ) -> None:
        self.remarks = remarks
        self.is_read_once = isinstance(sets, Iterator)
        self.tell: Callable[[str], None] = lambda text: None
        self._is_used_up = False
        self._passes = 0
        self._sets = sets
        self._ports = ports
        self._size = size

    def __iter__(self) -> Iterator[Feeds]:
        """The batches.

        Raises:
            UsageError: a set does not fit the model, there is none, or an iterator is gone through again.
        """
        if self._is_used_up:
            raise UsageError("the data are an iterator that has been read to its end; give a list, or files")
        self._is_used_up = self.is_read_once
        self._passes += 1
        return self._told(batches_of(self._fitted(), self._ports, self._size))

    def _told(self, batches: Iterator[Feeds]) -> Iterator[Feeds]:
        """The batches, and a word for each."""
        again = f", pass {self._passes}" if self._passes > 1 else ""
        for number, batch in enumerate(batches, 1):
            self.tell(f"batch {number}{again}")
            yield batch

    def _fitted(self) -> Iterator[Feeds]:
        number = 0
        for number, feeds in enumerate(self._sets, 1):
            yield fitted(feeds, self._ports, f"set {number} of the data")
        if not number:
            raise UsageError("there are no data: not one set of inputs was given")


def as_batches(data: DataLike, ports: Sequence[Port], size: int | None = None) -> Batches:
    """Batches of whatever a caller has.

    Args:
        data: a path or several, as `load_data` takes them; one mapping of names to arrays; or an iterable of such
            mappings, which is read as it goes.
        ports: the inputs of the model.
        size: how many rows a batch has; `None` for each set as it is.

    Raises:
        UsageError: this is none of them, a file does not fit the model, or the size is not 1 or more. What is in
            memory is looked at when it is its turn.
    """
    _refuse_size(size)
    if isinstance(data, Mapping):
        return Batches([data], ports, size)
    paths = _paths(data)
    if paths is not None:
        files = load_data(paths, ports)
        return Batches(files, ports, size, files.remarks)
    if isinstance(data, np.ndarray | bytes) or not isinstance(data, Iterable):
        names = ", ".join(f"'{port.name}'" for port in ports)
        raise UsageError(
            f"data are paths, or mappings of names to arrays, not {type(data).__name__}; the inputs are {names}"
        )
    return Batches(cast(Iterable[Feeds], data), ports, size)  # each set is looked at when it is its turn


def batches_of(data: Iterable[Feeds], ports: Sequence[Port], size: int | None) -> Iterator[Feeds]:
    """Cut each set of inputs along the first axis.

    A partial last batch is kept. Where the model is fixed to a batch, the set is cut into those; where an input has a
    first axis of another kind (fixed, beside open ones; or none at all), sets stay as they are.

    Args:
        data: sets that fit the model.
        ports: the inputs of the model.
        size: how many rows a batch has; `None` for each set as it is.

    Raises:
        UsageError: the inputs of a set have different numbers of rows, or the size is not 1 or more.
    """
    _refuse_size(size)
    step = fixed_batch(ports) or (size if _is_open(ports) else None)
    for feeds in data:
        if step is None:
            yield feeds
            continue
        for start in range(0, _rows(feeds, ports), step):
            yield {port.name: feeds[port.name][start : start + step] for port in ports}


def is_read_once(batches: Iterable[Feeds]) -> bool:
    """Whether the batches can be gone through no second time."""
    return batches.is_read_once if isinstance(batches, Batches) else isinstance(batches, Iterator)


def _paths(data: object) -> list[Path] | None:
    if isinstance(data, str | os.PathLike):
        return [data]
    if not isinstance(data, list | tuple) or not data:
        return None
    paths = [one for one in data if isinstance(one, str | os.PathLike)]
    return paths if len(paths) == len(data) else None


def _refuse_size(size: int | None) -> None:
    if size is not None and size < 1:
        raise UsageError(f"a batch has 1 row or more, not {size}")


def _is_open(ports: Sequence[Port]) -> bool:
    return bool(ports) and all(port.shape and not isinstance(port.shape[0], int) for port in ports)


def _rows(feeds: Feeds, ports: Sequence[Port]) -> int:
    rows = {port.name: len(feeds[port.name]) for port in ports}
    if len(set(rows.values())) > 1:
        told = ", ".join(f"{count} in '{name}'" for name, count in rows.items())
        raise UsageError(f"the inputs have different numbers of rows ({told}), so they can not be cut into batches")
    return next(iter(rows.values()))
