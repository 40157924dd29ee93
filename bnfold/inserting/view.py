"""The graph as an insertion sees it: its operators with their constants and shapes, and who owns which body."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from onnx import ModelProto

from bnfold.model.calls import Calls
from bnfold.model.constants import Constants
from bnfold.model.container import Container
from bnfold.model.graph import Graph, Node, Scope, Value
from bnfold.model.shapes import Shapes
from bnfold.ops.rule import Operator


class View:
    """One model, for finding sites.

    Initializers that a caller may override count as constants here: what is looked for is how many channels a weight
    has, and overriding does not change that.

    Args:
        container: where the weights lie.
        model: the model, as it is now.
    """

    def __init__(self, container: Container, model: ModelProto) -> None:
        self.container = container
        self.graph = Graph(model)
        self.shapes = Shapes(self.graph, freeze=True)
        self.constants = Constants(self.graph, container.base_dir, freeze=True, shapes=self.shapes)

    def operator(self, node: Node) -> Operator:
        """The node with its constants and shapes."""
        return Operator(node, self.constants, self.shapes)

    @cached_property
    def calls(self) -> Calls:
        """Which nodes call which functions, and which bodies are whose."""
        return Calls(self.graph)

    @cached_property
    def _owners(self) -> dict[int, list[Node]]:
        """The nodes that run a scope: the one that holds it as a body, or those that call the function."""
        owners: dict[int, list[Node]] = {}
        for node in self.graph.nodes():
            for body in self.calls.bodies.get(node.address, ()):
                owners.setdefault(body.number, []).append(node)
            function = self.calls.called(node)
            if function is not None:
                owners.setdefault(function.number, []).append(node)
        return owners

    def next_values(self, value: Value) -> Iterator[tuple[Node | None, Value]]:
        """What is computed from a value right away: each reader with its outputs.

        An output of a body or a function is an output of whatever runs it, at no node of its own.
        """
        for node, _ in value.value_readers:
            yield from ((node, output) for output in node.outputs if output is not None)
        if value.is_output and value.scope is not self.graph.main:
            for owner in self._owners.get(value.scope.number, ()):
                yield from ((None, output) for output in owner.outputs if output is not None)

    def is_graph_output(self, value: Value) -> bool:
        """Whether a value is an output of the model itself."""
        return value.is_output and value.scope is self.graph.main

    def runs(self, scope: Scope) -> list[Node]:
        """The nodes that run a scope other than the main graph."""
        return self._owners.get(scope.number, [])
