"""A graph as a list of steps: which function reads which places and fills which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx import GraphProto
from torch.nn import Module, ModuleDict

from bnfold.model.calls import Calls
from bnfold.model.graph import Graph, Node, Scope, Value
from bnfold.torch.names import attribute_name
from bnfold.torch.registry import HostRun, Run, Spec, find, find_hosted
from bnfold.torch.stored import Stored, is_constant
from bnfold.torch.values import Context, Host

NOWHERE = -1


@dataclass(frozen=True, eq=False)
class Step:
    """One node.

    Attributes:
        run: computes it.
        hosted: computes it from numbers alone, or None.
        numbers: inputs that `run` takes as numbers where they are known.
        inputs: the places that it reads; NOWHERE for an omitted input.
        outputs: the places that it fills; NOWHERE for an omitted output.
        last_reads: the places that nobody reads after it.
    """

    run: Run
    hosted: HostRun | None
    numbers: frozenset[int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    last_reads: tuple[int, ...]

    def __call__(self, context: Context) -> None:
        """Compute the node's outputs into their places."""
        slots = context.slots
        made = self._computed(context, [None if place < 0 else slots[place] for place in self.inputs])
        for place in self.last_reads:
            slots[place] = None
        if not isinstance(made, tuple) or isinstance(made, Host):
            slots[self.outputs[0]] = made
            return
        for place, value in zip(self.outputs, made, strict=False):
            if place >= 0:
                slots[place] = value

    def _computed(self, context: Context, values: list[Any]) -> Any:  # noqa: ANN401 (an output, or a tuple of them)
        if self.hosted is not None and all(value is None or isinstance(value, Host) for value in values):
            known = self.hosted(*values)
            if known is not None:
                return known
        given = [v if k in self.numbers else context.tensor(v) for k, v in enumerate(values)]
        return self.run(context, *given)


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of one scope.

    Attributes:
        inputs: the places of its inputs.
        outputs: the places of its outputs.
        steps: in the order in which they run.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]

    def run(self, context: Context) -> list[Any]:
        """Run the steps; the outputs."""
        for step in self.steps:
            step(context)
        return [context.slots[place] for place in self.outputs]


class Translation:
    """The program of one graph, and what its steps need of the module.

    Args:
        graph: the view; its functions are in place.
        stored: what the module holds of it.

    Attributes:
        modes: the steps that depend on the module's mode, by a name for each.
        program: of the main graph.

    Raises:
        ModelError: an operator, or an attribute of it, has no translation.
    """

    def __init__(self, graph: Graph, stored: Stored) -> None:
        self._bodies = Calls(graph).bodies
        self._stored = stored
        self._places: dict[Value, int] = {}
        self._taken = set(dir(ModuleDict()))
        self.modes: dict[str, Module] = {}
        self.program = self._program(graph.main)

    def __len__(self) -> int:
        return len(self._places)

    def place(self, value: Value | None) -> int:
        """The value's place."""
        return NOWHERE if value is None else self._places.setdefault(value, len(self._places))

    def _program(self, scope: Scope) -> Program:
        proto = scope.proto
        assert isinstance(proto, GraphProto)  # functions are in place
        nodes = [node for node in scope.nodes if not is_constant(node)]
        last = _last_reads(scope, nodes)
        steps = tuple(self._step(node, last.get(node, ())) for node in nodes)
        initialized = {tensor.name for tensor in proto.initializer}
        fed = [entry.name for entry in proto.input if entry.name not in initialized]
        inputs = tuple(self.place(scope.values[name]) for name in fed)
        return Program(inputs, tuple(self.place(scope.resolve(entry.name)) for entry in proto.output), steps)

    def _step(self, node: Node, last: tuple[Value, ...]) -> Step:
        operator, host = find(node), find_hosted(node)
        spec = Spec(node, self._programs(node), tuple(map(self._stored.is_statistic, node.inputs)))
        run, hosted = operator.build(spec), None if host is None else host(spec)
        spec.refuse_unread()
        if isinstance(run, Module):
            self.modes[attribute_name(node.label, self._taken)] = run
        places = [tuple(map(self.place, values)) for values in (node.inputs, node.outputs, last)]
        return Step(run, hosted, operator.numbers, *places)

    def _programs(self, node: Node) -> dict[str, Program]:
        """Those of the bodies that the node holds."""
        names = [attribute.name for attribute in node.proto.attribute if attribute.HasField("g")]
        scopes = self._bodies.get(node.address, [])
        return {name: self._program(scope) for name, scope in zip(names, scopes, strict=True)}


def _last_reads(scope: Scope, nodes: list[Node]) -> dict[Node, tuple[Value, ...]]:
    """For each node the values that it is the last to read. What a body reads, or a caller gets, stays."""
    last: dict[Value, Node] = {}
    for node in nodes:
        last.update({value: node for value in node.inputs if value is not None})
    found: dict[Node, tuple[Value, ...]] = {}
    for value, node in last.items():
        if value.producer is None or is_constant(value.producer) or value.is_output:
            continue
        if all(reader.scope is scope for reader, _ in value.readers):
            found[node] = (*found.get(node, ()), value)
    return found
