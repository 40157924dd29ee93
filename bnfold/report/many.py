"""Several folds: a row for each in one table, and one document of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from bnfold._version import __version__
from bnfold.report.documents import SCHEMA

if TYPE_CHECKING:
    from rich.text import Text

    from bnfold.report.console import Console


SIGNALLED = 128
"""Exit statuses from here on tell of a signal: all was interrupted, and nothing is wrong with the model."""


class Entry(NamedTuple):
    """What came of one model.

    Attributes:
        model: its path.
        status: the exit status that a call for it alone has.
        sentence: what was wrong; empty where nothing was.
        document: its own document, as `bnfold.report.fold_json` makes it; None where it came to none.
    """

    model: str
    status: int
    sentence: str
    document: dict[str, Any] | None

    @property
    def written(self) -> str | None:
        """Where its result is, None where there is none."""
        return self.document["output"] if self.document else None

    @property
    def shortfall(self) -> str:
        """Why there is no result, in a word or two."""
        if self.status >= SIGNALLED:
            return "not done"
        return "not written" if self.document else "failed"

    @property
    def folded(self) -> int:
        """How many BatchNormalizations are gone."""
        return _normalizations(self.document) if self.document else 0

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The BatchNormalizations that are still there."""
        return self.document["kept"] if self.document else []


def many_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """One document of all: for each model its own, or why there is none, and a summary."""
    return {
        "schema": SCHEMA,
        "bnfold": __version__,
        "models": [_entry_json(entry) for entry in entries],
        "summary": {
            "models": len(entries),
            "written": sum(entry.written is not None for entry in entries),
            "folded": sum(entry.folded for entry in entries),
            "kept": sum(len(entry.kept) for entry in entries),
            "status": max(entry.status for entry in entries),
        },
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    if entry.document is not None:
        return entry.document
    return {"model": entry.model, "error": {"status": entry.status, "text": entry.sentence}}


def many_text(console: Console, entries: Sequence[Entry]) -> None:
    """A table of every model: what was folded, what stayed and why, how exact the result is, and where."""
    from bnfold.report.tables import Column, name, number, print_table

    columns = [name("model"), Column("folded"), name("stays"), number("error"), name("written")]
    labels, folder = _labels(entries), _folder(entries)
    rows = [
        (label, share(entry), codes_of(entry), largest_error(entry), _place(entry, folder))
        for entry, label in zip(entries, labels, strict=True)
    ]
    print_table(console, columns, rows)
    if any(entry.document and entry.document["check"] for entry in entries):
        console.print("error: the largest of all outputs, over what is tolerated there")
    console.print(_summary(entries, folder), markup=False)


def _labels(entries: Sequence[Entry]) -> list[str]:
    """File names where they tell the models apart, for a terminal is narrow; else the paths."""
    names = [PurePath(entry.model).name for entry in entries]
    return names if len(set(names)) == len(names) else [entry.model for entry in entries]


def _folder(entries: Sequence[Entry]) -> str | None:
    """Where all results are, None where that is not one folder."""
    folders = {str(PurePath(entry.written).parent) for entry in entries if entry.written is not None}
    return folders.pop() if len(folders) == 1 else None


def _normalizations(document: dict[str, Any]) -> int:
    return sum(folded["op_type"] == "BatchNormalization" for folded in document["folded"])


def share(entry: Entry) -> str:
    """How many of the BatchNormalizations, and how many other affines."""
    if entry.document is None:
        return "-"
    others = len(entry.document["folded"]) - entry.folded
    return f"{entry.folded} of {entry.folded + len(entry.kept)}" + (f" +{others}" if others else "")


def codes_of(entry: Entry) -> str:
    """Why BatchNormalizations stayed, and how many for each reason."""
    counted = Counter(kept["code"] for kept in entry.kept)
    return ", ".join(f"{count} {code}" for code, count in counted.most_common())


def largest_error(entry: Entry) -> str:
    """The largest error over its tolerance; as JSON has it, so that what is not finite is None."""
    report = entry.document["check"] if entry.document else None
    if entry.document is None:
        return "-"
    if report is None:
        return "not checked"
    outputs = [output for comparison in report["comparisons"] for output in comparison["outputs"]]
    return _largest([_over(output["max_abs"], output["tolerance"]) for output in outputs])


def _over(error: float | None, tolerance: float | None) -> float:
    if error is None or tolerance is None:
        return float("inf")
    if not error:
        return 0.0
    return error / tolerance if tolerance else float("inf")


def _largest(errors: Sequence[float]) -> str:
    return f"{max(errors, default=0.0):.2g}"


def _place(entry: Entry, folder: str | None) -> str | Text:
    from rich.text import Text

    if entry.written is not None:
        return entry.written if folder is None else PurePath(entry.written).name
    return Text(entry.shortfall, "red")


def _summary(entries: Sequence[Entry], folder: str | None) -> str:
    written, folded = sum(entry.written is not None for entry in entries), sum(entry.folded for entry in entries)
    total = folded + sum(len(entry.kept) for entry in entries)
    where = f" to {folder}" if folder is not None else ""
    return f"{written} of {len(entries)} models written{where}, {folded} of {total} BatchNormalizations folded"
