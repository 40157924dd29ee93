"""Training data: the arrays of a model's inputs and a target beside them, as shuffled batches and as plain ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bnfold.errors import UsageError
from bnfold.inserting.feeds import Feeds
from bnfold.runtime import FLOATS
from bnfold.torch.scores import Batch
from bnfold.training.columns import Column
from bnfold.training.rules import TARGET, not_finite

Array = npt.NDArray[Any]

SCORED = 256
"""Rows that are scored, measured or compared at a time."""

HELD_OUT = 0.1
"""The share of the training data that states are compared on where no validation data are given."""

RefuseTargets = Callable[[Array, str], None]
"""Raises a `UsageError` where targets, called so in its message, are out of range."""


class HeldOut(Protocol):
    """What states are compared on: a table, or batches that come from elsewhere."""

    @property
    def where(self) -> str:
        """What to call them in a message."""

    def batches(self) -> Iterator[Batch]:
        """All of them, each time the same."""

    def refuse_targets(self, refuse: RefuseTargets) -> None:
        """Look at the targets, now or when it is their turn."""


@dataclass(frozen=True, eq=False)
class Table:
    """Examples: one per row of every column.

    Attributes:
        inputs: a column [rows, ...] per input of the model.
        target: [rows, ...], what should come of them.
        where: what to call them in a message.
        rows: which rows count, in order; all that there are by default.
    """

    inputs: Mapping[str, Column]
    target: Column
    where: str
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """Copies of some rows; nothing else is read of a file.

        Inputs are looked at here, at their turn, and not once at the start: that would read all of a large set before
        the first step, and the first epoch, or the measuring before it, comes by every row anyway.

        Raises:
            UsageError: an input is not finite, or a file has changed.
        """
        return Batch({name: _finite(name, column, rows) for name, column in self.inputs.items()}, self.target[rows])

    def batches(self, size: int = SCORED) -> Iterator[Batch]:
        """All rows in order, a partial last batch among them."""
        for start in range(0, len(self), size):
            yield self.batch(self.rows[start : start + size])

    def feeds(self, size: int = SCORED) -> Sequence[Feeds]:
        """The inputs alone, as sets that can be gone through again and again."""
        return _Feeds(self, size)

    def refuse_targets(self, refuse: RefuseTargets) -> None:
        """Look at all targets now: a rare label would show late.

        Raises:
            UsageError: they are out of range.
        """
        ends = [end for _, block in self.target.blocks(self.rows) for end in (block.min(), block.max())]
        refuse(np.array([min(ends), max(ends)]), self.where)

    def split(self, seed: int) -> tuple[Table, Table]:
        """The table in two: what is left, and a tenth that is drawn to be held out.

        Raises:
            UsageError: there are too few rows for two parts.
        """
        held = round(len(self) * HELD_OUT)
        if held < 1:
            raise UsageError(f"{self.where} have {len(self)} rows, too few to hold any out; give --validation")
        drawn = np.random.default_rng(seed).permutation(self.rows)
        return self._of(np.sort(drawn[held:])), self._of(np.sort(drawn[:held]))

    def _of(self, rows: npt.NDArray[np.int64]) -> Table:
        return Table(self.inputs, self.target, self.where, rows)


def refuse_not_finite_targets(table: Table) -> None:
    """Look at all targets, block by block.

    Raises:
        UsageError: one is NaN or infinite.
    """
    if table.target.dtype.kind != "f":
        return
    for rows, block in table.target.blocks(table.rows):
        if (bad := not_finite(block)) is not None:
            raise UsageError(f"'{TARGET}' has NaN or infinite values in {table.target.place(int(rows[bad]))}")


def _finite(name: str, column: Column, rows: npt.NDArray[np.int64]) -> Array:
    array = column[rows]
    if column.dtype.name in FLOATS and (bad := not_finite(array)) is not None:
        raise UsageError(f"input '{name}' has NaN or infinite values in {column.place(int(rows[bad]))}")
    return array


class _Feeds(Sequence[Feeds]):
    def __init__(self, table: Table, size: int) -> None:
        self._table, self._size = table, size

    def __len__(self) -> int:
        return -(-len(self._table) // self._size)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 (a set, or a list of them)
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._table.batch(self._table.rows[index * self._size : (index + 1) * self._size]).inputs


class Shuffled:
    """The epochs of a training over a table: every row at most once, in an order of the epoch's own.

    A last batch that would be smaller is left out, since it would disturb the statistics of a normalization.

    Args:
        table: the examples.
        size: rows of a batch.
        seed: of the orders.

    Raises:
        UsageError: there is not one whole batch.
    """

    def __init__(self, table: Table, size: int, seed: int) -> None:
        if size < 1:
            raise UsageError(f"a batch has 1 row or more, not {size}")
        if len(table) < size:
            raise UsageError(
                f"{table.where} have {len(table)} rows to train on, less than one batch of {size}, and partial batches "
                "are not trained on: give more data or a smaller --batch-size"
            )
        self._table, self._size, self._seed = table, size, seed

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""
        return len(self._table) // self._size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, counted from 1."""
        order = np.random.default_rng([self._seed, number]).permutation(self._table.rows)
        for start in range(0, self.steps * self._size, self._size):
            yield self._table.batch(order[start : start + self._size])
