"""What the graph computes from its own constants alone, evaluated in float64.

Exporters write a parameter as an initializer, as a Constant node, or as a small expression over those (a reshaped
vector, a Sqrt of a variance). Here each of them is the same thing: an array and the element type it has in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from pathlib import Path

import numpy as np
from onnx import AttributeProto, GraphProto, SparseTensorProto, TensorProto, helper

from bnfold.model import pieces
from bnfold.model.broadcasting import aligned_shape
from bnfold.model.graph import ONNX_DOMAIN, Graph, Node, Value
from bnfold.model.quantized import Quantization, derived, quantization_of, type_of
from bnfold.model.shapes import Shapes
from bnfold.model.sparse import dense_shape, to_dense
from bnfold.model.tensors import FLOATS, Array, round_to, to_array

MAX_ELEMENTS = 2**31
"""A ConstantOfShape beyond this many elements is not expanded: no protobuf could hold the folded weight inline."""


@dataclass(frozen=True, eq=False)
class Constant:
    """The value of a constant expression; a stored tensor is read when its values are asked for.

    Attributes:
        shape: its shape.
        elem_type: the ONNX element type it has in the graph.
        load: gives the values; float64 where something was computed, else the stored type.
        quantization: the DequantizeLinear that it comes from, or None.
    """

    shape: tuple[int, ...]
    elem_type: int
    load: Callable[[], Array]
    quantization: Quantization | None = None

    @classmethod
    def of(cls, values: Array, elem_type: int) -> Constant:
        """A constant whose values are at hand."""
        return cls(values.shape, elem_type, lambda: values)

    @classmethod
    def stored(cls, tensor: TensorProto, base_dir: Path | None) -> Constant:
        """A constant whose values stay where they are until asked for."""
        return cls(tuple(tensor.dims), tensor.data_type, lambda: to_array(tensor, base_dir))

    @classmethod
    def sparse(cls, tensor: SparseTensorProto, base_dir: Path | None) -> Constant | None:
        """A constant whose zeros are not stored; None where it is too large to write them out."""
        shape = dense_shape(tensor)
        return None if shape is None else cls(shape, tensor.values.data_type, lambda: to_dense(tensor, base_dir))

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether bnfold computes with this type."""
        return self.elem_type in FLOATS

    @property
    def values(self) -> Array:
        """The values in the type they are held in."""
        return self.load()

    @property
    def wide(self) -> Array:
        """The values in float64."""
        return self.load().astype(np.float64)


Operands = Sequence[Constant]
Evaluator = Callable[[Node, Operands], Constant | None]


class Constants:
    """Evaluates constant expressions of one graph; each computed one once.

    Args:
        graph: the view.
        base_dir: the folder that external data is relative to.
        freeze: treat initializers that are graph inputs as constants, though a caller may override them.
        shapes: tells the types of values that are no constants, for CastLike.
    """

    def __init__(
        self, graph: Graph, base_dir: Path | None, *, freeze: bool = False, shapes: Shapes | None = None
    ) -> None:
        self.graph = graph
        self.base_dir = base_dir
        self.freeze = freeze
        self.shapes = shapes or Shapes(graph, freeze=freeze)
        self._computed: dict[Value, Constant | None] = dict(_sparse_initializers(graph, base_dir, freeze=freeze))

    def is_stored(self, value: Value) -> bool:
        """Whether the value is an initializer that nobody can override."""
        return value.tensor is not None and (self.freeze or not self.graph.is_overridable(value))

    def get(self, value: Value | None) -> Constant | None:
        """The constant that the value always is, or None.

        Raises:
            ExternalDataError, ModelError: a stored tensor can not be read.
        """
        if value is None:
            return None
        pending, seen = [value], set[Value]()
        while pending:  # depth first without recursion: a constant expression may be any number of nodes deep
            current = pending[-1]
            if current.tensor is not None or current in self._computed:
                pending.pop()
                continue
            # Seen before and not computed: its operands are, or it is one of its own operands and no constant.
            missing = [] if current in seen else self._operands_to_compute(current)
            seen.add(current)
            if missing:
                pending.extend(missing)
                continue
            self._computed[current] = self._evaluate(current)
            pending.pop()
        return self._known(value)

    def _known(self, value: Value) -> Constant | None:
        if value.tensor is None:
            return self._computed.get(value)
        if not self.is_stored(value):
            return None
        return Constant.stored(value.tensor, self.base_dir)

    def _operands_to_compute(self, value: Value) -> list[Value]:
        """Operands that are neither stored nor computed yet; none where one of them never will be."""
        node = value.producer
        if node is None or not _is_evaluable(node):
            return []
        operands = [v for v in _looked_at(node) if v.tensor is None and v not in self._computed]
        hopeless = any(v.producer is None or not _is_evaluable(v.producer) for v in operands)
        return [] if hopeless else operands

    def _evaluate(self, value: Value) -> Constant | None:
        node = value.producer
        if node is None or not _is_evaluable(node) or node.refers_to_function_attributes:
            return None
        operands = [self._known(v) for v in _looked_at(node)]
        known = [operand for operand in operands if operand is not None]
        if len(known) != len(operands):
            return None
        if node.op_type == "Constant":
            return _constant(node, self.base_dir)
        if node.op_type == "CastLike":
            to = self.shapes.elem_type(node.inputs[1])
            return derived(node, known, lambda: _cast_to(known[0], to))
        try:
            if node.op_type == "Split":
                return derived(node, known, lambda: _moved(node, known, _piece(value.output_index)))
            return derived(node, known, lambda: _EVALUATORS[node.op_type](node, known))
        except (ValueError, IndexError, TypeError):  # shapes that do not fit: the model is broken here, not constant
            return None


def _sparse_initializers(
    graph: Graph, base_dir: Path | None, *, freeze: bool
) -> Iterator[tuple[Value, Constant | None]]:
    """Those that nobody can override."""
    for scope in graph.scopes:
        if not isinstance(scope.proto, GraphProto):
            continue
        for tensor in scope.proto.sparse_initializer:
            value = scope.values[tensor.values.name]
            overridable = value.is_input and graph.model.ir_version >= 4 and not freeze
            yield value, None if overridable else Constant.sparse(tensor, base_dir)


def _is_evaluable(node: Node) -> bool:
    return node.domain == ONNX_DOMAIN and node.op_type in _SPECIAL | _EVALUATORS.keys() and node.since_version > 0


def _looked_at(node: Node) -> list[Value]:
    """The inputs whose elements the operator looks at. CastLike looks at the type of its second one alone."""
    inputs = node.inputs[:1] if node.op_type == "CastLike" else node.inputs
    return [value for value in inputs if value is not None]


def _constant(node: Node, base_dir: Path | None) -> Constant | None:
    if len(node.proto.attribute) != 1:
        return None
    (attribute,) = node.proto.attribute
    if attribute.type == AttributeProto.TENSOR:
        return Constant.stored(attribute.t, base_dir)
    if attribute.type == AttributeProto.SPARSE_TENSOR:
        return Constant.sparse(attribute.sparse_tensor, base_dir)
    value = helper.get_attribute_value(attribute)
    if attribute.name in {"value_float", "value_floats"}:
        return Constant.of(np.array(value, np.float32), TensorProto.FLOAT)
    if attribute.name in {"value_int", "value_ints"}:
        return Constant.of(np.array(value, np.int64), TensorProto.INT64)
    return None


def _constant_of_shape(node: Node, operands: Operands) -> Constant | None:
    tensor = node.attribute("value")
    filled = np.float32(0) if tensor is None else to_array(tensor, None).reshape(())
    return _filled(filled, operands[0].values, TensorProto.FLOAT if tensor is None else tensor.data_type)


def _filled(values: Array | np.float32, shape: Array, elem_type: int) -> Constant | None:
    """`values` broadcast to a shape that the graph states; None when the shape is out of all reason."""
    sizes = [int(size) for size in shape]
    if any(size < 0 for size in sizes) or np.prod(sizes, dtype=np.float64) > MAX_ELEMENTS:
        return None
    return Constant.of(np.broadcast_to(values, sizes), elem_type)


def _expand(_: Node, operands: Operands) -> Constant | None:
    data = operands[0]
    target = np.broadcast_shapes(data.shape, tuple(int(size) for size in operands[1].values))
    return _filled(data.values, np.array(target, np.int64), data.elem_type)


def _shape(node: Node, operands: Operands) -> Constant:
    start, end = int(node.attribute("start", 0)), node.attribute("end")
    return Constant.of(np.array(operands[0].shape[slice(start, end)], np.int64), TensorProto.INT64)


def _identity(_: Node, operands: Operands) -> Constant:
    return operands[0]


def _cast(node: Node, operands: Operands) -> Constant | None:
    to = node.attribute("to")
    return _cast_to(operands[0], int(to) if node.since_version >= 6 else TensorProto.DataType.Value(to))


def _cast_to(operand: Constant, to: int) -> Constant | None:
    if to == operand.elem_type:
        return operand
    if to in FLOATS:
        return Constant.of(round_to(operand.wide, to), to)
    if to in {TensorProto.INT32, TensorProto.INT64} and not operand.is_float:
        return Constant.of(operand.values.astype(helper.tensor_dtype_to_np_dtype(to)), to)
    return None


def _dequantize(node: Node, operands: Operands) -> Constant | None:
    made = quantization_of(node, operands)
    if made is None or type_of(made) not in FLOATS:
        return None
    return Constant(operands[0].shape, type_of(made), lambda: made.values, made)


def _relaid(operand: Constant, values: Array) -> Constant:
    return Constant.of(values, operand.elem_type)


def _reshape(node: Node, operands: Operands) -> Constant | None:
    data = operands[0]
    target = [int(n) for n in (node.attribute("shape") if node.since_version < 5 else operands[1].values)]
    if not node.attribute("allowzero", 0):
        target = [data.shape[k] if n == 0 else n for k, n in enumerate(target)]
    return _relaid(data, data.values.reshape(target))


def _transpose(node: Node, operands: Operands) -> Constant:
    return _relaid(operands[0], np.transpose(operands[0].values, node.attribute("perm")))


def _axes(node: Node, operands: Operands) -> list[int] | None:
    """Axes of Squeeze and Unsqueeze: an attribute before opset 13, an input from then on."""
    if node.since_version < 13:
        axes = node.attribute("axes")
        return None if axes is None else list(axes)
    return [int(axis) for axis in operands[1].values] if len(operands) > 1 else None


def _unsqueeze(node: Node, operands: Operands) -> Constant:
    axes = _axes(node, operands) or []
    return _relaid(operands[0], np.expand_dims(operands[0].values, tuple(axes)))


def _squeeze(node: Node, operands: Operands) -> Constant:
    axes = _axes(node, operands)
    return _relaid(operands[0], np.squeeze(operands[0].values, None if axes is None else tuple(axes)))


Move = Callable[[Node, pieces.Inputs], Array | None]


def _moving(move: Move) -> Evaluator:
    """An operator that only puts elements elsewhere, of whatever type they are."""
    return lambda node, operands: _moved(node, operands, move)


def _moved(node: Node, operands: Operands, move: Move) -> Constant | None:
    if node.op_type == "Concat" and len({operand.elem_type for operand in operands}) != 1:
        return None
    arrays = iter(_held_alike(operands) if node.op_type == "Concat" else [operand.values for operand in operands])
    values = move(node, [None if value is None else next(arrays) for value in node.inputs])
    return None if values is None else _relaid(operands[0], values)


def _piece(index: int) -> Move:
    """The move that makes one output of a Split."""
    return lambda node, inputs: pieces.split(node, inputs, index)


def _held_alike(operands: Operands) -> list[Array]:
    """The values of operands of one type in one type: where one of them was computed, in float64."""
    arrays = [operand.values for operand in operands]
    return arrays if len({array.dtype for array in arrays}) == 1 else [array.astype(np.float64) for array in arrays]


def _where(_: Node, operands: Operands) -> Constant | None:
    condition, *branches = operands
    if condition.elem_type != TensorProto.BOOL or len({branch.elem_type for branch in branches}) != 1:
        return None
    return _relaid(branches[0], np.where(condition.values, *_held_alike(branches))) if _is_bounded(operands) else None


def _is_bounded(operands: Operands) -> bool:
    """Whether what the operands broadcast to may be made."""
    shapes = [operand.shape for operand in operands]
    size = prod(np.broadcast_shapes(*shapes))
    return size <= max(prod(shape) for shape in shapes) or pieces.is_bounded(size)


def _variadic(compute: Callable[[Array, Array], Array]) -> Evaluator:
    """An elementwise operator over any number of floats, which do not broadcast before opset 8."""

    def evaluate(node: Node, operands: Operands) -> Constant | None:
        if not all(operand.is_float for operand in operands) or not _is_bounded(operands):
            return None
        if node.since_version < 8 and len({operand.shape for operand in operands}) != 1:
            return None
        with np.errstate(all="ignore"):  # what is not finite is refused where it is used
            return _relaid(operands[0], np.asarray(reduce(compute, [operand.wide for operand in operands])))

    return evaluate


def _arithmetic(compute: Callable[..., Array]) -> Evaluator:
    """An elementwise operator over floats, computed in float64."""

    def evaluate(node: Node, operands: Operands) -> Constant | None:
        if not all(operand.is_float for operand in operands):
            return None
        if node.since_version >= 7 and not _is_bounded(operands):
            return None
        values = [operand.wide for operand in operands]
        if node.since_version < 7 and len(values) == 2:
            shape = aligned_shape(node, operands[1].shape, operands[0].rank)
            if shape is None:
                return None
            values[1] = values[1].reshape(shape)
        with np.errstate(all="ignore"):  # what is not finite is refused where it is used
            return Constant.of(np.asarray(compute(*values), np.float64), operands[0].elem_type)

    return evaluate


_SPECIAL = frozenset({"Constant", "CastLike", "Split"})
"""Evaluated by `Constants` itself: they need the model's folder, the type of a value that is no constant, or which
output is meant."""

_EVALUATORS: dict[str, Evaluator] = {
    "ConstantOfShape": _constant_of_shape,
    "Identity": _identity,
    "Cast": _cast,
    "DequantizeLinear": _dequantize,
    "Expand": _expand,
    "Shape": _shape,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(np.divide),
    "Pow": _arithmetic(np.power),
    "Sqrt": _arithmetic(np.sqrt),
    "Reciprocal": _arithmetic(np.reciprocal),
    "Neg": _arithmetic(np.negative),
    "Abs": _arithmetic(np.abs),
    "Exp": _arithmetic(np.exp),
    "Log": _arithmetic(np.log),
    "Max": _variadic(np.maximum),
    "Min": _variadic(np.minimum),
    "Sum": _variadic(np.add),
    "Where": _where,
    "Concat": _moving(pieces.concat),
    "Slice": _moving(pieces.take_slice),
    "Gather": _moving(pieces.gather),
    "Tile": _moving(pieces.tile),
}
