"""An array that lies in parts, read by the numbers of its rows, and never put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from bnfold.model.tensors import Array
from bnfold.runtime.rows import Rows

HELD = 1 << 26
"""Bytes of a column that is read once and held in memory: labels, and all of a small data set."""

BLOCK = 1 << 24
"""Bytes that are looked at in one go."""


@dataclass(frozen=True, eq=False)
class Part:
    """Rows that lie together.

    Attributes:
        shape: [rows, ...].
        where: what to call it in a message.
        take: gives copies of some rows, by their numbers.
    """

    shape: tuple[int, ...]
    where: str
    take: Callable[[Rows], Array]


class Column:
    """The rows of several parts, one behind the other.

    Attributes:
        shape: [rows, ...].
        dtype: of the rows that it gives; those of the parts are cast.

    Args:
        parts: one or more, alike in all axes but the first.
        dtype: see above.
    """

    def __init__(self, parts: Sequence[Part], dtype: npt.DTypeLike) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])
        self.dtype = np.dtype(dtype)
        self._held = self._taken(np.arange(len(self))) if self._row_size * len(self) <= HELD else None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Array:
        """Copies of some rows, in the order of their numbers; nothing else is read."""
        return self._taken(rows) if self._held is None else self._held[rows]

    def blocks(self, rows: Rows) -> Iterator[tuple[Rows, Array]]:
        """Some rows, as many at a time as are looked at in one go, with their numbers."""
        size = max(1, BLOCK // max(1, self._row_size))
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            yield chosen, self[chosen]

    def place(self, row: int) -> str:
        """Where a row lies, in words."""
        number = int(self._numbers(np.array([row]))[0])
        return f"row {row - self._starts[number]} (counted from 0) of {self._parts[number].where}"

    @property
    def _row_size(self) -> int:
        return self.dtype.itemsize * prod(self.shape[1:])

    def _taken(self, rows: Rows) -> Array:
        """The rows of one part after the other, each put where it is wanted."""
        taken = np.empty((len(rows), *self.shape[1:]), self.dtype)
        numbers = self._numbers(rows)
        order = np.argsort(numbers, kind="stable")
        within = rows - self._starts[numbers]
        for chosen in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(rows) else ():
            taken[chosen] = self._parts[numbers[chosen[0]]].take(within[chosen])
        return taken

    def _numbers(self, rows: Rows) -> Rows:
        """Which part each row lies in; parts without rows hold none."""
        return np.searchsorted(self._starts, rows, side="right") - 1
