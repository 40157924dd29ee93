"""Pictures of the places where something has happened, the graph before beside the graph after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bnfold.model.graph import Graph, Node
from bnfold.report.html.markup import Markup, clipped, joined, tag
from bnfold.report.html.neighbourhood import MOST, around, neighbours, part_of
from bnfold.report.html.page import Section, paragraphs
from bnfold.report.html.pairing import CHANGED, NEW, REMOVED, Pairing, Side
from bnfold.report.html.picture import draw
from bnfold.report.printable import printable

ROOM = 3_000_000
"""Bytes of all pictures of a page together, so that a phone still opens it."""

FIRST_OPEN = 1
"""Pictures that are shown at once; the others are one touch away."""

KEPT = "kept"

LEGEND = {
    REMOVED: "red, broken line: gone",
    CHANGED: "green: other weights or another operator",
    KEPT: "amber: stays",
    NEW: "violet: new",
}

NOTES = {REMOVED: "gone", CHANGED: "changed", NEW: "new", KEPT: "stays"}

_LONGEST_TITLE = 120


@dataclass(frozen=True)
class Subject:
    """A place that gets a picture.

    Attributes:
        title: what it is about.
        before: nodes of the graph before, the one it is about first.
        after: nodes of the graph after, besides those that the others have become.
    """

    title: str
    before: tuple[Node, ...] = ()
    after: tuple[Node, ...] = ()


@dataclass(frozen=True)
class View:
    """The graphs that pictures are made of.

    Attributes:
        before: the graph before.
        pairing: it and the graph after; None where there is no other graph.
        states: per node, what the colour of its box says.
        notes: per node, the word in its box, where it is another one than `NOTES` has.
        legend: what each state means.
    """

    before: Side
    pairing: Pairing | None
    states: Mapping[Node, str]
    notes: Mapping[Node, str] = field(default_factory=dict)
    legend: Mapping[str, str] = field(default_factory=lambda: LEGEND)

    def note(self, node: Node) -> str:
        """The word in the box of a node."""
        return self.notes.get(node) or NOTES.get(self.states.get(node, ""), "")


def by_label(graph: Graph) -> dict[str, Node]:
    """The nodes of a graph by what a person calls them; the first of several."""
    found: dict[str, Node] = {}
    for node in graph.nodes():
        found.setdefault(node.label, node)
    return found


def pictures(name: str, title: str, view: View, subjects: Sequence[Subject], words: str) -> Section | None:
    """A section with a picture of every subject, as many as there is room for.

    Args:
        name: by which links find the section; its pictures are ``<name>-1`` and so on.
        title: its heading.
        view: the graphs.
        subjects: in the order in which they are shown.
        words: what the pictures are of.
    """
    drawn: list[Markup] = []
    room = ROOM
    for subject in subjects:
        figures = _figures(view, subject)
        room -= len(figures)
        if room < 0:
            break
        drawn.append(
            tag(
                "details",
                tag("summary", clipped(printable(subject.title), _LONGEST_TITLE)),
                tag("div", figures, class_="pair"),
                id=f"{name}-{len(drawn) + 1}",
                open=len(drawn) < FIRST_OPEN,
            )
        )
    if not drawn:
        return None
    rest = len(subjects) - len(drawn)
    limit = f"{rest} more are not drawn: the pictures of a page may take {ROOM // 1_000_000} MB." if rest else None
    return Section(name, title, joined(paragraphs(words, limit), legend(view), drawn), len(drawn))


def linked(label: str, number: int, section: Section | None) -> Markup:
    """The name of a node, and a link to its picture where the subject of that number, from 0 on, has got one."""
    code = tag("code", label)
    if section is None or number >= section.pictures:
        return code
    return tag("a", code, href=f"#{section.name}-{number + 1}")


def _figures(view: View, subject: Subject) -> Markup:
    ours = around(view.before, subject.before)
    title = clipped(printable(subject.title), _LONGEST_TITLE)
    found = [_figure(view, view.before, ours, f"Before: {title}" if view.pairing else title)]
    if view.pairing is not None:
        theirs = _counterparts(view.pairing, ours, subject.after)
        found.append(_figure(view, view.pairing.after, theirs, f"After: {title}"))
    return joined(found)


def _counterparts(pairing: Pairing, ours: Iterable[Node], others: Sequence[Node]) -> list[Node]:
    """What nodes have become, with what is new beside them."""
    found = dict.fromkeys([*others, *(pairing.after_of[node] for node in ours if node in pairing.after_of)])
    for node in list(found):
        new = (other for other in neighbours(pairing.after, node) if pairing.states[other] == NEW)
        found |= dict.fromkeys(new)
    if not list(ours) or not found:
        found |= dict.fromkeys(around(pairing.after, list(others)))
    return list(found)[:MOST]


def _figure(view: View, side: Side, nodes: Sequence[Node], title: str) -> Markup:
    if not nodes:
        return tag("figure", tag("figcaption", f"{title.partition(':')[0]}: there is nothing here."))
    notes = {node: view.note(node) for node in nodes}
    drawn = draw(side, part_of(side, nodes), view.states, notes, title)
    box = tag(
        "div", drawn, class_="picture", tabindex=0, role="group", aria_label=f"{title}; + and - enlarge, 0 shows all"
    )
    return tag("figure", tag("figcaption", title.partition(":")[0]), box)


def legend(view: View) -> Markup:
    """What the colours mean that there are."""
    states = set(view.states.values())
    shown = "; ".join(text for state, text in view.legend.items() if state in states)
    colours = f"{shown.capitalize()}. " if shown else ""
    return tag("p", f"{colours}⋯ leads to the rest of the graph.", class_="faint")
