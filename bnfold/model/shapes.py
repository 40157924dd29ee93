"""Shapes and element types of every value, by ONNX's own shape inference, made when first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, TypeAlias

from onnx import FunctionProto, GraphProto, ModelProto, TensorProto, ValueInfoProto, shape_inference

from bnfold.model.graph import Graph, Value, scope_protos

Dim: TypeAlias = int | str | None
"""A number, a symbol that means the same number everywhere, or nothing known."""
Shape: TypeAlias = tuple[Dim, ...]

SMALL = 64
"""Tensors of up to this many elements may be shapes that other operators take; shape inference sees their values."""


class _Inferred(NamedTuple):
    elem_type: int
    shape: Shape | None


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

    def shape(self, value: Value | None) -> Shape | None:
        """The shape, None when not even the rank is known."""
        if value is None:
            return None
        if value.tensor is not None:
            return tuple(value.tensor.dims)
        found = self._inferred[value.scope.number].get(value.name)
        return found.shape if found else None

    def rank(self, value: Value | None) -> int | None:
        """How many axes the value has, None when unknown."""
        shape = self.shape(value)
        return None if shape is None else len(shape)

    def elem_type(self, value: Value | None) -> int:
        """The ONNX element type; 0 (UNDEFINED) when unknown."""
        if value is None:
            return TensorProto.UNDEFINED
        if value.tensor is not None:
            return value.tensor.data_type
        found = self._inferred[value.scope.number].get(value.name)
        return found.elem_type if found else TensorProto.UNDEFINED

    @cached_property
    def _inferred(self) -> list[dict[str, _Inferred]]:
        """Per scope, by name."""
        skeleton = _skeleton(self.graph, freeze=self.freeze)
        found = _collect(_infer(skeleton))
        for behind in (False, True):  # what follows from a first declaration is inferred, not believed
            if self._declare_the_unknown(skeleton, found, behind=behind):
                found = _collect(_infer(skeleton))
        return found

    def _declare_the_unknown(self, skeleton: ModelProto, found: list[dict[str, _Inferred]], *, behind: bool) -> bool:
        """Give the skeleton what the model declares of values of which nothing was inferred.

        Args:
            skeleton: gets the declarations.
            found: what was inferred.
            behind: of values behind other unknown ones too.
        """
        declared = False
        for scope, proto in zip(self.graph.scopes, scope_protos(skeleton), strict=True):
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


def _is_unknown(value: Value, found: list[dict[str, _Inferred]]) -> bool:
    known = found[value.scope.number].get(value.name)
    return value.tensor is None and (known is None or known.shape is None)


def _infer(skeleton: ModelProto) -> ModelProto:
    try:
        return shape_inference.infer_shapes(skeleton, data_prop=True)
    except (shape_inference.InferenceError, ValueError, RuntimeError):
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
    for entry in skeleton.graph.output:
        if entry.type.HasField("tensor_type"):
            entry.type.tensor_type.ClearField("shape")  # as value_info: declared, and perhaps wrong
    for tensor in original.initializer:
        overridable = graph.is_overridable(graph.main.values[tensor.name]) and not freeze
        skeleton.graph.initializer.append(tensor if _is_small(tensor) and not overridable else _hollow(tensor))
    for proto in scope_protos(skeleton):
        _hollow_out(proto)
    return skeleton


def _is_small(tensor: TensorProto) -> bool:
    size = 1
    for dim in tensor.dims:
        size *= max(int(dim), 0)
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


def _collect(model: ModelProto) -> list[dict[str, _Inferred]]:
    found: list[dict[str, _Inferred]] = []
    for proto in scope_protos(model):
        if isinstance(proto, FunctionProto):
            found.append({})
            continue
        entries = [*proto.value_info, *proto.output, *proto.input]
        found.append({entry.name: _read(entry) for entry in entries if entry.type.HasField("tensor_type")})
    return found


def _read(entry: ValueInfoProto) -> _Inferred:
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape"):
        return _Inferred(tensor.elem_type, None)
    dims: list[Dim] = []
    for dim in tensor.shape.dim:
        which = dim.WhichOneof("value")
        # Some exporters write an unknown size as 0 or -1.
        dims.append((dim.dim_value if dim.dim_value > 0 else None) if which == "dim_value" else dim.dim_param or None)
    return _Inferred(tensor.elem_type, tuple(dims))
