"""The whole main graph in one picture, for models that are not too large for one."""

from __future__ import annotations

from bnfold.report.html.markup import joined, tag
from bnfold.report.html.neighbourhood import part_of
from bnfold.report.html.page import Section, paragraphs
from bnfold.report.html.picture import draw
from bnfold.report.html.pictures import View, legend

MOST = 400
"""Nodes; a picture of more is one of lines."""


def overview(view: View) -> Section | None:
    """The graph before, in the colours of what has become of it; None where there is nothing to be drawn."""
    nodes = [node for node in view.before.graph.main.nodes if not view.before.is_constant(node)]
    if not nodes:
        return None
    if len(nodes) > MOST:
        words = (
            f"The graph has {len(nodes)} nodes, and a picture of more than {MOST} is of no use: see the parts below."
        )
        return Section("whole", "The whole graph", paragraphs(words))
    notes = {node: view.note(node) for node in nodes}
    title = f"The whole graph before, {len(nodes)} nodes"
    drawn = draw(view.before, part_of(view.before, nodes), view.states, notes, title, is_dense=True)
    box = tag(
        "div", drawn, class_="picture whole-graph", tabindex=0, role="group", aria_label=f"{title}; + and - enlarge"
    )
    shown = tag("details", tag("summary", title), tag("figure", box))
    return Section("whole", "The whole graph", joined(legend(view), shown))
