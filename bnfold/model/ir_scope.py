"""One graph, body or function of an `onnx_ir` model, and the difference that is made in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import onnx_ir as ir
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from bnfold.model.graph import subgraphs
from bnfold.model.ir_node import Said, bodies, read_instead, update
from bnfold.model.ir_reading import mark_of, nodes_below, unmarked
from bnfold.model.ir_weights import from_proto
from bnfold.model.references import materialized

Message: TypeAlias = GraphProto | FunctionProto


class ScopeEdit:
    """What is to become of one graph.

    The order matters: names first, since nodes of bodies read the values of outer graphs; then who reads what; and what
    nothing reads any more goes last.
    """

    def __init__(
        self,
        graph: ir.Graph,
        before: Message,
        after: Message,
        nodes: Sequence[ir.Node],
        outer: ScopeEdit | None = None,
    ) -> None:
        """The difference between two messages, for the graph that says the first.

        Args:
            graph: is changed by `carry_over`.
            before: what it says.
            after: what it is to say.
            nodes: all nodes of the model, by their marks.
            outer: the graph around a body.
        """
        self.graph, self.before, self.after, self.outer = graph, before, after, outer
        self._nodes = nodes
        self._values: dict[str, ir.Value] = {}
        self._were = {mark: node for node in before.node if (mark := mark_of(node)) is not None}
        self._kept = _kept(graph, self._were, after, nodes)
        self._outputs = list(graph.outputs)

    def find(self, name: str) -> ir.Value | None:
        """The value that a name means here once all is named."""
        found = self._values.get(name)
        return found if found is not None or self.outer is None else self.outer.find(name)

    def carry_over(self) -> None:
        """Make the difference.

        Raises:
            ExternalDataError, ModelError: a weight that is needed can not be read.
        """
        said = {value.name: Said.of(value) for value in self._renamed() if value.name}
        self._name_constants()
        for node, proto in self._kept.values():
            update(node, self._were[_mark(proto)], proto, said)
        for node in (node for node, _ in self._kept.values()):
            self._values |= {value.name: value for value in node.outputs if value.name}
        new, placeholders = self._new_nodes(said)
        nodes = [self._kept[place][0] if place in self._kept else new[place] for place in range(len(self.after.node))]
        self._wire(placeholders)
        self._show()
        self._clear(nodes)
        _put_in_order(self.graph, nodes)

    def _renamed(self) -> list[ir.Value]:
        """The values under names that the output of another node gets."""
        names = {name for place, node in enumerate(self.after.node) if place not in self._kept for name in node.output}
        for _, proto in self._kept.values():
            names |= set(proto.output) - set(self._were[_mark(proto)].output)
        values = (value for node in self.graph for value in node.outputs)
        return [value for value in values if value.name in names]

    def _name_constants(self) -> None:
        """Inputs, and initializers: new ones, and those with other numbers."""
        present = {value.name: value for value in self.graph.inputs if value.name}
        if isinstance(self.after, GraphProto) and isinstance(self.before, GraphProto):
            were = {tensor.name: tensor for tensor in self.before.initializer}
            for tensor in self.after.initializer:
                self._values[tensor.name] = self._initializer(tensor, were.get(tensor.name))
        names = _names(self.after, "input")
        inputs = [self._values.get(name) or present[name] for name in names]
        self._values |= dict(zip(names, inputs, strict=True))
        if not _are_same(inputs, self.graph.inputs):
            self.graph.inputs[:] = inputs

    def _initializer(self, tensor: TensorProto, was: TensorProto | None) -> ir.Value:
        if was is None:
            made = from_proto(tensor)
            value = ir.Value(
                name=tensor.name, type=ir.TensorType(made.dtype), shape=ir.Shape(tensor.dims), const_value=made
            )
            self.graph.register_initializer(value)
            return value
        value = self.graph.initializers[tensor.name]
        if was != tensor:
            value.const_value = from_proto(tensor)
            value.type, value.shape = ir.TensorType(value.const_value.dtype), ir.Shape(tensor.dims)
        return value

    def _new_nodes(self, said: Mapping[str, Said]) -> tuple[dict[int, ir.Node], list[ir.Value]]:
        """The nodes that came, by their places, and values that stand for what they read from outside of them."""
        protos = {place: node for place, node in enumerate(self.after.node) if place not in self._kept}
        if not protos:
            return {}, []
        made = [name for node in protos.values() for name in node.output]
        read = dict.fromkeys(name for node in protos.values() for name in _read_by(node) if name not in made)
        carrier = GraphProto(input=[ValueInfoProto(name=name) for name in read if name], node=protos.values())
        carrier.value_info.extend(info for info in _infos(self.after).values() if info.name in made)
        graph = ir.serde.deserialize_graph(materialized(unmarked(ModelProto(graph=carrier))).graph)
        nodes = list(graph)
        graph.remove(nodes)
        for name, value in ((value.name, value) for node in nodes for value in node.outputs):
            if not name:
                continue
            self._values[name] = value
            if name in said:
                said[name].give_to(value)
        return dict(zip(protos, nodes, strict=True)), list(graph.inputs)

    def _wire(self, placeholders: Iterable[ir.Value]) -> None:
        """Let every node read the values that its names mean now, those in bodies too."""
        for value in placeholders:
            found = self.find(value.name or "")
            if found is not None:
                value.replace_all_uses_with(found)
        for node, proto in self._kept.values():
            if len(node.inputs) < len(proto.input):
                node.resize_inputs(len(proto.input))
            for index, name in enumerate(proto.input):
                found = self.find(name) if name else None
                if node.inputs[index] is not found and (found is not None or not name):
                    read_instead(node, index, found)
            for body, was, is_now in bodies(node, self._were[_mark(proto)], proto):
                ScopeEdit(body, was, is_now, self._nodes, self).carry_over()

    def _show(self) -> None:
        """Outputs, and what is declared of values."""
        outputs = [self.find(name) for name in _names(self.after, "output")]
        shown = [value for value in outputs if value is not None]
        if len(shown) == len(outputs) and not _are_same(shown, self._outputs):
            self.graph.outputs[:] = shown
        were, are = _infos(self.before), _infos(self.after)
        for name, value in self._values.items():
            if name in are and are[name] != were.get(name):
                ir.serde.deserialize_value_info_proto(are[name], value)
            elif name in were and name not in are and name not in self.graph.initializers:
                value.type = value.shape = None

    def _clear(self, nodes: Sequence[ir.Node]) -> None:
        """Take out what is no longer there."""
        staying = set(nodes)
        gone = [node for node in self.graph if node not in staying]
        for reader in (found for node in gone for found in (node, *nodes_below(node))):
            for index in range(len(reader.inputs)):
                reader.replace_input_with(index, None)
        self.graph.remove(gone)  # safe=True would mind readers that some pass has left behind outside of the graph
        if isinstance(self.after, GraphProto):
            names = {tensor.name for tensor in self.after.initializer}
            for name in [name for name in self.graph.initializers if name not in names]:
                del self.graph.initializers[name]
        for node, proto in self._kept.values():
            was = self._were[_mark(proto)]
            if len(proto.output) < len(was.output):
                node.resize_outputs(len(proto.output))
            if len(proto.input) < len(was.input):
                node.resize_inputs(len(proto.input))


def _kept(
    graph: ir.Graph, were: dict[int, NodeProto], after: Message, nodes: Sequence[ir.Node]
) -> dict[int, tuple[ir.Node, NodeProto]]:
    """The nodes of the graph that are still there, by their new places. A copy elsewhere has the mark too."""
    found: dict[int, tuple[ir.Node, NodeProto]] = {}
    taken: set[int] = set()
    for place, proto in enumerate(after.node):
        mark = mark_of(proto)
        if mark is None or mark in taken or mark not in were or nodes[mark].graph is not graph:
            continue
        taken.add(mark)
        found[place] = (nodes[mark], proto)
    return found


def _mark(node: NodeProto) -> int:
    mark = mark_of(node)
    assert mark is not None, "only nodes with a mark are kept"
    return mark


def _read_by(node: NodeProto) -> list[str]:
    """The names that a node reads, and those that its bodies do and do not make themselves."""
    found = [name for name in node.input if name]
    for body in subgraphs(node):
        made = {name for inner in body.node for name in inner.output}
        made |= {entry.name for entry in body.input} | {tensor.name for tensor in body.initializer}
        read = [name for inner in body.node for name in _read_by(inner)]
        found += [name for name in (*read, *(entry.name for entry in body.output)) if name not in made]
    return found


def _infos(message: Message) -> dict[str, ValueInfoProto]:
    """What is declared of values by name."""
    if isinstance(message, FunctionProto):
        return {info.name: info for info in message.value_info}
    declared: list[ValueInfoProto] = [*message.value_info, *message.input, *message.output]
    return {info.name: info for info in declared}


def _names(message: Message, side: str) -> list[str]:
    """The names of the inputs or the outputs: functions have them bare."""
    return [entry if isinstance(entry, str) else entry.name for entry in getattr(message, side)]


def _are_same(one: Sequence[ir.Value], other: Sequence[ir.Value]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _put_in_order(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    """Let the graph have these nodes in this order; it has some of them already, and no others."""
    present = list(graph)
    if present != [node for node in nodes if node.graph is graph]:
        graph.remove(present)
    if not len(graph):
        graph.extend(nodes)
        return
    first, last = next(iter(graph)), None
    for node in nodes:
        if node.graph is graph:
            last = node
        elif last is None:
            graph.insert_before(first, node)
        else:
            graph.insert_after(last, node)
            last = node
