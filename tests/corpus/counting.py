"""How many affines a model has, by definition and by nothing of bnfold's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
ARITHMETIC = {"Mul", "Add", "Sub", "Div"}


def affines_left(model: ModelProto) -> int:
    """Every BatchNormalization, and every constant Mul, Add, Sub, Div that is an affine, in every scope.

    A Mul, Add, Sub or Div is one when exactly one operand is a constant, a float, that is longer than 1 along at most
    one axis and leaves the other operand's shape as it is; ``c / x`` is none.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graphs = _count(inferred.graph, _Names(listed_are_constants=model.ir_version < 4))
    return graphs + sum(_count(function, _Names()) for function in inferred.functions)


@dataclass
class _Names:
    """What is known of the names that a scope sees."""

    listed_are_constants: bool = False
    constants: set[str] = field(default_factory=set)
    types: dict[str, tuple[int, list[int] | None]] = field(default_factory=dict)

    def inner(self) -> _Names:
        return _Names(self.listed_are_constants, set(self.constants), dict(self.types))

    def enter(self, graph: GraphProto) -> None:
        listed = {entry.name for entry in graph.input}
        for entry in (*graph.input, *graph.value_info, *graph.output):
            self.types[entry.name] = _type_of(entry)
        self.constants -= listed
        for tensor in graph.initializer:
            self.types[tensor.name] = (tensor.data_type, list(tensor.dims))
            if tensor.name not in listed or self.listed_are_constants:
                self.constants.add(tensor.name)


def _type_of(entry: ValueInfoProto) -> tuple[int, list[int] | None]:
    """Element type and shape; -1 for an open dimension."""
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape"):
        return tensor.elem_type, None
    return tensor.elem_type, [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]


def _count(scope: GraphProto | FunctionProto, names: _Names) -> int:
    if isinstance(scope, GraphProto):
        names.enter(scope)
    total = 0
    for node in scope.node:
        total += node.domain in ("", "ai.onnx") and (
            node.op_type == "BatchNormalization" or (node.op_type in ARITHMETIC and _is_affine(node, names))
        )
        bodies = list(_bodies(node))
        total += sum(_count(body, names.inner()) for body in bodies)
        if not bodies and all(name in names.constants for name in node.input if name):
            names.constants.update(node.output)
            _enter_constant(node, names)
    return total


def _bodies(node: NodeProto) -> Iterable[GraphProto]:
    return (attribute.g for attribute in node.attribute if attribute.type == AttributeProto.GRAPH)


def _enter_constant(node: NodeProto, names: _Names) -> None:
    """The type of a Constant in a function, where onnx infers nothing."""
    for attribute in node.attribute:
        if node.op_type == "Constant" and attribute.name == "value":
            names.types[node.output[0]] = (attribute.t.data_type, list(attribute.t.dims))


def _is_affine(node: NodeProto, names: _Names) -> bool:
    known = [name in names.constants for name in node.input]
    if known[0] == known[1] or (node.op_type == "Div" and known[0]):
        return False
    constant, wire = (node.input[0], node.input[1]) if known[0] else (node.input[1], node.input[0])
    kind, dims = names.types.get(constant, (0, None))
    assert kind, f"the type of the constant '{constant}' is not known"
    assert dims is not None, f"the shape of the constant '{constant}' is not known"
    return kind in FLOATS and _keeps(_laid(node, dims, names), names.types.get(wire, (0, None))[1])


def _laid(node: NodeProto, dims: list[int], names: _Names) -> list[int]:
    """The constant's shape with the axes behind it that `axis` of opsets below 7 stands for."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), None)
    if axis is None:
        return dims
    shape = names.types[node.input[0]][1]
    assert shape is not None
    return dims + [1] * (len(shape) - axis % len(shape) - len(dims))


def _keeps(dims: Sequence[int], shape: Sequence[int] | None) -> bool:
    """Whether a constant of that shape differs along one axis at most, and leaves the wire's shape as it is."""
    if sum(size != 1 for size in dims) > 1:
        return False
    if shape is None:
        return True
    if len(dims) > len(shape):
        return False
    return all(own in (1, size) or size == -1 for own, size in zip(dims[::-1], shape[::-1], strict=False))
