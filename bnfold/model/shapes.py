"""Shapes and element types of every value, by ONNX's own shape inference, made when first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import NamedTuple, TypeAlias

from google.protobuf.message import EncodeError
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, shape_inference
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from bnfold.model.bounded import bounded_memory
from bnfold.model.calls import Calls
from bnfold.model.graph import ONNX_DOMAIN, Graph, Node, Value, scope_protos
from bnfold.values import cached_property

Dim: TypeAlias = int | str | None
"""A number, a symbol that means the same number everywhere, or nothing known."""
Shape: TypeAlias = tuple[Dim, ...]

ROOM, ROOM_PER_BYTE = 1 << 28, 100
"""How much memory shape inference may take: so much, and so much for each byte of the graph. Behind a shape that is
said to have 2^31 axes it makes a list of as many."""

LONGEST_LIST = 1024
"""How many axes a shape may be said to have that is an input of the graph."""

LIKE_ITS_INPUT = frozenset({"GroupNormalization"})
"""Operators of which shape inference knows nothing, and whose output is like their first input (as of onnx 1.23)."""

SMALL = 64
"""Tensors of up to this many elements may be shapes that other operators take; shape inference sees their values."""


class _Inferred(NamedTuple):
    elem_type: int
    shape: Shape | None


class _Scope:
    """What was inferred of the values of one scope; each entry is read when it is first asked for."""

    def __init__(self, *entries: Iterable[ValueInfoProto]) -> None:
        self._entries = {entry.name: entry for some in entries for entry in some}
        self._read: dict[str, _Inferred | None] = {}

    def get(self, name: str) -> _Inferred | None:
        """Of the value of that name; None where nothing is known, or where it is no tensor."""
        if name not in self._read:
            entry = self._entries.get(name)
            self._read[name] = None if entry is None or not entry.type.HasField("tensor_type") else _read(entry)
        return self._read[name]


class Shapes:
    """What is known of the values of one graph.

    A model's own `value_info` may be wrong, so shapes are inferred without it. Only where nothing comes out (behind
    an operator that nobody knows) is what the model declares believed.

    Args:
        graph: the view.
        freeze: initializers that are graph inputs count as constants.
    """

    def __init__(self, graph: Graph, *, freeze: bool = False) -> None:
        self.graph = graph
        self.freeze = freeze
        self._sizes: dict[tuple[Node, int, bool], tuple[Dim, ...]] = {}
        self._known_sizes: dict[tuple[Node, int, bool], tuple[int, ...] | None] = {}

    def known_sizes(self, node: Node, axis: int, *, of_outputs: bool = False) -> tuple[int, ...] | None:
        """The same, where each of them is a number; else None."""
        key = node, axis, of_outputs
        if key not in self._known_sizes:
            found = self.sizes(node, axis, of_outputs=of_outputs)
            numbers = tuple(size for size in found if isinstance(size, int))
            self._known_sizes[key] = numbers if len(numbers) == len(found) else None
        return self._known_sizes[key]

    def sizes(self, node: Node, axis: int, *, of_outputs: bool = False) -> tuple[Dim, ...]:
        """The sizes of all inputs or outputs of a node along an axis that is counted from the front.

        Found out once, since there may be thousands.
        """
        key = node, axis, of_outputs
        if key not in self._sizes:
            shapes = map(self.shape, node.outputs if of_outputs else node.inputs)
            self._sizes[key] = tuple(None if found is None or axis >= len(found) else found[axis] for found in shapes)
        return self._sizes[key]

    def shape(self, value: Value | None) -> Shape | None:
        """The shape, None when not even the rank is known."""
        if value is None:
            return None
        if value.tensor is not None:
            return tuple(value.tensor.dims[:])
        found = self._inferred[value.scope.number].get(value.name)
        return found.shape if found else None

    def rank(self, value: Value | None) -> int | None:
        """How many axes the value has, None when unknown."""
        shape = self.shape(value)
        return None if shape is None else len(shape)

    def channels(self, value: Value) -> Dim:
        """The size along axis 1. Behind a Conv its weight says it, so that no shape has to be inferred for it."""
        weight = _weight_of_conv(value)
        if weight is not None and weight.tensor is not None and not self.graph.is_overridable(weight):
            return weight.tensor.dims[0] if len(weight.tensor.dims) > 2 else None
        shape = self.shape(value)
        return shape[1] if shape is not None and len(shape) > 1 else None

    def elem_type(self, value: Value | None) -> int:
        """The ONNX element type; 0 (UNDEFINED) when unknown."""
        if value is None:
            return TensorProto.UNDEFINED
        if value.tensor is not None:
            return value.tensor.data_type
        found = self._inferred[value.scope.number].get(value.name)
        return found.elem_type if found else TensorProto.UNDEFINED

    @cached_property
    def _inferred(self) -> list[_Scope]:
        """Per scope."""
        skeleton = _skeleton(self.graph, freeze=self.freeze)
        if skeleton.functions and not Calls(self.graph).can_all_be_put_in:
            return _collect(skeleton)
        found = _collect(_infer(skeleton))
        for behind in (False, True):  # what follows from a first declaration is inferred, not believed
            if self._declare_the_unknown(skeleton, found, behind=behind):
                found = _collect(_infer(skeleton))
        return found

    def _declare_the_unknown(self, skeleton: ModelProto, found: list[_Scope], *, behind: bool) -> bool:
        """Give the skeleton what the model declares of values of which nothing was inferred.

        Args:
            skeleton: gets the declarations.
            found: what was inferred.
            behind: of values behind other unknown ones too.
        """
        declared = False
        for scope, proto in zip(self.graph.scopes, self.graph.scopes_of(skeleton), strict=True):
            if isinstance(proto, FunctionProto) or isinstance(scope.proto, FunctionProto):
                continue
            for entry in scope.proto.value_info:
                value = scope.values.get(entry.name)
                if value is None or value.producer is None or not _is_unknown(value, found):
                    continue
                if behind or not any(v is not None and _is_unknown(v, found) for v in value.producer.inputs):
                    proto.value_info.append(entry)
                    declared = True
        return declared


def _weight_of_conv(value: Value) -> Value | None:
    """The weight of the Conv that produces the value, ``[O, I/g, *k]``."""
    node = value.producer
    is_conv = node is not None and node.op_type == "Conv" and node.domain == ONNX_DOMAIN and len(node.inputs) > 1
    return node.inputs[1] if node is not None and is_conv else None


def _is_unknown(value: Value, found: list[_Scope]) -> bool:
    known = found[value.scope.number].get(value.name)
    return value.tensor is None and (known is None or known.shape is None)


def _infer(skeleton: ModelProto) -> ModelProto:
    try:
        with bounded_memory(ROOM + ROOM_PER_BYTE * skeleton.ByteSize()):
            return shape_inference.infer_shapes(skeleton, data_prop=True)
    except (InferenceError, ValidationError, EncodeError, ValueError, RuntimeError, MemoryError):
        return skeleton  # shapes are a convenience: without them fewer rules apply, none applies wrongly


def _skeleton(graph: Graph, *, freeze: bool) -> ModelProto:
    """The model without weights and without what it declares of its values."""
    skeleton = ModelProto(ir_version=graph.model.ir_version)
    skeleton.opset_import.extend(graph.model.opset_import)
    skeleton.functions.extend(graph.model.functions)
    original = graph.model.graph
    skeleton.graph.name = original.name or "graph"
    skeleton.graph.node.extend(original.node)
    skeleton.graph.input.extend(original.input)
    skeleton.graph.output.extend(original.output)
    for entry in skeleton.graph.input:
        _shorten(entry)
    for entry in skeleton.graph.output:
        if entry.type.HasField("tensor_type"):
            entry.type.tensor_type.ClearField("shape")  # as value_info: declared, and perhaps wrong
    skeleton.graph.initializer.extend(
        tensor
        if _is_small(tensor) and (freeze or not graph.is_overridable(graph.main.values[tensor.name]))
        else _hollow(tensor)
        for tensor in original.initializer
    )
    alike = LIKE_ITS_INPUT - {function.name for function in skeleton.functions}
    for proto in graph.scopes_of(skeleton):
        _hollow_out(proto)
        for node in proto.node:
            if node.input and node.op_type in alike and node.domain in (ONNX_DOMAIN, "ai.onnx"):
                node.CopyFrom(NodeProto(op_type="Identity", input=node.input[:1], output=node.output[:1]))
    return skeleton


def _shorten(entry: ValueInfoProto) -> None:
    """Let a list of whole numbers that is said to be long be of unknown length: it may be taken for a shape."""
    tensor = entry.type.tensor_type
    is_list = len(tensor.shape.dim) == 1 and tensor.elem_type in (TensorProto.INT32, TensorProto.INT64)
    if is_list and tensor.shape.dim[0].dim_value > LONGEST_LIST:
        tensor.shape.dim[0].Clear()


def _is_small(tensor: TensorProto) -> bool:
    size = prod(max(dim, 0) for dim in tensor.dims)
    return size <= SMALL and tensor.data_location != TensorProto.EXTERNAL


def _hollow(tensor: TensorProto) -> TensorProto:
    """Name, type and shape alone."""
    return TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)


def _hollow_out(proto: GraphProto | FunctionProto) -> None:
    """Take large values out of Constant nodes, and declared shapes out of bodies."""
    for node in proto.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and not _is_small(attribute.t):
                attribute.t.CopyFrom(_hollow(attribute.t))
    if isinstance(proto, GraphProto):
        del proto.value_info[:]


def _collect(model: ModelProto) -> list[_Scope]:
    return [
        _Scope() if isinstance(proto, FunctionProto) else _Scope(proto.value_info, proto.output, proto.input)
        for proto in scope_protos(model)
    ]


def _read(entry: ValueInfoProto) -> _Inferred:
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape"):
        return _Inferred(tensor.elem_type, None)
    dims: list[Dim] = []
    for dim in tensor.shape.dim:
        which = dim.WhichOneof("value")
        # Some exporters write an unknown size as 0 or -1; a symbol that is no text, protobuf gives as bytes.
        symbol = dim.dim_param if isinstance(dim.dim_param, str) else ""
        dims.append((dim.dim_value if dim.dim_value > 0 else None) if which == "dim_value" else symbol or None)
    return _Inferred(tensor.elem_type, tuple(dims))
