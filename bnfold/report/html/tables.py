"""Tables that can be sorted, in boxes of their own, so that a wide one does not widen the page."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import NamedTuple, TypeAlias

from bnfold.report.html.markup import Markup, joined, tag

MOST_ROWS = 2000
"""Rows of one table; a page of more is no longer usable on a phone."""


class Number(NamedTuple):
    """A cell that is sorted by its value.

    Attributes:
        value: the number; NaN, for none, comes last.
        text: what is shown.
        mark: a class of the page's style: "good", "bad" or "tight"; empty for none.
    """

    value: float
    text: str
    mark: str = ""


Cell: TypeAlias = str | Markup | Number


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Markup:
    """A table; a column whose cells are `Number` is one of numbers. Rows beyond `MOST_ROWS` are counted only.

    Args:
        caption: what it shows.
        headings: one per column.
        rows: a cell per column each.
    """
    numeric = [any(isinstance(row[k], Number) for row in rows[:MOST_ROWS]) for k in range(len(headings))]
    head = [
        tag("th", title, scope="col", class_="number" if is_number else None)
        for title, is_number in zip(headings, numeric, strict=True)
    ]
    body = [tag("tr", [_cell(cell) for cell in row]) for row in rows[:MOST_ROWS]]
    rest = len(rows) - MOST_ROWS
    return joined(
        tag(
            "div",
            tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body)),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label=caption,
        ),
        tag("p", f"{rest} more rows are left out: the page shows {MOST_ROWS} at most.") if rest > 0 else None,
    )


def number(value: float | None, style: str = ".2e", mark: str = "") -> Number:
    """A number in this style; None is no number."""
    if value is None:
        return Number(float("nan"), "", mark)
    return Number(value, format(value, style), mark)


def _cell(cell: Cell) -> Markup:
    if not isinstance(cell, Number):
        return tag("td", cell)
    value = None if isnan(cell.value) else repr(cell.value).replace("inf", "Infinity")  # as JavaScript has it
    return tag("td", cell.text, class_=f"number {cell.mark}".strip(), data_value=value)
