"""Which normalizations stand in front of which, so that each can be estimated on inputs that are settled already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnfold.inserting.normalizations import Normalization
from bnfold.inserting.view import View
from bnfold.model.graph import Node, Value
from bnfold.model.order import ranks


def levels_of(view: View, normalizations: Sequence[Normalization]) -> list[list[Normalization]]:
    """Normalizations by level: 1 + the highest level among those in front, from the first level on.

    Args:
        view: the graph.
        normalizations: those that count.
    """
    order, by_address = ranks(view.graph), {one.node.address: one for one in normalizations}
    depth: dict[Value, int] = {}
    levels: dict[int, list[Normalization]] = {}
    for node in sorted(view.graph.main.nodes, key=lambda node: order.get(node.address, node.address.place)):
        level = max((depth.get(value, 0) for value in _read(view, node)), default=0)
        if node.address in by_address:
            level += 1
            levels.setdefault(level, []).append(by_address[node.address])
        depth |= {value: level for value in node.outputs if value is not None}
    return [levels[level] for level in sorted(levels)]


def _read(view: View, node: Node) -> Iterator[Value]:
    """The values that a node computes with: its inputs, and what its bodies read around them."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield from (value for value in current.inputs if value is not None)
        pending += [inner for body in view.calls.bodies.get(current.address, ()) for inner in body.nodes]
