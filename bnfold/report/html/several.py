"""The page of several folds: a table of all, which leads to the page of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TypeAlias
from urllib.parse import quote

from bnfold.report.html.markup import Markup, tag
from bnfold.report.html.page import Section, Verdict, listed, page
from bnfold.report.html.tables import Cell, Number, table
from bnfold.report.many import Entry, codes_of, largest_error, share

Link: TypeAlias = str | None
"""The file name of a page beside this one; None where there is none."""


def many_page(entries: Sequence[Entry], links: Sequence[Link]) -> str:
    """What came of several folds, as a page.

    Args:
        entries: what came of each.
        links: the page of each.
    """
    written = sum(entry.written is not None for entry in entries)
    folded = sum(entry.folded for entry in entries)
    total = folded + sum(len(entry.kept) for entry in entries)
    facts = {"models": str(len(entries)), "written": str(written), "BatchNormalizations folded": f"{folded} of {total}"}
    is_whole = written == len(entries)
    verdict = Verdict(f"{written} of {len(entries)} models were written.", "good" if is_whole else "bad")
    rows = [_row(entry, link) for entry, link in zip(entries, links, strict=True)]
    headings = ("model", "folded", "stays", "largest error / tolerance", "written")
    sections = [
        Section("models", "Models", table("A click on a model shows its page", headings, rows)),
        _wrong(entries),
    ]
    return page("bnfold fold of several models", verdict, facts, sections)


def _row(entry: Entry, link: Link) -> list[Cell]:
    name = PurePath(entry.model).name
    model = tag("code", name) if link is None else tag("a", tag("code", name), href=quote(link))
    return [model, Number(entry.folded, share(entry)), codes_of(entry), _error(entry), _place(entry)]


def _error(entry: Entry) -> Number:
    text = largest_error(entry)
    try:
        value = float(text)
    except ValueError:  # not checked, or nothing to be checked
        return Number(float("nan"), text)
    return Number(value, text, "good" if value <= 1 else "bad")


def _place(entry: Entry) -> Markup:
    if entry.written is not None:
        return tag("code", entry.written)
    return tag("span", entry.shortfall, class_="bad")


def _wrong(entries: Sequence[Entry]) -> Section | None:
    """What was wrong with those that failed."""
    found = [f"{entry.model}: {entry.sentence}" for entry in entries if entry.sentence]
    return Section("failed", "What was wrong", listed(found)) if found else None
