"""A part of a graph as a picture: SVG with a title, in the colours of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bnfold.model.graph import Node, Value
from bnfold.report.html.layout import DROP, Layout, Place, Route, arrange
from bnfold.report.html.markup import Markup, clipped, tag
from bnfold.report.html.neighbourhood import Part
from bnfold.report.html.pairing import SAME, Side
from bnfold.report.html.weights import role_of
from bnfold.report.printable import printable

LINE = 15
"""Height of a line of text, in the units of the picture, and of the space around all of them."""

LETTER = 7.4
"""Width of a letter of the type that is common on Linux, which is the widest."""

LONGEST_LINE = 26

DENSE_DROP = 18
"""Between two layers of a picture of many boxes."""


@dataclass(frozen=True)
class Box:
    """What stands in a box.

    Attributes:
        lines: the first one is the heading.
        kind: a class of the page's style, which says the colour.
        note: what becomes of the node, in a word; colour alone tells not everybody.
        title: what is shown when somebody points at it.
    """

    lines: tuple[str, ...]
    kind: str
    note: str = ""
    title: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        heading = len(self.lines[0]) + (len(self.note) + 2 if self.note else 0)
        longest = max(heading, *(len(line) for line in self.lines))
        return round(longest * LETTER) + 16, len(self.lines) * LINE + 9


def draw(
    side: Side,
    part: Part,
    states: Mapping[Node, str],
    notes: Mapping[Node, str],
    title: str,
    *,
    is_dense: bool = False,
) -> Markup:
    """The picture of a part of a graph.

    Args:
        side: the graph.
        part: what of it.
        states: per node, the class of its box.
        notes: per node, the word in its box.
        title: what the picture is of, for those who can not see it.
        is_dense: whether a box holds the operator alone, for a picture of many.
    """
    boxes = [_node_box(side, node, states.get(node, SAME), notes.get(node, "")) for node in part.nodes]
    if is_dense:
        boxes = [replace(box, lines=box.lines[:1]) for box in boxes]
    number = {node: place for place, node in enumerate(part.nodes)}
    edges = [(number[start], number[end]) for start, end in part.edges]
    for value, readers in part.inputs:
        edges += [(len(boxes), number[reader]) for reader in readers]
        boxes.append(_wire_box(value, "input" if value.producer is None and value.is_input else ""))
    for value, node in part.outputs:
        edges.append((number[node], len(boxes)))
        boxes.append(_wire_box(value, "output" if value.is_output else ""))
    for node, count in part.more_inputs.items():
        edges.append((len(boxes), number[node]))
        boxes.append(_more_box(count))
    for node, count in part.more_outputs.items():
        edges.append((number[node], len(boxes)))
        boxes.append(_more_box(count))
    drop = DENSE_DROP if is_dense else DROP
    return svg(boxes, arrange([box.size for box in boxes], edges, drop=drop), title)


def svg(boxes: Sequence[Box], layout: Layout, title: str) -> Markup:
    """Boxes and arrows that have been laid out."""
    drawn = [tag("path", d=_path(route)) for route in layout.routes]
    drawn += [_drawn(box, place) for box, place in zip(boxes, layout.places, strict=True)]
    size = {"width": str(layout.width), "height": str(layout.height)}
    size["viewBox"] = f"0 0 {layout.width} {layout.height}"
    return tag("svg", tag("title", title), tag("g", drawn, class_="scene"), role="img", aria_label=title, **size)


def short(name: str) -> str:
    """A name in one line of a box: the end tells more."""
    return clipped(printable(name[:200] if len(name) < 400 else name[:100] + name[-100:]), LONGEST_LINE)


def _node_box(side: Side, node: Node, kind: str, note: str) -> Box:
    shapes = [
        f"{role_of(node, index)[:6]} {'×'.join(map(str, constant.shape)) or 'scalar'}"
        for index, constant in side.weights(node)
    ]
    lines = [clipped(printable(node.op_type[:200]), LONGEST_LINE)]
    if node.proto.name:
        lines.append(short(node.proto.name))
    if node.op_type == "BatchNormalization" and len(shapes) == 4:
        shapes = [shapes[0].removeprefix("scale ") + " channels"]
    lines += [clipped(shape, LONGEST_LINE) for shape in shapes[:2]]
    return Box(tuple(lines), kind, note, f"{node.op_type} {node.label}")


def _wire_box(value: Value, role: str) -> Box:
    lines = (role, short(value.name)) if role else ("⋯",)
    return Box(lines, "port" if role else "more", "", value.name)


def _more_box(count: int) -> Box:
    return Box((f"⋯ {count} more",), "more")


def _drawn(box: Box, place: Place) -> Markup:
    texts = [
        tag("text", line, x=8, y=LINE * number + 16, class_="head" if number == 0 else None)
        for number, line in enumerate(box.lines)
    ]
    note = tag("text", box.note, x=place.width - 8, y=16, class_="note") if box.note else None
    return tag(
        "g",
        tag("title", clipped(box.title, 300)) if box.title else None,
        tag("rect", width=place.width, height=place.height, rx=6),
        texts,
        note,
        class_=f"box {box.kind}",
        transform=f"translate({place.x} {place.y})",
    )


def _path(route: Route) -> str:
    """Straight through each layer, and a curve from one to the next."""
    (x, y), *rest = route.points
    words = [f"M{x} {y}"]
    for number, (left, down) in enumerate(rest):
        if (left, down) == (x, y):
            continue
        middle = (y + down) // 2
        words.append(f"V{down}" if number % 2 == 0 or left == x else f"C{x} {middle} {left} {middle} {left} {down}")
        x, y = left, down
    return "".join(words)
