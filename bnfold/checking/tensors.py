"""The tensors of a graph that its inputs move: in which order they come, from what, behind how many operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_

from onnx import ModelProto, NodeProto

from bnfold.checking.subject import Subject
from bnfold.checking.tolerance import LINEAR
from bnfold.model.graph import Graph, Node, subgraphs
from bnfold.model.order import ranks


@dataclass(frozen=True)
class Tensor:
    """One tensor of the main graph.

    Attributes:
        name: Its name.
        producer: The node that makes it, such as `"Conv 'conv1'"`.
        reads: The names that this node reads, in its bodies too.
        linear: How many linear operators stand in front of it, itself included.
        is_output: Whether it is an output of the graph.
    """

    name: str
    producer: str
    reads: tuple[str, ...]
    linear: int
    is_output: bool


def tensors_of(model: Subject) -> tuple[Tensor, ...]:
    """What the nodes of the main graph compute from its inputs or draw at random, in an order of computation.

    Constants are left out: a rewritten graph may have others.

    Raises:
        ModelError: The model can not be parsed.
    """
    graph = Graph(model.proto)
    order = ranks(graph)
    weigh = _Weights(model.proto)
    moving = {entry.name for entry in graph.model.graph.input} - {t.name for t in graph.model.graph.initializer}
    ancestry: dict[str, int] = {}  # per tensor the set of linear operators in front of it, as the bits of a number
    used = 0
    found: list[Tensor] = []
    for node in sorted(graph.main.nodes, key=lambda node: order.get(node.address, 0)):
        reads = tuple(dict.fromkeys(_read(node.proto)))
        weight = weigh(node.proto)
        behind = reduce(or_, (ancestry.get(name, 0) for name in reads), ((1 << weight) - 1) << used)
        used += weight
        ancestry.update(dict.fromkeys(node.proto.output, behind))
        if moving.intersection(reads) or _named(node) in model.random:
            moving.update(name for name in node.proto.output if name)
            found += _made_by(node, reads, behind.bit_count())
    return tuple(found)


def _made_by(node: Node, reads: tuple[str, ...], linear: int) -> Iterator[Tensor]:
    for value in node.outputs:
        if value is not None:
            yield Tensor(value.name, _named(node), reads, linear, value.is_output)


def _named(node: Node) -> str:
    first = next((name for name in node.proto.output if name), "")
    return f"{node.op_type} {node.proto.name or first!r}"


def _read(node: NodeProto) -> Iterator[str]:
    """The names that a node reads, and those that the nodes of its bodies do, whichever scope they belong to."""
    yield from (name for name in node.input if name)
    for body in subgraphs(node):
        for inner in body.node:
            yield from _read(inner)
        yield from (entry.name for entry in body.output)


class _Weights:
    """How many linear operators a node comes to: itself, those of its bodies, those of the function that it calls."""

    def __init__(self, model: ModelProto) -> None:
        self._functions = {(function.domain, function.name): function for function in model.functions}
        self._known: dict[tuple[str, str], int] = {}

    def __call__(self, node: NodeProto) -> int:
        called = (node.domain, node.op_type)
        if called in self._functions:
            if called not in self._known:
                self._known[called] = sum(map(self, self._functions[called].node))
            return self._known[called]
        inner = sum(self(other) for body in subgraphs(node) for other in body.node)
        return inner + (node.op_type in LINEAR)
