"""Which normalizations stand in front of which, so that each can be estimated on inputs that are settled already."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bnfold.inserting.view import View
from bnfold.model.graph import Node, Value
from bnfold.model.order import ranks


def levels_of(view: View, nodes: Collection[Node]) -> list[list[Node]]:
    """Nodes of the main graph by level: 1 + the highest level among those in front, from the first level on.

    Args:
        view: the graph.
        nodes: those that count.
    """
    order, chosen = ranks(view.graph), {node.address for node in nodes}
    depth: dict[Value, int] = {}
    levels: dict[int, list[Node]] = {}
    for node in sorted(view.graph.main.nodes, key=lambda node: order.get(node.address, node.address.place)):
        level = max((depth.get(value, 0) for value in _read(view, node)), default=0)
        if node.address in chosen:
            level += 1
            levels.setdefault(level, []).append(node)
        depth |= {value: level for value in node.outputs if value is not None}
    return [levels[level] for level in sorted(levels)]


def _read(view: View, node: Node) -> Iterator[Value]:
    """The values that a node computes with: its inputs, and what its bodies read around them."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield from (value for value in current.inputs if value is not None)
        pending += [inner for body in view.calls.bodies.get(current.address, ()) for inner in body.nodes]
