"""Weights and biases behind DequantizeLinear: the scales take the factor, the integers stay.

    a * ((Q - z) * s) == (Q - z) * (a * s)

is exact in real arithmetic, of either sign of a, and rounds once, in the type of the scale. One scale becomes one per
axis where the factor differs along an axis (DequantizeLinear-13); scales per axis take a factor along that axis, and
scales per block (DequantizeLinear-21) one that is the same inside each block. What the scales can not say is refused.

Where an operator has integers at both of its inputs, runtimes compute it in integers, and need its bias in int32 with
the scale of the products, ``s_B = s_x * s_W``. Such a bias stays one: ``a * B + b`` has the scale ``a * s_B``, and b is
rounded to whole steps of it. Everywhere else the new bias is an ordinary constant.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from onnx import TensorProto

from bnfold.folding.plan import Plan
from bnfold.model.constants import Constant
from bnfold.model.graph import ONNX_DOMAIN
from bnfold.model.quantized import DEQUANTIZE, Quantization
from bnfold.model.tensors import Array, round_to
from bnfold.ops.rule import NOTHING, Factor, Operator, Refusal, Rescale, Taken
from bnfold.values import frozen

CODE = "quantized"
NORMALIZATIONS = ("GroupNormalization", "InstanceNormalization", "LayerNormalization", "RMSNormalization")
WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1), **dict.fromkeys(NORMALIZATIONS, (1,))}
BIAS = 2
NEARLY: dict[int, float] = {TensorProto.FLOAT: 1e-5, TensorProto.FLOAT16: 2.0**-9, TensorProto.BFLOAT16: 2.0**-6}
"""How far, relatively, the scale of a bias may be from the product of the other two: a few roundings of its type."""


@frozen
class Scales:
    """New scales for integers.

    Attributes:
        values: float64, in the shape that they get.
        axis: the axis of the integers that they lie along; None where that is as it was.
    """

    values: Array
    axis: int | None = None


@frozen
class Requantized:
    """New numbers for a constant behind DequantizeLinear.

    Attributes:
        of: the DequantizeLinear as the file has it; None for a new one.
        scales: the new scales.
        scale_type: their element type.
        zero_point: a new zero point; None where it stays as it is.
        integers: new integers; None where they stay as they are.
        lost: what the rounding to integers changes at most.
    """

    of: Quantization | None
    scales: Scales
    scale_type: int
    zero_point: Array | None = None
    integers: Array | None = None
    lost: float = 0.0

    def becomes(self, origin: Quantization) -> Quantization:
        """The DequantizeLinear with all that is new."""
        kind, moved = origin.integers.elem_type, self.scales.axis is not None
        return replace(
            origin,
            integers=origin.integers if self.integers is None else Constant.of(self.integers, kind),
            scale=Constant.of(self.scales.values, self.scale_type),
            zero_point=origin.zero_point if self.zero_point is None else Constant.of(self.zero_point, kind),
            axis=self.scales.axis if moved else origin.axis,
            block=0 if moved else origin.block,
        )


def requantized(op: Operator, taken: Taken, index: int) -> Requantized | Refusal | None:
    """What an answer of a rule comes to for a constant behind DequantizeLinear.

    Returns:
        None where an ordinary constant is to be written, a refusal where the integers could not stay.
    """
    rescale = taken.constants[index]
    if DEQUANTIZE not in op.constants.graph.op_types:
        return None
    if rescale is None or op.node.domain != ONNX_DOMAIN or op.node.op_type not in WEIGHTS:
        return None
    if index in WEIGHTS[op.node.op_type]:
        return _weight(op, index, rescale)
    return _bias(op, taken, rescale)


def quantization_remarks(plan: Plan) -> tuple[str, ...]:
    """What a person should know of the integers that a plan touches."""
    found: list[str] = []
    if DEQUANTIZE not in plan.graph.op_types:
        return ()
    for _, change in sorted(plan.changes.items()):
        op, taken = change.op, change.taken
        for index in taken.constants:
            made = requantized(op, taken, index)
            if isinstance(made, Requantized):
                found += _remarks(op, made)
    return tuple(dict.fromkeys(found))


def _remarks(op: Operator, made: Requantized) -> list[str]:
    node = f"{op.node.op_type} '{op.node.label}'"
    if made.integers is not None:
        return [f"{node}: the shift went into its bias in integers, rounded by {made.lost:.1e} at most"]
    if made.of is not None and np.any(made.scales.values < 0) and np.all(made.of.scale.wide >= 0):
        return [f"{node}: its weight in integers has negative scales now, which some accelerators do not take"]
    return []


def _weight(op: Operator, index: int, rescale: Rescale) -> Requantized | Refusal | None:
    """A weight behind DequantizeLinear.

    Given: ``W = (Q - z) * s`` and a factor f that broadcasts against W. Result: ``s' = f * s`` in the shape of s;
    ``[C]`` along the axis of f for one scale, z repeated. Exact: where f differs along the axis of the scales alone,
    or by blocks (DequantizeLinear-10, 13, 19, 21, 23, 24, 25).
    """
    origin = op.base(index, rescale).quantization
    if origin is None:
        return None
    if rescale.offset is not None:
        return op.refuse(CODE, "has a weight in integers, which no shift can go into")
    if origin.order is None:
        return op.refuse(CODE, "has a weight that is computed from integers, so that no scale can take the map")
    return _scaled(op, origin, rescale.factor)


def _scaled(op: Operator, origin: Quantization, factor: Factor) -> Requantized | Refusal:
    """The integers as they are, with scales times the factor."""
    laid = _laid_on_integers(origin, factor)
    scales = "its constant in integers would get another shape" if laid is None else _scales(origin, laid)
    if isinstance(scales, str):
        return op.refuse(CODE, f"has a constant in integers: {scales}")
    zero_point = None
    if origin.zero_point is not None and scales.values.shape != origin.zero_point.shape:
        # One zero point for the tensor: [] -> [C]
        zero_point = np.broadcast_to(origin.zero_point.wide.reshape(-1)[:1], scales.values.shape)
    return Requantized(origin, scales, origin.scale.elem_type, zero_point)


def _laid_on_integers(origin: Quantization, factor: Factor) -> Factor | None:
    """The factor along the axes of the integers, of size 1 where it does not differ; None when it is the larger one."""
    order, shape = origin.order or (), origin.integers.shape
    if factor.ndim > len(order):
        return None
    padded = (1,) * (len(order) - factor.ndim) + factor.shape  # the size along each axis of the constant
    kept = {axis: size for axis, size in zip(order, padded, strict=True) if axis is not None}
    if factor.size != prod(kept.values()):
        return None
    turned = factor.reshape(tuple(kept.values())).transpose(np.argsort(list(kept)))
    laid = turned.reshape([kept.get(axis, 1) for axis in range(len(shape))])  # along the axes of the integers
    for axis in range(laid.ndim):
        first = laid.take([0], axis=axis) if laid.shape[axis] else laid
        laid = first if np.all(laid == first) else laid
    fits = all(size in (1, shape[axis]) for axis, size in enumerate(laid.shape))
    return laid if fits else None


def _scales(origin: Quantization, laid: Factor) -> Scales | str:
    """The scales times the factor, or why none say it."""
    old = origin.scale.wide
    along = [axis for axis, size in enumerate(laid.shape) if size > 1]
    if not along:
        return Scales(old * laid.reshape(()))
    if origin.block:
        return _scales_of_blocks(origin, laid)
    if along == [origin.axis]:
        return Scales(old * laid.reshape(-1))
    if len(along) > 1:
        return "the map differs along two of its axes, and its scales lie along one at most"
    if origin.axis is not None and not _is_one_scale(origin):
        return f"its scales lie along axis {origin.axis}, and the map along axis {along[0]}"
    if origin.node.since_version < 13:
        return "it has one scale, as every one has before opset 13, and the map differs from channel to channel"
    return Scales(old.reshape(-1)[0] * laid.reshape(-1), axis=along[0])


def _is_one_scale(origin: Quantization) -> bool:
    """Whether a list of scales says the same everywhere, so that it can be laid along another axis."""
    lists = [origin.scale, *([] if origin.zero_point is None else [origin.zero_point])]
    return all(bool(np.all(values.wide == values.wide.reshape(-1)[:1])) for values in lists)


def _scales_of_blocks(origin: Quantization, laid: Factor) -> Scales | str:
    axis = origin.axis or 0
    if laid.shape[axis] > 1:
        firsts = laid.take(range(0, laid.shape[axis], origin.block), axis=axis)
        spread = np.repeat(firsts, origin.block, axis=axis).take(range(laid.shape[axis]), axis=axis)
        if not np.all(spread == laid):
            return f"the map differs inside its blocks of {origin.block} along axis {axis}"
        laid = firsts
    return Scales(origin.scale.wide * laid)


def _bias(op: Operator, taken: Taken, rescale: Rescale) -> Requantized | Refusal | None:
    """A bias in int32, where runtimes compute the operator in integers.

    Given: ``B = Q * s`` with ``s = s_x * s_W``, or none, and ``B' = f * B + b``. Result: ``s' = f * s``,
    ``Q' = Q + round(b / s')``. Exact: but for the rounding of b, at most ``s' / 2``, which a remark tells.
    """
    needed = _scale_of_products(op, taken)
    if needed is None or isinstance(needed, Refusal):
        return needed
    if rescale.of == NOTHING:
        return _new_bias(op, rescale, needed)
    origin = op.base(BIAS, rescale).quantization
    if origin is None or origin.integers.elem_type != TensorProto.INT32:
        return None
    if origin.order is None:
        return op.refuse(CODE, "has a bias that is computed from integers, so that no scale can take the map")
    made = _scaled(op, origin, rescale.factor)
    if isinstance(made, Refusal):
        return made
    if not _are_near(made.scales.values, needed, made.scale_type):
        return op.refuse(CODE, "has a bias in integers whose scale is not that of its input times that of its weight")
    if rescale.offset is None or not np.any(rescale.offset):
        return made
    shift = _laid_on_integers(origin, rescale.offset)
    if shift is None:
        return op.refuse(CODE, "has a bias in integers, which would get another shape")
    return _shifted(op, made, shift)


def _are_near(scales: Array, needed: Array, kind: int) -> bool:
    if scales.size not in (1, needed.size) and needed.size != 1:
        return False
    return bool(np.all(np.abs(scales - needed) <= NEARLY.get(kind, 0.0) * np.abs(needed)))


def _scale_of_products(op: Operator, taken: Taken) -> Array | Refusal | None:
    """The scale of x times those of the new weight, ``[O]`` or ``[]``; None where the operator works in floats."""
    activation = _scale_of_activation(op)
    weight = op.constants.get(op.input(1))
    origin = None if weight is None else weight.quantization
    if activation is None or origin is None or origin.order is None or origin.block:
        return None
    made = requantized(op, taken, 1) if 1 in taken.constants else Requantized(origin, Scales(origin.scale.wide), 0)
    if not isinstance(made, Requantized):
        return made
    axis = origin.axis if made.scales.axis is None else made.scales.axis
    if axis is None:
        return np.asarray(activation * made.scales.values.reshape(()))
    if axis != origin.order[_axis_of_outputs(op)]:
        return None
    groups = int(op.attribute("group", 1)) if op.node.op_type == "ConvTranspose" else 1
    return np.tile(activation * made.scales.values, groups)  # [O/g] -> [O]


def _axis_of_outputs(op: Operator) -> int:
    """The axis of the weight that runs along the operator's outputs."""
    if op.node.op_type == "Gemm":
        return 0 if op.attribute("transB", 0) else 1
    return 1 if op.node.op_type == "ConvTranspose" else 0


def _scale_of_activation(op: Operator) -> float | None:
    """The one scale of an input that comes in integers; None for a constant, and for an input in floats."""
    x = op.input(0)
    node = None if x is None else x.producer
    if node is None or (node.domain, node.op_type) != (ONNX_DOMAIN, DEQUANTIZE) or op.constants.get(x) is not None:
        return None
    scale = op.constants.get(node.inputs[1])
    if scale is None or not scale.is_float or scale.shape not in ((), (1,)):
        return None
    return float(scale.wide.reshape(()))


def _new_bias(op: Operator, rescale: Rescale, needed: Array) -> Requantized | Refusal:
    shift = np.zeros(()) if rescale.offset is None else rescale.offset
    if needed.size > 1 and shift.shape != needed.shape:
        return op.refuse(CODE, "has no bias, and would need one of another shape than its scales")
    made = Requantized(None, Scales(needed, axis=0 if needed.ndim else None), op.float_type(BIAS))
    return _shifted(op, made, shift)


def _shifted(op: Operator, made: Requantized, shift: Array) -> Requantized | Refusal:
    """The shift, along the axes of the integers, in whole steps of the scale, added to them."""
    old = np.zeros(np.shape(shift)) if made.of is None else made.of.integers.wide
    scales = round_to(made.scales.values, made.scale_type).astype(np.float64)
    scale, shift = np.broadcast_to(_over_bias(made, scales), old.shape), np.broadcast_to(shift, old.shape)
    if np.any((scale == 0) & (shift != 0)):
        return op.refuse(CODE, "has a bias in integers, and a channel whose scale is 0 but whose shift is not")
    with np.errstate(over="ignore"):  # what overflows is refused
        steps = np.round(np.divide(shift, scale, out=np.zeros(old.shape), where=scale != 0))
    if np.any(np.abs(old + steps) > np.iinfo(np.int32).max):
        return op.refuse(CODE, "has a bias in integers, and the shift is beyond int32 in steps of its scale")
    lost = float(np.abs(steps * scale - shift).max(initial=0.0))
    return Requantized(made.of, made.scales, made.scale_type, made.zero_point, old + steps, lost)


def _over_bias(made: Requantized, scales: Array) -> Array:
    """The new scales, laid so that they broadcast against the bias."""
    if made.of is None or scales.size == 1:
        return scales.reshape(()) if scales.size == 1 else scales
    axis = made.of.axis if made.scales.axis is None else made.scales.axis
    shape = [1] * made.of.integers.rank
    shape[axis or 0] = scales.size
    return scales.reshape(shape) if not made.of.block else made.of.spread(scales)
