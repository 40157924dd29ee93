"""A fold and an inspection as text for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnfold.folding.fold import FoldResult
    from bnfold.folding.inspection import AffineInfo, Inspection
    from bnfold.folding.rounds import Settlement
    from bnfold.report.console import Console


def fold_text(console: Console, result: FoldResult, *, name: str) -> None:
    """What was folded, what stayed and why, and remarks."""
    total = Counter(folded.op_type for folded in result.folded)
    normalizations = total.pop("BatchNormalization", 0)
    summary = f"{name}: {normalizations} of {normalizations + len(result.kept)} BatchNormalizations folded"
    others = ", ".join(f"{count} {op_type}" for op_type, count in sorted(total.items()))
    console.print(summary + (f", and {others}" if others else ""), markup=False)
    if result.kept or result.settled or result.remarks:
        _details(console, result)


def _details(console: Console, result: FoldResult) -> None:
    from rich.markup import escape  # as late: most models in a pipe do without

    for kept in result.kept:
        console.print(f"  [yellow]stays[/] {escape(kept.node)}: {escape(kept.reason)} \\[{kept.code}]")
    for settled in result.settled:
        console.print(f"  [cyan]instead[/] {escape(describe_settlement(settled))}")
    for remark in result.remarks:
        console.print(f"  [cyan]note[/] {escape(remark)}")


def describe_settlement(settled: Settlement) -> str:
    """What became of affines that could not go altogether, and what it costs, in one sentence."""
    made = [f"{op_type} '{name}'" for op_type, name in zip(settled.op_types, settled.left, strict=True)]
    made += [f"{became} in place of '{name}'" for became, name in zip(settled.became, settled.replaced, strict=True)]
    cost = [f"{settled.nodes:+d} nodes"]
    cost += [f"{count:+,d}{f' x {key}' if key else ''} elements" for key, count in settled.elements.items()]
    cost += [f"{settled.bytes:+,d} bytes"] if settled.bytes > 0 else []
    return f"{', '.join(settled.affines)}: {' and '.join(made)} ({', '.join(cost)}), since {settled.reason}"


def describe_kept(result: FoldResult) -> str:
    """The BatchNormalizations that stayed, the first few with their reasons."""
    shown = "; ".join(f"{kept.node}: {kept.reason}" for kept in result.kept[:3])
    rest = len(result.kept) - 3
    return f"{len(result.kept)} BatchNormalizations stay: {shown}" + (f"; and {rest} more" if rest > 0 else "")


def inspect_text(console: Console, inspection: Inspection) -> None:
    """A table of every affine: node, operator, channels, what would happen to it, and why.

    A terminal is too narrow for reasons in a table: there they stand below.
    """
    from rich.markup import escape

    from bnfold.report.tables import Column, is_narrow, name, number, print_table

    if not inspection:
        console.print("no affine in this graph")
        return
    narrow = is_narrow(console)
    fate = _short_fate if narrow else _fate
    columns = [name("node"), Column("operator"), number("channels", leaves=0)]
    last = name("folds into") if narrow else Column("what, and why")
    rows = [(info.node, info.op_type, str(info.channels or "?"), fate(info)) for info in inspection]
    print_table(console, [*columns, last], rows)
    for info in inspection if narrow else ():
        if not info.folds:
            console.print(f"  [yellow]stays[/] {escape(info.node)}: {escape(info.reason)} \\[{info.code}]")


def _fate(info: AffineInfo) -> str:
    return f"folds into {', '.join(info.into)}" if info.folds else f"stays: {info.reason} [{info.code}]"


def _short_fate(info: AffineInfo) -> str:
    return ", ".join(info.into) if info.folds else f"stays [{info.code}]"
