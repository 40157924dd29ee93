"""The page of a check: how far two models are apart, and where their graphs differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.model.container import ModelLike, open_model
from bnfold.model.graph import Graph, Node
from bnfold.report.clock import Clock
from bnfold.report.html.checks import check_sections, check_verdict, worst
from bnfold.report.html.folding import weights_section
from bnfold.report.html.machine import timings_section, versions_section
from bnfold.report.html.page import Section, page
from bnfold.report.html.pairing import CHANGED, NEW, REMOVED, Pairing, Side, pair
from bnfold.report.html.pictures import Subject, View, pictures
from bnfold.report.html.weights import moved_constants

if TYPE_CHECKING:
    from bnfold.checking import CheckReport
    from bnfold.checking.timing import RunTimes


def check_page(
    report: CheckReport,
    *,
    name: str,
    before: ModelLike | None = None,
    after: ModelLike | None = None,
    clock: Clock | None = None,
    runs: RunTimes | None = None,
) -> str:
    """The whole outcome of a check as a page.

    Args:
        report: the check.
        name: what was compared with what.
        before: the original; without it and the other model there are no pictures.
        after: the model that was compared with it.
        clock: how long the steps took; None where nobody has measured.
        runs: how long a run of each model takes, likewise.

    Raises:
        ModelError, ExternalDataError: a model, or a weight, can not be read.
    """
    pairing = None if before is None or after is None else pair(_side(before), _side(after))
    facts = {"outputs": str(len(report.comparisons[0].outputs) if report.comparisons else 0)}
    if pairing is not None:
        counts = [len(side.graph.main.nodes) for side in (pairing.before, pairing.after)]
        facts["nodes"] = f"{counts[0]} → {counts[1]}"
    facts["largest error"] = worst(report)
    graphs = [] if pairing is None else [_pictures(pairing), weights_section(list(moved_constants(pairing)))]
    end = [timings_section(clock, runs), versions_section(report.versions, ())]
    sections = [*check_sections(report), *graphs, *end]
    return page(f"bnfold check: {name}", check_verdict(report), facts, sections)


def _side(model: ModelLike) -> Side:
    container = open_model(model, in_place=True)
    return Side(Graph(container.proto), container)


def _pictures(pairing: Pairing) -> Section | None:
    """What is gone first, in the order of the file; then what is new, and what has changed and is in no picture yet."""
    states = pairing.states
    before = [node for node in pairing.before.graph.nodes() if not pairing.before.is_constant(node)]
    after = [node for node in pairing.after.graph.nodes() if not pairing.after.is_constant(node)]
    subjects = [Subject(_title(node, "is gone"), (node,)) for node in before if states[node] == REMOVED]
    subjects += [Subject(_title(node, "is new"), (), (node,)) for node in after if states[node] == NEW]
    subjects += [Subject(_title(node, "has changed"), (node,)) for node in before if states[node] == CHANGED]
    words = "Where the graphs differ: what is gone, what is new, and what has other weights or is another operator."
    return pictures("around", "Where the graphs differ", View(pairing.before, pairing, states), subjects, words)


def _title(node: Node, what: str) -> str:
    return f"{node.op_type} {node.label} {what}" if node.proto.name else f"{node.label} {what}"
