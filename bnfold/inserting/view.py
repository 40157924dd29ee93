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

_FIRST_SCAN = 8
"""The version of Scan whose first input is the lengths of the sequences, which its body does not see."""

_ENTERED = frozenset({("Loop", False), ("Loop", True), ("Scan", True)})


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

        An output of a body or a function is an output of whatever runs it, and an input of a node that has a body or
        calls a function is an input there, at no node of its own.
        """
        for node, index in value.value_readers:
            inner = list(self._entered(node, index))
            yield from ((None, entered) for entered in inner)
            yield from ((node, output) for output in node.outputs if output is not None and not inner)
        if value.is_output and value.scope is not self.graph.main:
            for owner in self._owners.get(value.scope.number, ()):
                yield from ((None, output) for output in owner.outputs if output is not None)

    def _entered(self, node: Node, index: int) -> Iterator[Value]:
        """What an input of a node is called inside: in the bodies of a Loop or Scan, or in the function it calls.

        Loop-1 and Scan-9 give their inputs to their body in order; If-1 has none to give.
        """
        function = self.calls.called(node)
        scopes = self.calls.bodies.get(node.address, ()) if function is None else (function,)
        if function is None and (node.op_type, node.since_version > _FIRST_SCAN) not in _ENTERED:
            return
        for scope in scopes:
            names = [entry if isinstance(entry, str) else entry.name for entry in scope.proto.input]
            if index < len(names):
                yield scope.values[names[index]]

    def is_run(self, function: Scope) -> bool:
        """Whether any call of a function is ever made; of functions that call each other, none is known not to be."""
        runs = self.calls.runs
        return runs is None or runs[function.number] > 0

    def is_graph_output(self, value: Value) -> bool:
        """Whether a value is an output of the model itself."""
        return value.is_output and value.scope is self.graph.main

    def runs(self, scope: Scope) -> list[Node]:
        """The nodes that run a scope other than the main graph."""
        return self._owners.get(scope.number, [])
