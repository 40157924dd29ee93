"""What the operators that exporters put around parameters make of constants, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod

import numpy as np
from onnx import TensorProto, helper

from bnfold.model import pieces
from bnfold.model.broadcasting import aligned_shape
from bnfold.model.constant import Constant
from bnfold.model.graph import Node
from bnfold.model.quantized import quantization_of, type_of
from bnfold.model.tensors import FLOATS, Array, round_to, to_array

Operands = Sequence[Constant]
Evaluator = Callable[[Node, Operands], Constant | None]


def _constant_of_shape(node: Node, operands: Operands) -> Constant | None:
    tensor = node.attribute("value")
    filled = np.float32(0) if tensor is None else to_array(tensor, None).reshape(())
    return _filled(filled, operands[0].values, TensorProto.FLOAT if tensor is None else tensor.data_type)


def _filled(values: Array | np.float32, shape: Array, elem_type: int) -> Constant | None:
    """`values` broadcast to a shape that the graph states; None when the shape is out of all reason."""
    sizes = [int(size) for size in shape.reshape(-1)]
    if any(size < 0 for size in sizes) or not pieces.is_bounded(prod(sizes)):
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
    return cast_to(operands[0], int(to) if node.since_version >= 6 else TensorProto.DataType.Value(to))


def cast_to(operand: Constant, to: int) -> Constant | None:
    """The constant in another element type; None where bnfold does not compute in that."""
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
    return lambda node, operands: moved(node, operands, move)


def moved(node: Node, operands: Operands, move: Move) -> Constant | None:
    """What an operator that only puts elements elsewhere makes of its operands; None where they do not fit."""
    if node.op_type == "Concat" and len({operand.elem_type for operand in operands}) != 1:
        return None
    arrays = iter(_held_alike(operands) if node.op_type == "Concat" else [operand.values for operand in operands])
    values = move(node, [None if value is None else next(arrays) for value in node.inputs])
    return None if values is None else _relaid(operands[0], values)


def piece(index: int) -> Move:
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


EVALUATORS: dict[str, Evaluator] = {
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
