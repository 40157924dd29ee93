"""Who reads what when sources are gone: names move, and the nodes of what stays are put in between.

A pushed source: its readers read what stands in front of it. A chain of pulled ones: what stands in front produces the
chain's last name. A map that stays on a wire: its nodes read the wire and produce the mapped value, under the name that
its readers know where that is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from onnx import NodeProto

from bnfold.folding.affine_nodes import adding_node, residual_nodes
from bnfold.folding.plan import Change, Edge, Plan, Residual
from bnfold.folding.sources import Source
from bnfold.model.graph import Address, Node, Value
from bnfold.model.names import Names
from bnfold.model.patch import Patch

Labels: TypeAlias = Mapping[Value, tuple[str, ...]]
"""What the nodes of a residual are called, by the wire that it stands on."""


class Wiring:
    """The edits that a plan makes to names.

    Args:
        plan: where each affine goes.
        patch: gets the edits.
        names: gives new names.
        kept: Adds that were sources and stay, since the operator in front of them needs one; by its address.
    """

    def __init__(self, plan: Plan, patch: Patch, names: Names, kept: Mapping[Address, Source]) -> None:
        self.plan = plan
        self.patch = patch
        self.names = names
        self.kept = kept
        staying = {source.node.address for source in kept.values()}
        self.removed = {address: plan.removed[address] for address in sorted(plan.removed) if address not in staying}
        self.pushed = {address: source for address, source in self.removed.items() if address in plan.pushed}
        self.pulled = {address: source for address, source in self.removed.items() if address not in plan.pushed}
        self._mapped: dict[Value, str] = {}
        self._raws: dict[Value, str] = {}

    def wire_up(self) -> Labels:
        """Make the edits; the labels of the nodes that were put in."""
        self.patch.removed |= set(self.removed)
        for residual in sorted(self.plan.residuals.values(), key=lambda residual: not residual.shown):
            self._name(residual)  # those that take a name of the graph's first: chains end there
        for source in self.pulled.values():
            producer = source.wire.producer
            if producer is None or producer.address not in self.pulled or self._is_mapped(source.edge):
                self._produce_last(source)
        for source in self.pushed.values():
            self._read_in_front(source)
        for node, index in self.plan.dropped:
            self.patch.drop_input(node, index)
        labels = {wire: self._put(residual) for wire, residual in self.plan.residuals.items()}
        for address in sorted(self.plan.changes):
            if self.plan.changes[address].taken.behind is not None and address not in self.kept:
                self._add_behind(self.plan.changes[address])
        return labels

    def _name(self, residual: Residual) -> None:
        """Decide under which names the wire and the mapped value can be read."""
        wire = residual.wire
        chain = next((node for node, _ in residual.edges if node.address in self.pulled), None)
        if chain is not None:
            last = self._wires_of_chain(self.pulled[chain.address])[-1]
            self._mapped[wire] = self._raws.get(last, last.name)
        elif residual.shown or self._is_gone(wire.producer):
            self._mapped[wire] = wire.name
            self._show(residual)
        else:
            self._mapped[wire] = self.names.fresh(f"{wire.name}.mapped")
            for node, index in residual.edges:
                self.patch.read_instead(node, index, self._mapped[wire])

    def _show(self, residual: Residual) -> None:
        """The mapped value takes the name of the wire: the node that had it produces another, for all other readers."""
        wire = residual.wire
        if wire.producer is None or self._is_gone(wire.producer):
            return
        raw = self._raws[wire] = self.names.fresh(f"{wire.name}.raw")
        if wire.producer.address not in self.pulled:
            self.patch.produce_instead(wire.producer, wire.output_index, raw)
        for node, index in wire.value_readers:
            if (node, index) not in residual.edges:
                self.patch.read_instead(node, index, raw)

    def _is_gone(self, node: Node | None) -> bool:
        return node is not None and node.address in self.pushed

    def name_at(self, edge: Edge) -> str:
        """The name that a reader has to read when the sources in front of it are gone."""
        while True:
            node, index = edge
            wire = node.inputs[index]
            if wire is None:
                return ""
            residual = self.plan.residuals.get(wire)
            if residual is not None and edge in residual.edges:
                return self._mapped[wire]
            if wire.producer is None or wire.producer.address not in self.pushed:
                return self._raw(wire)
            edge = self.pushed[wire.producer.address].edge

    def _raw(self, wire: Value) -> str:
        """The name of the value on a wire without what stays on it."""
        if wire.producer is None or wire in self._raws:
            return self._raws.get(wire, wire.name)
        return self.patch.outputs.get(wire.producer.address, {}).get(wire.output_index, wire.name)

    def _produce_last(self, source: Source) -> None:
        """A chain of pulled sources: what stands in front produces its last name."""
        *wires, last = self._wires_of_chain(source)
        name = self._raws.get(last, last.name)
        if not self._is_mapped(source.edge):
            producer = source.wire.producer
            if producer is not None:
                self.patch.produce_instead(producer, source.wire.output_index, name)
        else:
            wires = wires[1:]  # the first one is still there
        for reader, index in (read for wire in wires for read in wire.shape_readers):
            self.patch.read_instead(reader, index, name)

    def _wires_of_chain(self, source: Source) -> list[Value]:
        """The wire in front of a chain of pulled sources, those between, and the last one."""
        wires = [source.wire, source.output]
        while wires[-1].has_one_reader:
            edge = wires[-1].value_readers[0]
            if edge[0].address not in self.pulled or self._is_mapped(edge):
                break
            wires.append(self.pulled[edge[0].address].output)
        return wires

    def _is_mapped(self, edge: Edge) -> bool:
        """Whether a map stays in front of that reader."""
        wire = edge[0].inputs[edge[1]]
        residual = None if wire is None else self.plan.residuals.get(wire)
        return residual is not None and edge in residual.edges

    def _read_in_front(self, source: Source) -> None:
        for reader, index in source.output.readers:
            if not self._is_mapped((reader, index)):
                self.patch.read_instead(reader, index, self.name_at(source.edge))

    def _put(self, residual: Residual) -> tuple[str, ...]:
        """Put the nodes of a residual into the graph; what they are called."""
        wire, producer = residual.wire, residual.wire.producer
        gone = self._is_gone(producer) and producer is not None
        raw = self.name_at(self.pushed[producer.address].edge) if gone and producer else self._raw(wire)
        place = self._place(residual)
        nodes, tensors = residual_nodes(residual, raw, self._mapped[wire], place, self.names)
        for tensor in tensors:
            self.patch.add_constant(place.scope, tensor)
        insert = self.patch.insert_behind if place is producer else self.patch.insert_in_front
        for node in nodes:
            insert(place, node)
        return tuple(_label(node) for node in nodes)

    def _place(self, residual: Residual) -> Node:
        """The node beside which the residual stands: what makes the wire, else the first one that reads it."""
        readers = sorted((node for node, _ in residual.edges), key=lambda node: node.address)
        producer = residual.wire.producer
        inside = all(node.scope is residual.wire.scope for node in readers)
        if producer is not None and (inside or len(readers) != 1):
            return producer
        return readers[0]

    def _add_behind(self, change: Change) -> None:
        """A new Add right behind an operator. It produces what the operator would have, that a name of its own."""
        node = change.op.node
        output = self.patch.outputs.get(node.address, {}).get(0, node.proto.output[0])
        product = node.proto.output[0] if self._is_free(node, output) else self.names.fresh(f"{output}.product")
        added, tensor = adding_node(change, product, output, self.names)
        self.patch.add_constant(node.scope, tensor)
        self.patch.produce_instead(node, 0, product)
        self.patch.insert_right_behind(node, added)

    def _is_free(self, node: Node, output: str) -> bool:
        """Whether nothing else has the name that the operator had before its edits."""
        wire = node.outputs[0]
        return output != node.proto.output[0] and (wire is None or self._mapped.get(wire) != wire.name)


def _label(node: NodeProto) -> str:
    return node.name or f"{node.op_type} -> {node.output[0]}"
