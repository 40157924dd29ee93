"""A check on the page: the error per output and along the graph, and which provider took which nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING

from bnfold.checking.location import DIFFERENT, EQUAL
from bnfold.checking.ulps import describe_ulps
from bnfold.report.html.charts import error_chart
from bnfold.report.html.markup import Markup, joined, tag
from bnfold.report.html.page import Section, Verdict, listed, paragraphs
from bnfold.report.html.tables import Cell, Number, number, table

if TYPE_CHECKING:
    from bnfold.checking import CheckReport, Comparison, OutputComparison
    from bnfold.checking.location import Location
    from bnfold.checking.truth import Truth

_MARKS = {EQUAL: "good", DIFFERENT: "bad"}


def check_verdict(report: CheckReport) -> Verdict:
    """Whether the two graphs compute the same."""
    if report:
        return Verdict("The two graphs compute the same, within the tolerance below.", "good")
    if report.outputs and all(output.equal for output in report.outputs):
        return Verdict("The comparison shows nothing: see the outputs.", "tight")
    return Verdict("The two graphs do not compute the same.", "bad")


def worst(report: CheckReport | None) -> str:
    """The largest error over what is tolerated, in words."""
    if report is None or not report.outputs:
        return "not compared"
    return f"{max(map(_share, report.outputs)):.2g} of tolerance"


def check_sections(report: CheckReport | None) -> list[Section | None]:
    """All that a check has to say."""
    if report is None:
        nothing = paragraphs("Nothing was run: there is no error to show.")
        return [Section("outputs", "Error per output", nothing)]
    return [
        Section("outputs", "Error per output", _outputs(report)),
        _along(report.location) if report.location is not None else None,
        Section("truth", "Distance from float64", _truths(report.truths)) if report.truths else None,
        Section("placement", "Placement per provider", joined(map(_placement, report.comparisons))),
    ]


def _share(output: OutputComparison) -> float:
    """The error over the tolerance."""
    if not output.needed:
        return 0.0
    return output.needed / output.tolerance if output.tolerance else inf


def _outputs(report: CheckReport) -> Markup:
    source = ", ".join(report.data) or f"drawn with seed {report.seed}, {report.draws} draws"
    shapes = " and ".join(", ".join(shapes) for shapes in report.inputs) or "none"
    tables = [_comparison(comparison) for comparison in report.comparisons]
    bases = dict.fromkeys(output.basis for output in report.outputs)
    return joined(
        paragraphs(f"Inputs: {shapes}; {source}."),
        tables,
        paragraphs(*(f"Tolerance: {basis}." for basis in bases)),
        listed(report.remarks),
    )


def _comparison(comparison: Comparison) -> Markup:
    headings = (
        *("output", "type", "verdict", "max |y-y'|", "tolerance", "error / tolerance", "noise", "over max |y|"),
        *("mean |y-y'|", "1 - cosine", "argmax agrees", "representable numbers apart"),
    )
    rows = [_output(output) for output in comparison.outputs]
    return table(f"onnxruntime, {comparison.matchup}", headings, rows)


def _output(output: OutputComparison) -> list[Cell]:
    share = _share(output)
    agreement = output.argmax_agreement
    return [
        tag("code", output.name),
        output.dtype,
        _verdict(output),
        number(output.max_abs),
        number(output.tolerance),
        number(share, ".2g", "good" if share <= 1 else "bad"),
        number(output.noise),
        number(output.rel_to_max),
        number(output.mean_abs),
        number(None if output.cosine is None else 1 - output.cosine),
        number(None if agreement is None else 100 * agreement, ".4g"),
        describe_ulps(output.ulps) if output.ulps else "",
    ]


def _verdict(output: OutputComparison) -> Markup:
    if output.ok:
        return tag("span", "equal", class_="good")
    if output.equal:
        return tag("span", f"vacuous: {output.vacuous}", class_="tight")
    return tag("span", "different", class_="bad")


def _along(location: Location) -> Section:
    rows: list[list[Cell]] = [
        [
            Number(place, str(place)),
            tag("code", error.name),
            error.producer,
            tag("span", error.state, class_=_MARKS.get(error.state, "tight")),
            number(error.max_abs),
            number(error.tolerance),
            number(error.rel_to_max),
        ]
        for place, error in enumerate(location.tensors, 1)
    ]
    headings = ("place", "tensor", "made by", "state", "max |t-t'|", "tolerance", "over max |t|")
    words = f"{location.sentence[:1].upper()}{location.sentence[1:]}."
    explained = (
        "Every tensor that both graphs have under one name, in the order of computation. A tensor that a map was moved "
        "past is rescaled per channel on purpose."
    )
    missing = f"{location.unmatched} tensors of the original have no counterpart of that name."
    shown = tag("details", tag("summary", f"{len(rows)} tensors in a table"), table("Tensors", headings, rows))
    body = joined(paragraphs(words, explained, missing if location.unmatched else None), error_chart(location), shown)
    return Section("along", "Error along the graph", body)


def _truths(truths: tuple[Truth, ...]) -> Markup:
    rows: list[list[Cell]] = [
        [
            tag("code", truth.name),
            number(truth.before),
            number(truth.after),
            number(truth.exact),
            tag("span", "as near" if truth.ok else "further", class_="good" if truth.ok else "bad"),
        ]
        for truth in truths
    ]
    headings = ("output", "before", "after", "constants alone", "verdict")
    return table("Largest distance from the original in float64", headings, rows)


def _placement(comparison: Comparison) -> Markup:
    sides = (("before", comparison.placement_before), ("after", comparison.placement_after))
    rows = [row for side, placement in sides for row in _placed(side, placement)]
    if not rows:
        return paragraphs(f"onnxruntime, {comparison.matchup}: no node is left to be placed.")
    return table(f"Nodes, {comparison.matchup}", ("graph", "provider", "nodes", "operators"), rows)


def _placed(side: str, placement: Mapping[str, tuple[str, ...]]) -> Iterator[list[Cell]]:
    for provider, nodes in placement.items():
        counted = sorted(Counter(nodes).items())
        yield [
            side,
            provider,
            number(len(nodes), "d"),
            ", ".join(op_type if count == 1 else f"{count} {op_type}" for op_type, count in counted),
        ]
