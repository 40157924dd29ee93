"""An insertion and a calibration as text for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from bnfold.inserting.calibrate import CalibrateResult
    from bnfold.inserting.estimates import Calibrated
    from bnfold.inserting.insert import Inserted, InsertResult
    from bnfold.inserting.sites import Skipped


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


def sites_table(inserted: Sequence[Inserted]) -> Table:
    """The places, one per row."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("behind", "operator"):
        table.add_column(heading, overflow="fold")
    table.add_column("channels", justify="right")
    table.add_column("BatchNormalization", overflow="fold")
    for entry in inserted:
        table.add_row(escape(entry.behind), entry.op_type, str(entry.channels), escape(entry.node))
    return table


def calibrate_text(console: Console, result: CalibrateResult, *, name: str) -> None:
    """How far the statistics of each BatchNormalization have moved."""
    from rich.markup import escape

    total = len(result.calibrated) + len(result.skipped)
    console.print(escape(f"{name}: {len(result.calibrated)} of {total} BatchNormalizations calibrated"))
    if result.calibrated:
        console.print(_moved_table(result.calibrated))
    _skipped_text(console, result.skipped)
    for remark in result.remarks:
        console.print(f"  [cyan]note[/] {escape(remark)}")


def _moved_table(calibrated: Sequence[Calibrated]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("node", overflow="fold")
    for heading in ("channels", "mean moved", "variance x"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for entry in calibrated:
        ratio = f"{entry.smallest_ratio:.3g} to {entry.largest_ratio:.3g}"
        words = ", ".join(
            [*(["was training"] if entry.was_training else []), *([f"{entry.dead} dead"] if entry.dead else [])]
        )
        table.add_row(escape(entry.node), str(entry.channels), f"{entry.moved:.3g} sigma", ratio, words)
    return table


def _skipped_text(console: Console, skipped: Sequence[Skipped]) -> None:
    from rich.markup import escape

    for entry in skipped:
        console.print(f"  [yellow]none[/] {escape(entry.node)}: {escape(entry.reason)} \\[{entry.code}]")
