"""A read-only view of a model: scopes, nodes, values, who produces and who reads what.

One walk, linear in the size of the model, without recursion. A *scope* is the main graph, the body of a control-flow
operator, or a model-local function. A name belongs to the scope that defines it; a body sees the names of the scopes
around it, a function only its own.

What protobuf repeats is read as ``[:]``, here and wherever there is some for every node or tensor: that is a list at
once, while an iteration ends with an IndexError, which takes longer than a few elements do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
)

from bnfold.errors import ModelError
from bnfold.model.schemas import ONNX_DOMAIN as ONNX_DOMAIN
from bnfold.model.schemas import attributes_of, default_of, required_attributes, since_version, value_of
from bnfold.values import cached_property

SHAPE_READERS = frozenset({"Shape", "Size"})


class Address(NamedTuple):
    """Where a node stands: the number of its scope and its place in it. Valid in a copy of the model as well."""

    scope: int
    place: int


@dataclass(eq=False, slots=True, repr=False)
class Value:
    """A named value of one scope.

    Attributes:
        name: its name.
        scope: the scope that defines it.
        producer: the node that computes it, or None.
        output_index: which of the producer's outputs it is.
        tensor: its initializer, or None.
        is_input: it is listed among its scope's inputs.
        is_output: it is listed among the outputs of a scope.
        readers: every (node, input index) that reads it, in bodies of control flow too.
    """

    name: str
    scope: Scope
    producer: Node | None = None
    output_index: int = 0
    tensor: TensorProto | None = None
    is_input: bool = False
    is_output: bool = False
    readers: list[tuple[Node, int]] = field(default_factory=list)
    _value_readers: list[tuple[Node, int]] | None = None

    def __repr__(self) -> str:  # not all that hangs on it: the whole graph does
        return f"Value({self.name!r})"

    @property
    def value_readers(self) -> list[tuple[Node, int]]:
        """The readers that look at more than the shape or the type."""
        if self._value_readers is None:
            self._value_readers = [(node, index) for node, index in self.readers if node.looks_at(index)]
        return self._value_readers

    @property
    def shape_readers(self) -> list[tuple[Node, int]]:
        """The readers that look at the shape or the type alone."""
        return [(node, index) for node, index in self.readers if not node.looks_at(index)]

    @property
    def has_one_reader(self) -> bool:
        """Whether exactly one input of one node sees what the value holds, and no output does."""
        return len(self.value_readers) == 1 and not self.is_output


@dataclass(eq=False, repr=False)
class Node:
    """One operator of the graph, with its inputs and outputs as values.

    Attributes:
        proto: the node itself; not to be changed.
        address: where it stands.
        scope: the scope it stands in.
        op_type: the operator's name.
        domain: the operator's domain; the default domain is the empty string under both of its names.
        inputs: a value per input, None for an omitted one.
        outputs: a value per output, None for an omitted one.
    """

    proto: NodeProto
    address: Address
    scope: Scope
    op_type: str
    domain: str
    inputs: tuple[Value | None, ...] = ()
    outputs: tuple[Value | None, ...] = ()

    def __repr__(self) -> str:
        return f"Node({self.op_type} {self.label!r})"

    @cached_property
    def label(self) -> str:
        """What a person calls the node: its name, else its operator and first output."""
        if self.proto.name:
            return self.proto.name
        first = next((name for name in self.proto.output if name), "?")
        return f"{self.op_type} -> {first}"

    def looks_at(self, index: int) -> bool:
        """Whether the operator looks at the elements of that input, and not at its shape or type alone.

        ONNX Shape-1 and Size-1 read a shape; CastLike-15 reads the type of its second input.
        """
        if self.domain != ONNX_DOMAIN:
            return True
        return self.op_type not in SHAPE_READERS and (self.op_type, index) != ("CastLike", 1)

    @property
    def opset(self) -> int:
        """The version of the node's domain that its scope imports; 0 when none is imported."""
        return self.scope.opsets.get(self.domain, 0)

    @cached_property
    def since_version(self) -> int:
        """The version in which the operator got the definition that holds here; 0 when no one knows it.

        An opset newer than the installed onnx may have changed any operator, so there nothing is known. A model-local
        function of the same name takes the operator's place (ONNX IR, functions).
        """
        if (self.domain, self.op_type) in self.scope.shadowed:
            return 0
        return since_version(self.op_type, self.domain, self.opset)

    @cached_property
    def _attributes(self) -> dict[str, AttributeProto]:
        return {attribute.name: attribute for attribute in self.proto.attribute[:]}

    @cached_property
    def refers_to_function_attributes(self) -> bool:
        """Whether an attribute's value is only known where the enclosing function is called."""
        return any(attribute.ref_attr_name for attribute in self.proto.attribute[:])

    @property
    def missing_attribute(self) -> str | None:
        """An attribute that the operator requires and the node lacks; None for a node that has them all."""
        required = required_attributes(self.op_type, self.domain, self.opset)
        return next((name for name in required if name not in self._attributes), None)

    def attribute(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 (an attribute is of any type)
        """The attribute's value: as set, else the specification's default, else `default`.

        Raises:
            ModelError: it is set to something of another type than the specification's.
        """
        found = self._attributes.get(name)
        if found is None:
            value = default_of(self.op_type, self.domain, self.opset, name)
            return default if value is None else value
        specified = attributes_of(self.op_type, self.domain, self.opset).get(name)
        if specified is not None and found.type != int(specified.type):  # type: ignore[call-overload]
            raise ModelError(f"{self.op_type} '{self.label}' has an attribute '{name}' of the wrong type")
        return default if found.type == AttributeProto.UNDEFINED else value_of(found)

    def has_attribute(self, name: str) -> bool:
        """Whether the attribute is written down on the node."""
        return name in self._attributes


@dataclass(eq=False, repr=False)
class Scope:
    """The main graph, the body of a control-flow operator, or a function.

    Attributes:
        number: its place in the order of the walk; the main graph is 0.
        proto: the graph or function itself; not to be changed.
        parent: the scope whose names it sees, or None.
        opsets: domain to version.
        shadowed: (domain, name) of the model's own functions.
        nodes: in the order of the file.
        values: by name, those that this scope defines.
    """

    number: int
    proto: GraphProto | FunctionProto
    parent: Scope | None
    opsets: dict[str, int]
    shadowed: frozenset[tuple[str, str]] = frozenset()
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Scope({self.number}, {len(self.nodes)} nodes)"

    @property
    def is_function(self) -> bool:
        """Whether this is a model-local function, which has no initializers."""
        return isinstance(self.proto, FunctionProto)

    def define(self, name: str) -> Value:
        """The scope's own value of that name, made if need be."""
        found = self.values.get(name)
        if found is None:
            if isinstance(name, bytes):
                refuse_bytes(name)
            found = self.values[name] = Value(name, self)
        return found

    def find(self, name: str) -> Value | None:
        """The value that `name` means here, None when nobody defines it."""
        scope: Scope | None = self
        while scope is not None and name not in scope.values:
            scope = scope.parent
        return None if scope is None else scope.values[name]

    def resolve(self, name: str) -> Value:
        """The value that `name` means here; one that nobody defines belongs to the outermost scope."""
        found, scope = self.find(name), self
        while found is None and scope.parent is not None:
            scope = scope.parent
        return found or scope.define(name)


class Graph:
    """The view of one model.

    Args:
        model: not to be changed while the view is in use.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.scopes: list[Scope] = []
        shadowed = frozenset(("" if f.domain == "ai.onnx" else f.domain, f.name) for f in model.functions)
        for number, proto, parent, opsets in _scopes(model):
            self.scopes.append(Scope(number, proto, None if parent is None else self.scopes[parent], opsets, shadowed))
        for scope in self.scopes:
            _define_values(scope)
        for scope in self.scopes:
            _connect(scope)
        self._pin_what_annotations_name()

    @property
    def main(self) -> Scope:
        """The main graph."""
        return self.scopes[0]

    def _pin_what_annotations_name(self) -> None:
        """What `training_info` and `quantization_annotation` name is seen from outside of the nodes: it stays as it is.

        That is an initializer that training sets, and the scale or zero point of an annotated tensor.
        """
        for info in self.model.training_info:
            for binding in (*info.initialization_binding, *info.update_binding):
                self.main.resolve(binding.key).is_output = True
        for scope in self.scopes:
            for annotation in getattr(scope.proto, "quantization_annotation", ()):
                for parameter in annotation.quant_parameter_tensor_names:
                    scope.resolve(parameter.value).is_output = True

    def scopes_of(self, copy: ModelProto) -> list[GraphProto | FunctionProto]:
        """The scopes of a copy of the model, which has the same nodes in the same places, in the order of `scopes`."""
        return [copy.graph] if len(self.scopes) == 1 else scope_protos(copy)

    def nodes(self) -> Iterator[Node]:
        """Every node of every scope."""
        for scope in self.scopes:
            yield from scope.nodes

    @cached_property
    def op_types(self) -> frozenset[str]:
        """The operators of all its nodes, of whatever domain."""
        return frozenset(node.op_type for node in self.nodes())

    def is_overridable(self, value: Value) -> bool:
        """Whether the initializer is only a default that the caller may override (ONNX IR, from version 4 on)."""
        return value.tensor is not None and value.is_input and self.model.ir_version >= 4


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """The bodies that a control-flow node holds, in the order of its attributes."""
    return bodies(node.attribute[:])


def bodies(attributes: Iterable[AttributeProto]) -> list[GraphProto]:
    """The graphs that attributes hold, in their order."""
    found: list[GraphProto] = []
    for attribute in attributes:
        if attribute.HasField("g"):
            found.append(attribute.g)
        if attribute.graphs:
            found.extend(attribute.graphs)
    return found


def scope_protos(model: ModelProto) -> list[GraphProto | FunctionProto]:
    """The scopes of a model in the order in which the view numbers them."""
    return [proto for _, proto, _, _ in _scopes(model)]


def _scopes(model: ModelProto) -> list[tuple[int, GraphProto | FunctionProto, int | None, dict[str, int]]]:
    """(number, proto, parent's number, opsets) of each scope, every parent before its bodies."""
    opsets = _opsets(model.opset_import) or {ONNX_DOMAIN: 1}  # IR versions 1 and 2 know no opsets: all is version 1
    found: list[tuple[int, GraphProto | FunctionProto, int | None, dict[str, int]]] = [(0, model.graph, None, opsets)]
    for function in model.functions:
        found.append((len(found), function, None, _opsets(function.opset_import) or opsets))
    position = 0
    while position < len(found):
        number, proto, _, inherited = found[position]
        for node in proto.node:
            for body in subgraphs(node):
                found.append((len(found), body, number, inherited))
        position += 1
    return found


def _opsets(imports: Any) -> dict[str, int]:  # noqa: ANN401 (protobuf's repeated field)
    """Domain to version; the default domain under its one name."""
    found: dict[str, int] = {}
    for entry in imports:
        domain = ONNX_DOMAIN if entry.domain == "ai.onnx" else entry.domain
        found[domain] = max(entry.version, found.get(domain, 0))
    return found


def refuse_bytes(*names: str | bytes) -> None:
    """Protobuf gives a string as bytes where it is not UTF-8.

    Raises:
        ModelError: one of the names is no text.
    """
    for name in names:
        if isinstance(name, bytes):
            raise ModelError(f"the model is damaged: it holds a name that is no text, {name!r}")


def _define_values(scope: Scope) -> None:
    """Enter the names that the scope defines: inputs, initializers, outputs of its nodes."""
    proto = scope.proto
    refuse_bytes(proto.name)
    for entry in proto.input:
        value = scope.define(entry.name if isinstance(entry, ValueInfoProto) else entry)
        if value.is_input and value.name:
            raise ModelError(f"'{value.name}' is defined twice, both times as an input")
        value.is_input = True
    if isinstance(proto, GraphProto):
        for tensor in proto.initializer:
            value = scope.define(tensor.name)
            if value.tensor is not None and value.name:
                raise ModelError(f"'{value.name}' is defined twice, both times as an initializer")
            value.tensor = tensor
        for sparse in proto.sparse_initializer:
            scope.define(sparse.values.name)
    for index, node_proto in enumerate(proto.node):
        op_type, domain = node_proto.op_type, node_proto.domain
        refuse_bytes(op_type, domain, node_proto.name)
        domain = ONNX_DOMAIN if domain == "ai.onnx" else domain
        node = Node(node_proto, Address(scope.number, index), scope, op_type, domain)
        node.outputs = tuple([_produced(scope, node, k, name) for k, name in enumerate(node_proto.output[:])])
        scope.nodes.append(node)


def _produced(scope: Scope, node: Node, output_index: int, name: str) -> Value | None:
    if not name:
        return None
    value = scope.define(name)
    if value.producer is not None or value.tensor is not None or value.is_input:
        raise ModelError(f"'{name}' is defined twice, the second time by {node.op_type} '{node.label}'")
    value.producer, value.output_index = node, output_index
    return value


def _connect(scope: Scope) -> None:
    """Enter who reads what. Every scope's names are known by now."""
    own = scope.values
    for node in scope.nodes:
        node.inputs = tuple([own.get(name) or scope.resolve(name) if name else None for name in node.proto.input[:]])
        for index, value in enumerate(node.inputs):
            if value is not None:
                value.readers.append((node, index))
    for entry in scope.proto.output:
        scope.resolve(entry.name if isinstance(entry, ValueInfoProto) else entry).is_output = True
