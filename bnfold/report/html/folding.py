"""The page of a fold: what was folded where, what stayed and why, and what that does to the weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from bnfold.model.graph import Graph, Node
from bnfold.report.clock import Clock
from bnfold.report.folding import describe_settlement
from bnfold.report.html.checks import check_sections, check_verdict, worst
from bnfold.report.html.machine import timings_section, versions_section
from bnfold.report.html.markup import joined, tag
from bnfold.report.html.overview import overview
from bnfold.report.html.page import Section, Verdict, listed, page, paragraphs
from bnfold.report.html.pairing import Pairing, Side, pair
from bnfold.report.html.pictures import KEPT, Subject, View, by_label, linked, pictures
from bnfold.report.html.tables import Cell, Number, number, table
from bnfold.report.html.weights import FEW_STEPS, MANY_SUBNORMAL, Extent, Moved, moved_constants

if TYPE_CHECKING:
    from bnfold.checking import CheckReport
    from bnfold.checking.timing import RunTimes
    from bnfold.folding.fold import FoldResult

_WORDS = {"pull": "towards the inputs", "push": "towards the outputs", "remove": "taken out"}


def fold_page(
    result: FoldResult,
    report: CheckReport | None,
    *,
    name: str,
    clock: Clock | None = None,
    runs: RunTimes | None = None,
) -> str:
    """The whole outcome of a fold as a page.

    Args:
        result: what was folded and what stayed.
        report: the proof, None when none was made.
        name: the model's.
        clock: how long the steps took; None where nobody has measured.
        runs: how long a run of each model takes, likewise.

    Raises:
        ExternalDataError, ModelError: a weight can not be read.
    """
    total = sum(entry.op_type == "BatchNormalization" for entry in result.folded)
    facts = {
        "BatchNormalizations folded": f"{total} of {total + len(result.kept)}",
        "other affines folded": str(len(result.folded) - total),
        "nodes": _nodes(result),
        "largest error": worst(report),
    }
    verdict = _uncompared(result) if report is None else check_verdict(report)
    sections = [*fold_sections(result), *check_sections(report), timings_section(clock, runs)]
    versions = versions_section(None if report is None else report.versions, result.remarks)
    return page(f"bnfold fold: {name}", verdict, facts, [*sections, versions])


def _uncompared(result: FoldResult) -> Verdict:
    if not result:
        return Verdict("Nothing was folded: the graph is as it came in.", "tight")
    return Verdict("Not compared: the fold was not run.", "tight")


def fold_sections(result: FoldResult) -> list[Section | None]:
    """What was folded and what stayed, pictures, and weights."""
    pairing = sides_of(result)
    view = _view(result, pairing)
    drawn = _pictures(result, pairing, view)
    weights = weights_section(list(moved_constants(pairing)))
    return [_folded(result, drawn), _kept(result, drawn), overview(view), drawn, weights]


def sides_of(result: FoldResult) -> Pairing:
    """The graph that the first plan spoke of, and the one that came out."""
    after = Graph(result.rounds[-1].model) if result else result.plan.graph
    return pair(Side(result.plan.graph, result.container), Side(after, result.container))


def _nodes(result: FoldResult) -> str:
    before = len(result.plan.graph.main.nodes)
    after = len(result.rounds[-1].model.graph.node) if result else before
    return f"{before} → {after}"


def _folded(result: FoldResult, drawn: Section | None) -> Section:
    if not result.folded:
        return Section("folded", "What was folded where", paragraphs("Nothing was folded."))
    rows: list[list[Cell]] = [
        [
            Number(place + 1, str(place + 1)),
            linked(entry.node, place, drawn),
            entry.op_type,
            _WORDS.get(entry.direction, entry.direction),
            joined([[tag("code", name), " "] for name in entry.into]),
        ]
        for place, entry in enumerate(result.folded)
    ]
    headings = ("place", "affine", "operator", "direction", "into")
    return Section("folded", "What was folded where", table("Every affine that is gone", headings, rows))


def _kept(result: FoldResult, drawn: Section | None) -> Section:
    rows: list[list[Cell]] = [
        [linked(entry.node, len(result.folded) + place, drawn), entry.reason, tag("code", entry.code)]
        for place, entry in enumerate(result.kept)
    ]
    stays = table("Every BatchNormalization that is still there", ("node", "why", "code"), rows) if rows else None
    none = None if rows else "No BatchNormalization is left."
    settled = [describe_settlement(entry) for entry in result.settled]
    instead = tag("h3", "What was done instead") if settled else None
    return Section("kept", "What stayed and why", joined(paragraphs(none), stays, instead, listed(settled)))


def _view(result: FoldResult, pairing: Pairing) -> View:
    """The graphs, with what was folded and what stays in colours of their own."""
    before, after = by_label(pairing.before.graph), by_label(pairing.after.graph)
    states, notes = dict(pairing.states), dict[Node, str]()
    for entry in result.folded:
        if entry.node in before:
            notes[before[entry.node]] = "folded"
    for kept in result.kept:
        states |= {graph[kept.node]: KEPT for graph in (before, after) if kept.node in graph}
    return View(pairing.before, pairing, states, notes)


def _pictures(result: FoldResult, pairing: Pairing, view: View) -> Section | None:
    before, after = by_label(pairing.before.graph), by_label(pairing.after.graph)
    subjects = []
    for entry in result.folded:
        found = [before[label] for label in (entry.node, *entry.into) if label in before]
        left = tuple(after[label] for label in entry.into if label in after and label not in before)
        subjects.append(Subject(f"{entry.node} ({entry.op_type})", tuple(found), left))
    affines_of = {label: settled.affines for settled in result.settled for label in settled.left}
    for kept in result.kept:
        names = (kept.node, *affines_of.get(kept.node, ()))  # what stays may have moved, and got another name
        ours = tuple(before[name] for name in names if name in before)
        theirs = tuple(after[name] for name in names[:1] if name in after)
        subjects.append(Subject(f"{kept.node} (stays)", ours, theirs))
    words = "The neighbourhood of each affine: the affine, what absorbed it, the way between, and what lies around."
    return pictures("around", "The graph around each affine", view, subjects, words)


def weights_section(moved: Sequence[Moved]) -> Section | None:
    """How large the constants have become, and where a narrow type gets tight."""
    if not moved:
        return None
    tight = [entry for entry in moved if entry.news]
    words = (
        f"{len(tight)} of {len(moved)} constants get tight in a narrow type that they were not tight in before."
        if tight
        else f"None of the {len(moved)} constants gets tight in a narrow type that it was not tight in before."
    )
    explained = (
        f"float16 overflows over 65504 and loses digits under 6.1e-05 (marked from {MANY_SUBNORMAL:.0%} of the weights "
        f"on); int8 with one scale for a whole tensor leaves its weakest channel a part of 127 steps (marked under "
        f"{FEW_STEPS})."
    )
    headings = (
        *("operator", "constant", "shape", "max before", "max after", "smallest before", "smallest after"),
        *("under float16 normal, before", "after", "int8 steps before", "int8 steps after", "newly tight"),
    )
    rows = [_moved(entry) for entry in moved]
    body = joined(paragraphs(words, explained), table("Constants of the operators that have changed", headings, rows))
    return Section("weights", "Weights and narrow types", body)


def _moved(entry: Moved) -> list[Cell]:
    news = "; ".join(entry.news)
    ours, theirs = _span(entry.before), _span(entry.after)
    return [
        tag("code", entry.node.label),
        entry.role,
        tag("span", "×".join(map(str, entry.shape)), class_="whole"),
        *(cell for pair in zip(ours, theirs, strict=True) for cell in pair),
        tag("span", news, class_="tight") if news else "",
    ]


def _span(extent: Extent | None) -> list[Number]:
    """Largest, smallest, under float16's normal numbers, int8 steps; what is tight is marked."""
    if extent is None:
        return [number(None)] * 4
    is_weak, is_small = extent.steps < FEW_STEPS, extent.subnormal > MANY_SUBNORMAL
    return [
        number(extent.largest, ".3g", "tight" if extent.over else ""),
        number(extent.smallest, ".1e"),
        number(extent.subnormal, ".2%", "tight" if is_small else ""),
        number(extent.steps if isfinite(extent.steps) else None, ".1f", "tight" if is_weak else ""),
    ]
