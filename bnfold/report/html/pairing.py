"""Which node of one graph is which node of another, and what has become of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bnfold.model.constant import Constant
from bnfold.model.constants import Constants
from bnfold.model.container import Container
from bnfold.model.graph import Graph, Node, Scope, subgraphs
from bnfold.model.stored import blocks

Key: TypeAlias = Callable[[Node], Hashable | None]

REMOVED, CHANGED, SAME, NEW = "removed", "changed", "same", "new"


class Side:
    """One of the graphs, with its constants.

    Attributes:
        graph: the view.
        constants: of the graph.
    """

    def __init__(self, graph: Graph, container: Container) -> None:
        """A graph whose weights are in what the container has opened, which stays open for as long."""
        self.graph = graph
        self.constants = Constants(graph, container.base_dir)
        self._container = container

    def is_constant(self, node: Node) -> bool:
        """Whether all that the node gives is known without a run: it is then a part of those that read it."""
        outputs = [value for value in node.outputs if value is not None]
        return bool(outputs) and all(self.constants.get(value) is not None for value in outputs)

    def weights(self, node: Node) -> list[tuple[int, Constant]]:
        """The constant inputs of a node that computes, each with its place among the inputs."""
        found = ((index, self.constants.get(value)) for index, value in enumerate(node.inputs))
        return [(index, constant) for index, constant in found if constant is not None]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Two graphs side by side.

    Attributes:
        before: the one.
        after: the other.
        after_of: per node of the one that is still there, the node of the other.
        states: per node of either "same" or "changed", "removed" in the one and "new" in the other.
    """

    before: Side
    after: Side
    after_of: dict[Node, Node]
    states: dict[Node, str]

    @property
    def changed(self) -> list[tuple[Node, Node]]:
        """The nodes that are another operator, or have other constants or attributes, in the order of the file."""
        return [(one, other) for one, other in self.after_of.items() if self.states[one] == CHANGED]


def pair(before: Side, after: Side) -> Pairing:
    """Find for each node of one graph the node that it is in the other, and compare the two.

    A name that both graphs have once says it; where nodes have none, the name of the output, what they read first, and
    in the end their order among nodes of the same operator.

    Raises:
        ExternalDataError, ModelError: a constant can not be read.
    """
    after_of: dict[Node, Node] = {}
    bodies = [_bodies(side.graph) for side in (before, after)]
    pending = [(before.graph.main, after.graph.main), *_functions(before.graph, after.graph)]
    while pending:
        matched = _matched(*pending.pop())
        after_of |= matched
        for node, partner in matched.items():
            pending += zip(bodies[0].get(node, ()), bodies[1].get(partner, ()), strict=False)
    after_of = {node: after_of[node] for node in before.graph.nodes() if node in after_of}
    states = dict.fromkeys(before.graph.nodes(), REMOVED) | dict.fromkeys(after.graph.nodes(), NEW)
    for node, partner in after_of.items():
        states[node] = states[partner] = SAME if _is_same(before, node, after, partner) else CHANGED
    return Pairing(before, after, after_of, states)


def _bodies(graph: Graph) -> dict[Node, list[Scope]]:
    """The scopes of the bodies that a node holds, which are numbered as they are met."""
    found: dict[Node, list[Scope]] = {}
    number = 1 + len(graph.model.functions)
    for node in graph.nodes():
        count = len(subgraphs(node.proto))
        if count:
            found[node] = graph.scopes[number : number + count]
            number += count
    return found


def _functions(before: Graph, after: Graph) -> Iterator[tuple[Scope, Scope]]:
    """The scopes of functions that both models have."""
    ours, theirs = (
        {(function.domain, function.name): graph.scopes[k] for k, function in enumerate(graph.model.functions, 1)}
        for graph in (before, after)
    )
    return ((ours[name], theirs[name]) for name in ours if name in theirs)


def _matched(before: Scope, after: Scope) -> dict[Node, Node]:
    found: dict[Node, Node] = {}
    taken: set[Node] = set()
    keys: list[Key] = [_name, _output, _reads]
    for key in keys:
        ours = _unique(key, (node for node in before.nodes if node not in found))
        theirs = _unique(key, (node for node in after.nodes if node not in taken))
        for name, node in ours.items():
            if name in theirs:
                found[node] = theirs[name]
                taken.add(theirs[name])
    left = [node for node in before.nodes if node not in found and not _is_normalization(node)]
    new = [node for node in after.nodes if node not in taken]
    ours_left, new_left = (Counter(node.op_type for node in nodes) for nodes in (left, new))
    for op_type in ours_left:
        if ours_left[op_type] == new_left[op_type]:
            pairs = ([node for node in nodes if node.op_type == op_type] for nodes in (left, new))
            found |= dict(zip(*pairs, strict=True))
    return found


def _unique(key: Key, nodes: Iterable[Node]) -> dict[Hashable, Node]:
    """The nodes by what the key says of each, where it says it of no other."""
    found: dict[Hashable, Node] = {}
    several: set[Hashable] = set()
    for node in nodes:
        name = key(node)
        if name in found:
            several.add(name)
        if name is not None:
            found[name] = node
    return {name: node for name, node in found.items() if name not in several}


def _name(node: Node) -> Hashable | None:
    return node.proto.name or None


def _output(node: Node) -> Hashable | None:
    return (node.op_type, node.proto.output[0]) if node.proto.output and node.proto.output[0] else None


def _reads(node: Node) -> Hashable | None:
    return (node.op_type, node.proto.input[0]) if node.proto.input else None


def _is_normalization(node: Node) -> bool:
    return node.op_type == "BatchNormalization"


def _is_same(before: Side, node: Node, after: Side, partner: Node) -> bool:
    if (node.op_type, node.domain) != (partner.op_type, partner.domain):
        return False
    if before.is_constant(node) and after.is_constant(partner):
        return True  # what it feeds is compared
    if _attributes(node) != _attributes(partner):
        return False
    ours, theirs = dict(before.weights(node)), dict(after.weights(partner))
    return ours.keys() == theirs.keys() and all(same_values(ours[index], theirs[index]) for index in ours)


def _attributes(node: Node) -> list[bytes]:
    """Bodies left out: their nodes are compared one by one."""
    held = (entry for entry in node.proto.attribute if not entry.HasField("g") and not entry.graphs)
    return sorted(entry.SerializeToString(deterministic=True) for entry in held)


def same_values(one: Constant, other: Constant) -> bool:
    """Whether two constants hold the same bits; large ones are read block by block.

    Raises:
        ExternalDataError, ModelError: one can not be read.
    """
    if (one.shape, one.elem_type) != (other.shape, other.elem_type):
        return False
    ours, theirs = one.locate(), other.locate()
    if ours is None or theirs is None:
        return np.asarray(one.values).tobytes() == np.asarray(other.values).tobytes()
    if (ours.place.source is theirs.place.source) and ours.place.offset == theirs.place.offset:
        return True
    return all(ours.read(block).tobytes() == theirs.read(block).tobytes() for block in blocks(ours.shape))
