"""A table that fits where it is shown: names are shortened on a terminal, and nowhere else.

What is piped or kept has each name whole and on one line, for whoever looks for it. A terminal has so many columns:
there the names share what the other cells leave, and numbers that tell least go first where that is too little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.text import Text

    from bnfold.report.console import Console

Cell: TypeAlias = "str | Text"

GAP = 2
"""Columns between two cells."""

READABLE = 16
"""Columns that a name should have."""

WIDEST = 1000
"""Columns that no terminal has."""

MARK = "…"
"""What stands where a name is cut."""

WHOLE = "names are shortened to fit; --json FILE has them whole"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: what stands above.
        is_name: it holds names, which may be shortened.
        is_number: it is set to the right.
        leaves: where there is too little room, which goes first, the lowest; None for never.
    """

    heading: str
    is_name: bool = False
    is_number: bool = False
    leaves: int | None = None


def is_narrow(console: Console) -> bool:
    """Whether it is a terminal, and not a pipe that is told to have colours."""
    return console.is_terminal and console.width < WIDEST


def number(heading: str, leaves: int | None = None) -> Column:
    """A column of numbers."""
    return Column(heading, is_number=True, leaves=leaves)


def name(heading: str) -> Column:
    """A column of names."""
    return Column(heading, is_name=True)


def print_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table.

    Args:
        console: where to.
        columns: its columns.
        rows: a cell for each; texts are shown as they are, without markup.
    """
    from rich.table import Table

    shown = _texts(rows)
    width = console.width if is_narrow(console) else None
    kept = list(range(len(columns))) if width is None else _kept(columns, shown, width)
    columns, shown = [columns[k] for k in kept], [[row[k] for k in kept] for row in shown]
    is_cut = width is not None and _shorten(columns, shown, width)
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.heading, overflow="fold", justify="right" if column.is_number else "left")
    for row in shown:
        table.add_row(*row)
    console.print(table)
    if is_cut:
        console.print(f"  [dim]{WHOLE}[/]")


def _texts(rows: Sequence[Sequence[Cell]]) -> list[list[Text]]:
    from rich.text import Text

    from bnfold.report.printable import printable

    return [[Text(printable(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]


def _kept(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """The columns that there is room for, when each name gets what it needs, or what is readable."""
    needed = [min(size, READABLE) if column.is_name else size for column, size in _sized(columns, rows)]
    kept = list(range(len(columns)))
    for _, k in sorted((column.leaves, k) for k, column in enumerate(columns) if column.leaves is not None):
        if sum(needed[j] + GAP for j in kept) - GAP > width:
            kept.remove(k)
    return kept


def _sized(columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> list[tuple[Column, int]]:
    """How wide each column is by itself."""
    return [
        (column, max([len(column.heading), *(row[k].cell_len for row in rows)])) for k, column in enumerate(columns)
    ]


def _shorten(columns: Sequence[Column], rows: list[list[Text]], width: int) -> bool:
    """Shorten the names until the table fits; whether any was."""
    sizes = [size for _, size in _sized(columns, rows)]
    names = [k for k, column in enumerate(columns) if column.is_name]
    left = width - GAP * (len(columns) - 1) - sum(size for k, size in enumerate(sizes) if k not in names)
    is_cut = False
    for done, k in enumerate(sorted(names, key=sizes.__getitem__)):  # what a short one leaves, a long one takes
        share = max(left // (len(names) - done), 1)
        left -= min(sizes[k], share)
        is_cut |= _shorten_column(k, rows, share)
    return is_cut


def _shorten_column(k: int, rows: list[list[Text]], width: int) -> bool:
    from rich.text import Text

    whole = {row[k].plain for row in rows}
    short = shortened(whole, width)
    for row in rows:
        if short[row[k].plain] != row[k].plain:
            row[k] = Text(short[row[k].plain], row[k].style)
    return any(short[text] != text for text in whole)


def shortened(names: set[str], width: int) -> dict[str, str]:
    """Names cut to a width, so that two that differ still do; whole, where there is no such way.

    Names of nodes are paths most of the time, and differ at the end: the end is kept if it can be.
    """
    for head in (width // 3, 0, width // 2, width - 1):
        short = {text: _cut(text, width, head) for text in names}
        if len(set(short.values())) == len(names):
            return short
    return {text: text for text in names}


def _cut(text: str, width: int, head: int) -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    tail = max(width - 1 - head, 0)
    return set_cell_size(text, head) + MARK + set_cell_size(text[::-1], tail)[::-1]
