"""The page of an insertion: where BatchNormalizations are now, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnfold.model.graph import Graph
from bnfold.report.clock import Clock
from bnfold.report.html.checks import check_sections, check_verdict, worst
from bnfold.report.html.folding import weights_section
from bnfold.report.html.machine import timings_section, versions_section
from bnfold.report.html.markup import tag
from bnfold.report.html.page import Section, Verdict, page, paragraphs
from bnfold.report.html.pairing import Pairing, Side, pair
from bnfold.report.html.pictures import Subject, View, by_label, linked, pictures
from bnfold.report.html.tables import Cell, number, table
from bnfold.report.html.weights import moved_constants

if TYPE_CHECKING:
    from bnfold.checking import CheckReport
    from bnfold.inserting.insert import Inserted, InsertResult
    from bnfold.inserting.sites import Skipped


def insert_page(result: InsertResult, report: CheckReport | None, *, name: str, clock: Clock | None = None) -> str:
    """The whole outcome of an insertion as a page; the arguments are those of `fold_page`.

    Raises:
        ExternalDataError, ModelError: a weight can not be read.
    """
    pairing = sides_of(result)
    drawn = _pictures(result, pairing)
    facts = {
        "inserted": str(len(result.inserted)),
        "places without one": str(len(result.skipped)),
        "nodes": f"{len(result.base.graph.node)} → {len(result.model.graph.node)}",
        "largest error": worst(report),
    }
    verdict = Verdict("Not compared: the model was not run.", "tight") if report is None else check_verdict(report)
    sections = [
        inserted_section(result.inserted, drawn),
        _skipped(result.skipped),
        drawn,
        weights_section(list(moved_constants(pairing))),
        *check_sections(report),
        timings_section(clock),
        versions_section(None if report is None else report.versions, result.remarks),
    ]
    return page(f"bnfold insert: {name}", verdict, facts, sections)


def sides_of(result: InsertResult) -> Pairing:
    """What the normalizations were put into, and what came of it."""
    return pair(Side(Graph(result.base), result.container), Side(Graph(result.model), result.container))


def inserted_section(inserted: Sequence[Inserted], drawn: Section | None) -> Section:
    """Every BatchNormalization that was put in."""
    if not inserted:
        return Section("inserted", "What was inserted where", paragraphs("Nothing was inserted."))
    rows: list[list[Cell]] = [
        [linked(entry.node, place, drawn), tag("code", entry.behind), entry.op_type, number(entry.channels, "d")]
        for place, entry in enumerate(inserted)
    ]
    headings = ("node", "behind", "operator", "channels")
    return Section("inserted", "What was inserted where", table("Every new BatchNormalization", headings, rows))


def _skipped(skipped: Sequence[Skipped]) -> Section | None:
    if not skipped:
        return None
    rows: list[list[Cell]] = [
        [tag("code", entry.node), entry.op_type, entry.reason, tag("code", entry.code)] for entry in skipped
    ]
    shown = table("Every linear operator that got none", ("node", "operator", "why", "code"), rows)
    return Section("skipped", "Where there is none, and why", shown)


def _pictures(result: InsertResult, pairing: Pairing) -> Section | None:
    before, after = by_label(pairing.before.graph), by_label(pairing.after.graph)
    subjects = []
    for entry in result.inserted:
        ours = [before[entry.behind]] if entry.behind in before else []
        theirs = [after[entry.node]] if entry.node in after else []
        subjects.append(Subject(f"{entry.node} behind {entry.behind}", tuple(ours), tuple(theirs)))
    view = View(pairing.before, pairing, pairing.states)
    words = "The neighbourhood of each new node: the operator that it stands behind, and a step around."
    return pictures("around", "The graph around each new node", view, subjects, words)
