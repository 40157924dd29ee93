"""A check as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from math import isfinite
from typing import TYPE_CHECKING

from bnfold.checking.location import DIFFERENT, EQUAL, RESCALED
from bnfold.checking.ulps import describe_ulps
from bnfold.runtime import describe_placement

if TYPE_CHECKING:
    from rich.text import Text

    from bnfold.checking import CheckReport, Comparison, OutputComparison
    from bnfold.checking.location import Location
    from bnfold.checking.truth import Truth
    from bnfold.report.console import Console
    from bnfold.report.tables import Cell


_COLOURS = {EQUAL: "green", RESCALED: "yellow", DIFFERENT: "red"}

_WIDTH = 100
"""Columns of a table that no terminal shows."""


def check_text(console: Console, report: CheckReport) -> None:
    """The proof: per output, how far the two graphs are apart, and what would have been too far."""
    from rich.markup import escape

    inputs = " and ".join(", ".join(shapes) for shapes in report.inputs) or "no inputs"
    source = ", ".join(report.data) or f"seed {report.seed}, {report.draws} draws"
    console.print(escape(f"inputs: {source} of {inputs}"))
    for comparison in report.comparisons:
        _comparison_text(console, comparison)
    if report.truths:
        _truths_text(console, report.truths)
    if report.location is not None:
        _location_text(console, report.location)
    for remark in report.remarks:
        console.print(f"  [cyan]remark[/] {escape(remark)}")


def check_table(report: CheckReport) -> str:
    """The same without colour, as a text for an error message or a log."""
    from rich.console import Console

    text = StringIO()
    check_text(
        Console(file=text, width=_WIDTH, force_terminal=False, highlight=False, soft_wrap=True, no_color=True), report
    )
    return text.getvalue().rstrip()


def _comparison_text(console: Console, comparison: Comparison) -> None:
    from rich.markup import escape

    matchup = comparison.matchup
    console.print(escape(f"onnxruntime, {matchup}"))
    for label, placement, provider in (
        ("before", comparison.placement_before, matchup.before),
        ("after", comparison.placement_after, matchup.after),
    ):
        console.print(escape(f"  {label}: {describe_placement(placement, provider)}"))
    _outputs_table(console, comparison.outputs)
    for output in comparison.outputs:
        console.print(escape(f"  {output.name}: {_statistics(output)}"))
    for basis in dict.fromkeys(output.basis for output in comparison.outputs):
        console.print(escape(f"  tolerance: {basis}"))


def _outputs_table(console: Console, outputs: Sequence[OutputComparison]) -> None:
    from bnfold.report.tables import name, number, print_table

    columns = [name("output"), number("max |y-y'|"), number("noise", leaves=0), number("tolerance")]
    rows: list[Sequence[Cell]] = [
        (
            output.name,
            *_numbers(output.max_abs, output.noise, output.tolerance, output.rel_to_max),
            _verdict(output),
        )
        for output in outputs
    ]
    print_table(console, [*columns, number("over max|y|", leaves=1), number("")], rows)


def _numbers(*values: float) -> list[str]:
    return [f"{value:.2e}" for value in values]


def _truths_text(console: Console, truths: Sequence[Truth]) -> None:
    """How far each model is from the original in float64."""
    from rich.text import Text

    from bnfold.report.tables import name, number, print_table

    columns = [name("distance from float64"), number("before"), number("after"), number("constants", leaves=0)]
    rows: list[Sequence[Cell]] = [
        (
            truth.name,
            *_numbers(truth.before, truth.after, truth.exact),
            Text("as near", "green") if truth.ok else Text("further", "red"),
        )
        for truth in truths
    ]
    print_table(console, [*columns, number("")], rows)


def _location_text(console: Console, location: Location) -> None:
    """Where the graphs part, and the error along the way there."""
    from rich.markup import escape
    from rich.text import Text

    from bnfold.report.tables import name, number, print_table

    columns = [name("tensor"), name("made by"), number("max |t-t'|"), number("tolerance", leaves=1)]
    rows: list[Sequence[Cell]] = [
        (
            error.name,
            error.producer,
            *_numbers(error.max_abs, error.tolerance, error.rel_to_max),
            Text(error.state, _COLOURS[error.state]),
        )
        for error in location.tensors
    ]
    print_table(console, [*columns, number("over max|t|", leaves=0), number("")], rows)
    console.print(escape(location.sentence))


def _statistics(output: OutputComparison) -> str:
    """What the table has no room for."""
    words = [f"mean {output.mean_abs:.1e}"]
    if output.cosine is not None:
        words.append(f"1 - cosine {1 - output.cosine:.1e}")
    if output.argmax_agreement is not None:
        words.append(f"argmax agrees in {100 * output.argmax_agreement:.4g} %")
    if output.ulps:
        words.append(describe_ulps(output.ulps))
    if output.max_abs:
        words.append(f"would pass with --rtol {rounded_up(output.rel_to_max)}")
    return ", ".join(words)


def rounded_up(value: float) -> str:
    """Two digits that are not less than the value, so that a tolerance of that text lets it pass."""
    text = f"{value:.1e}"
    return text if not isfinite(value) or float(text) >= value else f"{value + 10.0 ** (int(text[4:]) - 1) / 2:.1e}"


def _verdict(output: OutputComparison) -> Text:
    from rich.text import Text

    if output.ok:
        return Text("equal", "green")
    return Text("vacuous", "yellow") if output.equal else Text("different", "red")


def describe_failure(report: CheckReport) -> str:
    """Why a check failed, in a sentence per output."""
    failed = [
        _place(report, comparison) + reason
        for comparison in report.comparisons
        for output in comparison.outputs
        if (reason := output_failure(output, report.allow_vacuous))
    ]
    return "; ".join(failed) or "there is no output to compare"


def output_failure(output: OutputComparison, allow_vacuous: bool) -> str | None:
    """Why the comparison of an output fails, in one sentence; `None` where it does not."""
    name = f"output '{output.name}'"
    if not output.shape_match:
        return f"{name} changes its shape"
    if not output.nonfinite_match:
        return f"{name} has NaN or inf at other places"
    if not output.equal:
        return f"{name} is off by {output.max_abs:.2e}, and {output.tolerance:.2e} is tolerated ({output.basis})"
    if output.vacuous and not allow_vacuous:
        return f"{name} shows nothing: it {output.vacuous}"
    return None


def _place(report: CheckReport, comparison: Comparison) -> str:
    """Where it failed, if there is a choice."""
    return f"on {comparison.matchup}: " if len(report.comparisons) > 1 else ""
