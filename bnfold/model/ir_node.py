"""A node of an `onnx_ir` model, and the difference that is made in it; its inputs come later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
from onnx import AttributeProto, GraphProto, NodeProto

from bnfold.model.ir_weights import from_proto


@dataclass(frozen=True)
class Said:
    """What is known of a value under its name, as it was before anything was changed."""

    type: ir.TypeProtocol | None
    shape: ir.Shape | None
    doc_string: str | None
    metadata_props: Mapping[str, str]
    meta: Mapping[str, Any]

    @classmethod
    def of(cls, value: ir.Value) -> Said:
        """What a value says of itself."""
        shape = None if value.shape is None else value.shape.copy()
        return cls(value.type, shape, value.doc_string, dict(value.metadata_props), dict(value.meta))

    @classmethod
    def bare(cls, value: ir.Value) -> Said:
        """Its type and its shape, which it has under any name."""
        return cls(value.type, value.shape, None, {}, {})

    def give_to(self, value: ir.Value) -> None:
        """Let another value say the same, and nothing else."""
        value.type, value.shape, value.doc_string = self.type, self.shape, self.doc_string
        value.metadata_props.clear()
        value.metadata_props.update(self.metadata_props)
        value.meta.clear()
        value.meta.update(self.meta)


def update(node: ir.Node, before: NodeProto, after: NodeProto, said: Mapping[str, Said]) -> None:
    """Give a node the operator, the names of outputs and the attributes that `after` says; bodies stay as they are.

    Args:
        node: is changed.
        before: what it says.
        after: what it is to say.
        said: what is known of names that outputs may get.
    """
    for name in ("op_type", "domain", "name", "overload"):
        if getattr(before, name) != getattr(after, name):
            setattr(node, name, getattr(after, name))
    _rename(node, before, after, said)
    _set_attributes(node, before, after)


def _rename(node: ir.Node, before: NodeProto, after: NodeProto, said: Mapping[str, Said]) -> None:
    if len(after.output) > len(node.outputs):
        node.resize_outputs(len(after.output))
    names = [*after.output, *[""] * (len(node.outputs) - len(after.output))]
    for value, name in zip(node.outputs, names, strict=True):
        if (value.name or "") == name:
            continue
        value.name = name
        (said.get(name) or Said.bare(value)).give_to(value)


def _set_attributes(node: ir.Node, before: NodeProto, after: NodeProto) -> None:
    were = {attribute.name: attribute for attribute in before.attribute}
    are = {attribute.name: attribute for attribute in after.attribute}
    for name in were.keys() - are.keys():
        del node.attributes[name]
    for name, attribute in are.items():
        is_body = name in were and bool(graphs_in(attribute)) and bool(graphs_in(were[name]))
        if not is_body and (name not in were or were[name] != attribute):
            node.attributes[name] = _attribute(attribute)


def _attribute(proto: AttributeProto) -> ir.Attr:
    if proto.HasField("t"):
        return ir.AttrTensor(proto.name, from_proto(proto.t), doc_string=proto.doc_string or None)
    return ir.serde.deserialize_attribute(AttributeProto.FromString(proto.SerializeToString()))


def read_instead(node: ir.Node, index: int, value: ir.Value | None) -> None:
    """Let a node read another value, on the devices on which it has read the one before."""
    was, placements = node.inputs[index], getattr(node, "device_configurations", ())  # from onnx_ir 1.0 on
    node.replace_input_with(index, value)
    if placements and was is not None and value is not None:
        node.device_configurations = tuple(
            replace(
                placement,
                sharding_specs=tuple(
                    replace(spec, value=value) if spec.value is was else spec for spec in placement.sharding_specs
                ),
            )
            for placement in placements
        )


def graphs_in(attribute: AttributeProto) -> list[GraphProto]:
    """The bodies that an attribute holds."""
    return [attribute.g] if attribute.HasField("g") else list(attribute.graphs)


def bodies(node: ir.Node, before: NodeProto, after: NodeProto) -> Iterator[tuple[ir.Graph, GraphProto, GraphProto]]:
    """Each body of a node, with what it said and what it is to say."""
    were = {attribute.name: attribute for attribute in before.attribute}
    for attribute in after.attribute:
        if not graphs_in(attribute) or attribute.name not in were:
            continue
        held = node.attributes[attribute.name]
        graphs = [held.as_graph()] if attribute.HasField("g") else list(held.as_graphs())
        yield from zip(graphs, graphs_in(were[attribute.name]), graphs_in(attribute), strict=True)
