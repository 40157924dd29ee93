"""The part of a graph that is worth a picture: some nodes, the ways between them, and what lies one step around."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bnfold.model.graph import Node, Value
from bnfold.report.html.pairing import Side

MOST = 24
"""Nodes of one picture; more can not be read on a phone."""

RINGS, FEW = 2, 12
"""How many steps around what a picture is about it goes; more than one only to so many nodes in all."""

LOOKED_AT, PORTS = 1000, 6
"""How many inputs, outputs and readers of a node are looked at, and how many lead in or out of a picture."""

MOST_MET = 3000
"""Nodes that are met while a way is looked for."""

FURTHEST = 12
"""Steps between two nodes whose way is still shown."""


@dataclass(frozen=True)
class Part:
    """Nodes, and what leads from one to another, or in and out.

    Attributes:
        nodes: in the order of the file.
        edges: from which to which.
        inputs: per value that comes from elsewhere, which of the nodes read it.
        outputs: per value that goes elsewhere, the node that makes it.
        more_inputs: per node, how many more it reads from elsewhere; those are not looked at one by one.
        more_outputs: per node, how many more values of it go elsewhere.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[Node, Node], ...]
    inputs: tuple[tuple[Value, tuple[Node, ...]], ...]
    outputs: tuple[tuple[Value, Node], ...]
    more_inputs: Mapping[Node, int]
    more_outputs: Mapping[Node, int]


def around(side: Side, centres: Sequence[Node], *, most: int = MOST) -> list[Node]:
    """The centres, the ways from the first to each other one, and what lies around, as far as there is room."""
    found = dict.fromkeys(centres[:most])
    for centre in centres[1:most]:
        found |= dict.fromkeys(_way(side, centres[0], centre))
    for ring in range(RINGS):
        wider = found | dict.fromkeys(other for node in found for other in neighbours(side, node))
        if ring and len(wider) > FEW:
            break
        found = wider
    return list(found)[:most]


def neighbours(side: Side, node: Node) -> Iterator[Node]:
    """The nodes that compute what a node reads, and those that read what it computes, constants left out."""
    for value in node.inputs[:LOOKED_AT]:
        if value is not None and value.producer is not None and _is_drawn(side, value.producer, node):
            yield value.producer
    for value in node.outputs[:LOOKED_AT]:
        for reader, _ in value.readers[:LOOKED_AT] if value is not None else ():
            if _is_drawn(side, reader, node):
                yield reader


def _is_drawn(side: Side, node: Node, beside: Node) -> bool:
    return node.scope is beside.scope and not side.is_constant(node)


def _way(side: Side, start: Node, end: Node) -> list[Node]:
    """The nodes of a shortest way; none where it is long, or there is none."""
    before: dict[Node, Node | None] = {start: None}
    steps = {start: 0}
    pending = deque([start])
    while pending and end not in before and len(before) < MOST_MET:
        node = pending.popleft()
        if steps[node] == FURTHEST:
            return []
        for other in neighbours(side, node):
            if other not in before:
                before[other], steps[other] = node, steps[node] + 1
                pending.append(other)
    found: list[Node] = []
    current = before.get(end)
    while current is not None and current is not start:
        found.append(current)
        current = before[current]
    return found[::-1]


def part_of(side: Side, nodes: Iterable[Node]) -> Part:
    """What leads from one of these nodes to another, and in and out."""
    inside = sorted(dict.fromkeys(nodes), key=lambda node: node.address)
    members = set(inside)
    edges: dict[tuple[Node, Node], None] = {}
    inputs: dict[Value, dict[Node, None]] = {}
    outputs: list[tuple[Value, Node]] = []
    more_inputs, more_outputs = Counter[Node](), Counter[Node]()
    for node in inside:
        far = []
        for value in _computed(side, node):
            if value.producer is not None and value.producer in members:
                edges[value.producer, node] = None
            else:
                far.append(value)
        for value in far[:PORTS]:
            inputs.setdefault(value, {})[node] = None
        more_inputs[node] = len(far[PORTS:]) + len(node.inputs[LOOKED_AT:])
        leaving = [value for value in node.outputs[:LOOKED_AT] if value is not None and _leaves(value, members)]
        outputs += [(value, node) for value in leaving[:PORTS]]
        more_outputs[node] = len(leaving[PORTS:]) + len(node.outputs[LOOKED_AT:])
    read = tuple((value, tuple(readers)) for value, readers in inputs.items())
    return Part(tuple(inside), tuple(edges), read, tuple(outputs), +more_inputs, +more_outputs)


def _computed(side: Side, node: Node) -> list[Value]:
    """What a node reads that is no constant, each value once."""
    read = dict.fromkeys(value for value in node.inputs[:LOOKED_AT] if value is not None)
    return [value for value in read if side.constants.get(value) is None]


def _leaves(value: Value, members: Collection[Node]) -> bool:
    return value.is_output or any(reader not in members for reader, _ in value.readers)
