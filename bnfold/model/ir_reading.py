"""An `onnx_ir` model as a ModelProto: weights by reference, and each node with a mark by which it is found again."""

from __future__ import annotations

import copy
import os
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from bnfold.errors import ModelError
from bnfold.model.external import is_external
from bnfold.model.graph import scope_protos, subgraphs
from bnfold.model.ir_weights import TensorSource, as_proto

MARK = f"bnfold-node-{os.urandom(8).hex()}"
"""The key of the metadata entry that says which node of the onnx_ir model a node is. Copies of a node keep it."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What an onnx_ir model says.

    Attributes:
        proto: the same as a ModelProto, large weights as references; nodes are not marked.
        sources: what the references refer to.
    """

    proto: ModelProto
    sources: list[TensorSource] = field(default_factory=list)

    def marked(self, model: ir.Model) -> ModelProto:
        """A copy of the message whose nodes are marked with their numbers in `nodes_of` the model."""
        proto = copy.deepcopy(self.proto)
        for number, node in enumerate(node for _, message in _bodies(model, proto) for node in message.node):
            node.metadata_props.add(key=MARK, value=str(number))
        return proto


def read(model: ir.Model) -> Reading:
    """Read an onnx_ir model; its weights are left where they are.

    Raises:
        ModelError: the names of the model do not say which value is meant, an initializer has no values, or something
            in it has no ONNX form.
        ExternalDataError: a file of weights is not there, or too short.
    """
    refuse_ambiguous_names(model)
    sources: list[TensorSource] = []
    thin: Any = _Instead(model, graph=_Instead(model.graph, initializers=_initializers(model.graph, sources)))
    try:
        proto = ir.serde.serialize_model(thin)
    except ir.serde.SerdeError as error:
        raise ModelError(f"the onnx_ir model has no ONNX form: {error.__cause__ or error}") from error
    for graph, message in _bodies(model, proto):
        _thin_out(graph, message, sources)
    return Reading(proto, sources)


def nodes_of(model: ir.Model) -> list[ir.Node]:
    """All nodes of the model, those of bodies and functions too, in the order of `_bodies`."""
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    for graph in graphs:  # grows by the bodies that are found on the way
        graphs += [body for node in graph for body in _graphs_of(node)]
    return [node for graph in graphs for node in graph]


def nodes_below(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of the bodies of a node, and of theirs."""
    for body in _graphs_of(node):
        for inner in body:
            yield inner
            yield from nodes_below(inner)


def mark_of(node: NodeProto) -> int | None:
    """The number that a node is marked with; None where it is none of the model's."""
    return next((int(entry.value) for entry in node.metadata_props if entry.key == MARK), None)


def unmarked(model: ModelProto) -> ModelProto:
    """A copy of the model without marks."""
    made = copy.deepcopy(model)
    for scope in scope_protos(made):
        for node in scope.node:
            kept = [entry for entry in node.metadata_props if entry.key != MARK]
            if len(kept) != len(node.metadata_props):
                kept = copy.deepcopy(kept)
                del node.metadata_props[:]
                node.metadata_props.extend(kept)
    return made


def refuse_ambiguous_names(model: ir.Model) -> None:
    """In onnx_ir a node reads a value, in ONNX a name: see that the name of each means that value.

    Raises:
        ModelError: it means another one, or there is none, or an initializer has no values.
    """
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        _refuse_ambiguous(graph, ChainMap())


def _refuse_ambiguous(graph: ir.Graph, outer: ChainMap[str, ir.Value]) -> None:
    known = outer.new_child(_values_of(graph))  # what is around a body is not copied for each
    for node in graph:
        for value in node.inputs:
            if value is None or (value.name and known.get(value.name, value) is value):
                continue
            what = f"called '{value.name}', and another value has that name too" if value.name else "without a name"
            raise ModelError(
                f"node '{node.name}' ({node.op_type}) reads a value {what}; run onnx_ir.passes.common.NameFixPass first"
            )
        for body in _graphs_of(node):
            _refuse_ambiguous(body, known)


def _values_of(graph: ir.Graph) -> dict[str, ir.Value]:
    """The values of one graph by name.

    Raises:
        ModelError: two have one name, or an initializer has no values.
    """
    found: dict[str, ir.Value] = {}
    outputs = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *graph.initializers.values(), *outputs):
        if value.name and found.setdefault(value.name, value) is not value:
            raise ModelError(
                f"two values of the onnx_ir model are called '{value.name}'; run "
                "onnx_ir.passes.common.NameFixPass first"
            )
    for value in graph.initializers.values():
        if value.const_value is None:
            raise ModelError(f"initializer '{value.name}' of the onnx_ir model has no values; set its const_value")
    return found


class _Instead:
    """An object of onnx_ir with other attributes here and there; it is only read."""

    def __init__(self, original: Any, **other: Any) -> None:  # noqa: ANN401 (any object of onnx_ir)
        self._original = original
        self.__dict__.update(other)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (its attributes)
        return getattr(self._original, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._original)

    def __len__(self) -> int:
        return len(self._original)


def _initializers(graph: ir.Graph, sources: list[TensorSource]) -> dict[str, Any]:
    """Initializers whose tensors are references; without the type and the shape, which onnx_ir would write twice."""
    found: dict[str, Any] = {}
    for name, value in graph.initializers.items():
        if value.const_value is None:
            continue
        tensor = ir.serde.TensorProtoTensor(as_proto(value.const_value, name, sources))
        tensor.metadata_props.clear()  # they are in the message, and onnx_ir would write them once more
        says_more = bool(value.metadata_props or value.doc_string)
        said = {} if says_more or value.is_graph_input() else {"type": None, "shape": None}
        found[name] = _Instead(value, const_value=tensor, **said)
    return found


def _bodies(model: ir.Model, proto: ModelProto) -> Iterator[tuple[ir.Graph, GraphProto | FunctionProto]]:
    """Each graph of the model and its message: the main one first, those of functions, and their bodies."""
    pending: list[tuple[ir.Graph, GraphProto | FunctionProto]] = [(model.graph, proto.graph)]
    functions = zip(model.functions.values(), proto.functions, strict=True)
    pending += [(function.graph, message) for function, message in functions]
    for graph, message in pending:  # grows by the bodies that are found on the way
        yield graph, message
        for node, node_proto in zip(graph, message.node, strict=True):
            pending += zip(_graphs_of(node), subgraphs(node_proto), strict=True)


def _thin_out(graph: ir.Graph, message: GraphProto | FunctionProto, sources: list[TensorSource]) -> None:
    """Let tensors that lie in files be references: those of bodies, and those that nodes hold."""
    if isinstance(message, GraphProto):
        held = (value.const_value for value in graph.initializers.values() if value.const_value is not None)
        for tensor, initializer in zip(held, message.initializer, strict=True):
            _thin(tensor, initializer, sources)
    for node, node_proto in zip(graph, message.node, strict=True):
        for attribute, proto in zip(node.attributes.values(), node_proto.attribute, strict=True):
            if not attribute.is_ref() and attribute.type is ir.AttributeType.TENSOR:
                _thin(attribute.as_tensor(), proto.t, sources)


def _thin(tensor: ir.TensorProtocol, proto: TensorProto, sources: list[TensorSource]) -> None:
    if is_external(proto):
        made = as_proto(tensor, proto.name, sources)
        proto.ParseFromString(made.SerializeToString())


def _graphs_of(node: ir.Node) -> list[ir.Graph]:
    """The bodies that a node holds, in the order of its attributes."""
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type is ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type is ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found
