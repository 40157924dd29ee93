"""Results as text for people, and as JSON for machines. The JSON is stable: `SCHEMA` rises when it changes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold._version import __version__
from bnfold.checking.ulps import describe_ulps
from bnfold.errors import TargetError
from bnfold.runtime import describe_placement

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from bnfold.checking import CheckReport, Comparison, OutputComparison
    from bnfold.folding.fold import FoldResult
    from bnfold.folding.inspection import AffineInfo, Inspection
    from bnfold.folding.rounds import Settlement

SCHEMA = 1


def fold_text(console: Console, result: FoldResult, *, name: str) -> None:
    """What was folded, what stayed and why, and remarks."""
    from rich.markup import escape

    total = Counter(folded.op_type for folded in result.folded)
    normalizations = total.pop("BatchNormalization", 0)
    summary = f"{name}: {normalizations} of {normalizations + len(result.kept)} BatchNormalizations folded"
    others = ", ".join(f"{count} {op_type}" for op_type, count in sorted(total.items()))
    console.print(escape(summary + (f", and {others}" if others else "")))
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


def check_text(console: Console, report: CheckReport) -> None:
    """The proof: per output, how far the two graphs are apart, and what would have been too far."""
    from rich.markup import escape

    inputs = " and ".join(", ".join(shapes) for shapes in report.inputs) or "no inputs"
    source = ", ".join(report.data) or f"seed {report.seed}, {report.draws} draws"
    console.print(escape(f"inputs: {source} of {inputs}"))
    for comparison in report.comparisons:
        _comparison_text(console, comparison)
    for remark in report.remarks:
        console.print(f"  [cyan]remark[/] {escape(remark)}")


def _comparison_text(console: Console, comparison: Comparison) -> None:
    from rich.markup import escape

    matchup = comparison.matchup
    console.print(escape(f"onnxruntime, {matchup}"))
    for label, placement, provider in (
        ("before", comparison.placement_before, matchup.before),
        ("after", comparison.placement_after, matchup.after),
    ):
        console.print(escape(f"  {label}: {describe_placement(placement, provider)}"))
    console.print(_outputs_table(comparison.outputs))
    for output in comparison.outputs:
        console.print(escape(f"  {output.name}: {_statistics(output)}"))
    for basis in dict.fromkeys(output.basis for output in comparison.outputs):
        console.print(escape(f"  tolerance: {basis}"))


def _outputs_table(outputs: Sequence[OutputComparison]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("output", overflow="fold")
    for heading in ("max |y-y'|", "over max|y|", "noise", "tolerance", ""):
        table.add_column(heading, justify="right")
    for output in outputs:
        numbers = (output.max_abs, output.rel_to_max, output.noise, output.tolerance)
        table.add_row(escape(output.name), *(f"{number:.2e}" for number in numbers), _verdict(output))
    return table


def _statistics(output: OutputComparison) -> str:
    """What the table has no room for."""
    words = [f"mean {output.mean_abs:.1e}"]
    if output.cosine is not None:
        words.append(f"1 - cosine {1 - output.cosine:.1e}")
    if output.argmax_agreement is not None:
        words.append(f"argmax agrees in {output.argmax_agreement:.4g}".replace(" in 1", " everywhere"))
    if output.ulps:
        words.append(describe_ulps(output.ulps))
    if output.max_abs:
        words.append(f"would pass with --rtol {output.rel_to_max:.1e}")
    return ", ".join(words)


def _verdict(output: OutputComparison) -> str:
    if output.ok:
        return "[green]equal[/]"
    return "[yellow]vacuous[/]" if output.equal else "[red]different[/]"


def describe_failure(report: CheckReport) -> str:
    """Why a check failed, in a sentence per output."""
    failed = [output for output in report.outputs if not output.ok]
    return "; ".join(_failure(output) for output in failed) or "there is no output to compare"


def _failure(output: OutputComparison) -> str:
    name = f"output '{output.name}'"
    if not output.shape_match:
        return f"{name} changes its shape"
    if not output.nonfinite_match:
        return f"{name} has NaN or inf at other places"
    if not output.equal:
        return f"{name} is off by {output.max_abs:.2e}, and {output.tolerance:.2e} is tolerated ({output.basis})"
    return f"{name} shows nothing: it {output.vacuous}"


def inspect_text(console: Console, inspection: Inspection) -> None:
    """A table of every affine: node, operator, channels, what would happen to it, and why."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("node", overflow="fold")
    table.add_column("operator")
    table.add_column("channels", justify="right")
    table.add_column("what, and why", overflow="fold")
    for info in inspection:
        table.add_row(escape(info.node), info.op_type, str(info.channels or "?"), escape(_fate(info)))
    console.print(table if inspection else "no affine in this graph")


def _fate(info: AffineInfo) -> str:
    if info.folds:
        return f"folds into {', '.join(info.into)}"
    return f"stays: {info.reason} [{info.code}]"


def fold_json(result: FoldResult, report: CheckReport | None, *, model: str, output: str | None) -> dict[str, Any]:
    """The whole outcome of a fold.

    Args:
        result: what was folded and what stayed.
        report: the proof, None when none was made.
        model: the path that was read.
        output: the path that was written, None when nothing was.
    """
    return {
        **_header(model),
        "output": output,
        "folded": [asdict(folded) for folded in result.folded],
        "kept": [asdict(kept) for kept in result.kept],
        "settled": [asdict(settled) for settled in result.settled],
        "remarks": list(result.remarks),
        "check": None if report is None else check_json(report),
    }


def inspect_json(inspection: Inspection, *, model: str) -> dict[str, Any]:
    """Every affine of a model."""
    return {**_header(model), "affines": [asdict(info) for info in inspection]}


def check_json(report: CheckReport) -> dict[str, Any]:
    """A check, with the verdicts that the dataclasses compute."""
    outputs = [
        {**asdict(output), "equal": output.equal, "ok": output.ok, "needed": output.needed} for output in report.outputs
    ]
    return {**asdict(report), "equal": bool(report), "outputs": outputs}


def _header(model: str) -> dict[str, Any]:
    return {"schema": SCHEMA, "bnfold": __version__, "model": model}


def write_json(document: dict[str, Any], target: str) -> None:
    """Write a document to a file, or to stdout for ``-``. What is not finite is written as null.

    Raises:
        TargetError: the file can not be written.
    """
    text = json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise TargetError(f"'{target}' can not be written: {error.strerror}") from error


def _finite(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
