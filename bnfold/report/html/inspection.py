"""The page of an inspection: every affine, and what would become of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bnfold.model.container import ModelLike, open_model
from bnfold.model.graph import Graph, Node
from bnfold.report.html.machine import versions_section
from bnfold.report.html.markup import Markup, joined, tag
from bnfold.report.html.page import Section, Verdict, page, paragraphs
from bnfold.report.html.pairing import CHANGED, REMOVED, Side
from bnfold.report.html.pictures import KEPT, Subject, View, by_label, linked, pictures
from bnfold.report.html.tables import Cell, number, table

if TYPE_CHECKING:
    from bnfold.folding.inspection import AffineInfo, Inspection

_LEGEND = {
    REMOVED: "red, broken line: would be folded",
    CHANGED: "green: would take it in",
    KEPT: "amber: stays",
}
_NOTES = {REMOVED: "folds", CHANGED: "takes it in", KEPT: "stays"}


def inspect_page(
    inspection: Inspection,
    *,
    name: str,
    model: ModelLike | None = None,
    base_dir: str | os.PathLike[str] | None = None,
) -> str:
    """What an inspection has found, as a page.

    Args:
        inspection: every affine.
        name: the model's.
        model: the model itself, for the pictures; None for none.
        base_dir: the folder of its external data, when it is not given as a path.

    Raises:
        ModelError, ExternalDataError: the model, or a weight, can not be read.
    """
    folds = sum(info.folds for info in inspection)
    facts = {"affines": str(len(inspection)), "would fold": str(folds), "would stay": str(len(inspection) - folds)}
    drawn = None if model is None else _pictures(inspection, model, base_dir)
    body = _table(inspection, drawn) if inspection else paragraphs("There is no affine in this graph.")
    sections = [Section("affines", "Every affine, and what becomes of it", body), drawn, versions_section(None, ())]
    verdict = Verdict(f"{folds} of {len(inspection)} affines would be folded.", "good" if folds else "tight")
    return page(f"bnfold inspect: {name}", verdict, facts, sections)


def _table(inspection: Inspection, drawn: Section | None) -> Markup:
    rows = [_row(info, place, drawn) for place, info in enumerate(inspection)]
    return table("Every affine", ("node", "operator", "channels", "what", "into", "why", "code"), rows)


def _row(info: AffineInfo, place: int, drawn: Section | None) -> list[Cell]:
    return [
        linked(info.node, place, drawn),
        info.op_type,
        number(info.channels or None, "d"),
        "folds" if info.folds else tag("span", "stays", class_="tight"),
        joined([[tag("code", label), " "] for label in info.into]),
        info.reason,
        tag("code", info.code) if info.code else "",
    ]


def _pictures(inspection: Inspection, model: ModelLike, base_dir: str | os.PathLike[str] | None) -> Section | None:
    container = open_model(model, base_dir=base_dir, in_place=True)
    side = Side(Graph(container.proto), container)
    nodes = by_label(side.graph)
    states: dict[Node, str] = {}
    subjects = []
    for info in inspection:
        found = [nodes[label] for label in (info.node, *info.into) if label in nodes]
        for node in found[1:]:
            states.setdefault(node, CHANGED)
        subjects.append(Subject(f"{info.node} ({info.op_type})", tuple(found)))
    for info in inspection:
        if info.node in nodes:
            states[nodes[info.node]] = REMOVED if info.folds else KEPT
    view = View(side, None, states, {node: _NOTES[state] for node, state in states.items()}, _LEGEND)
    words = "The neighbourhood of each affine: the affine, what would absorb it, the way between, and a step around."
    return pictures("around", "The graph around each affine", view, subjects, words)
