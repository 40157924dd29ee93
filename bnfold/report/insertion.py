"""An insertion and a calibration as text for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.inserting.calibrate import CalibrateResult
    from bnfold.inserting.estimates import Calibrated
    from bnfold.inserting.insert import Inserted, InsertResult
    from bnfold.inserting.sites import Skipped
    from bnfold.report.console import Console


def insert_text(console: Console, result: InsertResult, *, name: str) -> None:
    """Where a BatchNormalization was put in, where none was and why, and remarks."""
    from rich.markup import escape

    counts = Counter(entry.op_type for entry in result.inserted)
    behind = ", ".join(f"{count} {op_type}" for op_type, count in sorted(counts.items()))
    console.print(
        escape(
            f"{name}: {len(result.inserted)} BatchNormalizations inserted" + (f", behind {behind}" if behind else "")
        )
    )
    _skipped_text(console, result.skipped)
    for remark in result.remarks:
        console.print(f"  [cyan]note[/] {escape(remark)}")


def sites_text(console: Console, inserted: Sequence[Inserted]) -> None:
    """The places, one per row."""
    from bnfold.report.tables import Column, name, number, print_table

    columns = [name("behind"), Column("operator", leaves=1), number("channels", leaves=0), name("BatchNormalization")]
    rows = [(entry.behind, entry.op_type, str(entry.channels), entry.node) for entry in inserted]
    print_table(console, columns, rows)


def calibrate_text(console: Console, result: CalibrateResult, *, name: str) -> None:
    """How far the statistics of each BatchNormalization have moved."""
    from rich.markup import escape

    total = len(result.calibrated) + len(result.skipped)
    console.print(escape(f"{name}: {len(result.calibrated)} of {total} BatchNormalizations calibrated"))
    if result.calibrated:
        _moved_text(console, result.calibrated)
    _skipped_text(console, result.skipped)
    for remark in result.remarks:
        console.print(f"  [cyan]note[/] {escape(remark)}")


def _moved_text(console: Console, calibrated: Sequence[Calibrated]) -> None:
    from bnfold.report.tables import Column, name, number, print_table

    columns = [name("node"), number("channels", leaves=0), number("mean moved"), number("variance x"), Column("")]
    print_table(console, columns, [_moved(entry) for entry in calibrated])


def _moved(entry: Calibrated) -> Sequence[str]:
    ratio = f"{entry.smallest_ratio:.3g} to {entry.largest_ratio:.3g}"
    words = ["was training"] if entry.was_training else []
    words += [f"{entry.dead} dead"] if entry.dead else []
    return entry.node, str(entry.channels), f"{entry.moved:.3g} sigma", ratio, ", ".join(words)


def _skipped_text(console: Console, skipped: Sequence[Skipped]) -> None:
    from rich.markup import escape

    for entry in skipped:
        console.print(f"  [yellow]none[/] {escape(entry.node)}: {escape(entry.reason)} \\[{entry.code}]")
