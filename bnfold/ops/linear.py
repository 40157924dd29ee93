"""Operators that absorb an affine into their weights: Conv, DeformConv, ConvTranspose, Gemm, MatMul.

Each computes ``y = W x + B`` with the output channel on one known axis of ``W``, so ``a y + b = (a W) x + (a B + b)``:
exact in real arithmetic whatever the sign of ``a``, for every stride, dilation and padding, since those act on ``x``.
"""

from __future__ import annotations

import numpy as np

from bnfold.affine import Affine
from bnfold.model.constants import Constant
from bnfold.model.tensors import type_name
from bnfold.ops.registry import pull
from bnfold.ops.rule import NOTHING, Operator, Placed, Refusal, Rescale, Taken, along, scaled

NO_FACTOR = np.zeros(())
"""The factor of a constant that is made anew."""


@pull("Conv")
def pull_conv(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Conv with an affine at its output.

    Given: ``y = Conv(x, W, B)``, ``W: [O, I/g, *k]``, ``B: [O]`` or none; the affine over axis 1.
    Result: ``W' = a[:, None, ...] * W``, ``B' = a * B + b``. Groups change nothing: each output channel has its rows.
    Exact: always (ONNX Conv-1, 11, 22).
    """
    return _pull_convolution(op, placed, bias=2)


@pull("DeformConv")
def pull_deform_conv(op: Operator, placed: Placed) -> Taken | Refusal:
    """A DeformConv with an affine at its output.

    Given: ``y = DeformConv(x, W, offset, B, mask)``, ``W: [O, I/g, *k]``, ``B: [O]`` or none; the affine over axis 1.
    Result: as for `pull_conv`.
    Exact: always: where the taps lie, and how much of each counts, acts on x (ONNX DeformConv-19, 22).
    """
    refusal = refuse_integers(op, 1)
    return refusal or _pull_convolution(op, placed, bias=3)


def refuse_integers(op: Operator, index: int) -> Refusal | None:
    """Whether a weight is stored in integers, for operators that have no way to keep them."""
    weight = op.constant(index)
    if weight is None or weight.quantization is None:
        return None
    return op.refuse("quantized", "has a weight in integers, which would become floats")


def _pull_convolution(op: Operator, placed: Placed, bias: int) -> Taken | Refusal:
    """The same for every convolution with its output channels first; its bias is that input."""
    weight = float_constant(op, 1, "weight")
    if isinstance(weight, Refusal):
        return weight
    affine = over_axis_one(op, placed, weight.shape[0])
    if isinstance(affine, Refusal):
        return affine
    shifted = bias_with(op, bias, affine)
    if isinstance(shifted, Refusal):
        return shifted
    return Taken(constants={**scaled(1, along(affine.scale, 0, weight.rank)), **shifted})


@pull("ConvTranspose")
def pull_conv_transpose(op: Operator, placed: Placed) -> Taken | Refusal:
    """A ConvTranspose with an affine at its output.

    Given: ``y = ConvTranspose(x, W, B)``, ``W: [I, O/g, *k]``: output channels are axis 1 *within each group*, and the
    input channels of group ``j`` are the rows ``j*I/g ... (j+1)*I/g``; the affine over axis 1 of y, O channels.
    Result: ``W'[i, o] = a[j*O/g + o] * W[i, o]`` for i in group j; ``B' = a * B + b``.
    Exact: always (ONNX ConvTranspose-1, 11, 22).
    """
    weight = float_constant(op, 1, "weight")
    if isinstance(weight, Refusal):
        return weight
    shape, group = weight.shape, int(op.attribute("group", 1))
    if group < 1 or shape[0] % group:
        return op.refuse("malformed", f"has {shape[0]} input channels, which do not divide into {group} groups")
    affine = over_axis_one(op, placed, shape[1] * group)
    if isinstance(affine, Refusal):
        return affine
    bias = bias_with(op, 2, affine)
    if isinstance(bias, Refusal):
        return bias
    # a: [O] -> [g, O/g] -> [I, O/g] -> [I, O/g, 1, ..., 1]
    rows = np.repeat(affine.scale.reshape(group, shape[1]), shape[0] // group, axis=0)
    factor = rows.reshape(rows.shape + (1,) * (len(shape) - 2))
    return Taken(constants={**scaled(1, factor), **bias})


@pull("Gemm")
def pull_gemm(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Gemm with an affine at its output.

    Given: ``Y = alpha * A' B' + beta * C``, ``Y: [M, N]``; the affine over columns (axis 1) or rows (axis 0).
    Result: columns scale ``B'`` (rows of B if transB), rows scale ``A'``, whichever is the constant one;
    ``C' = a * beta * C + b`` with ``beta`` set to 1, in the shape that C and the affine broadcast to; for a scaling,
    ``C' = a * C``, and ``beta`` stays. With ``beta = 0`` any C is as good as none. A C that is no constant gets the map
    ``(a, b / beta)`` itself, on the axis that lines up.
    Exact: always; ``alpha`` stays (ONNX Gemm-1, 6, 7, 9, 11, 13).
    """
    side = _gemm_side(op, placed)
    if isinstance(side, Refusal):
        return side
    weight = float_constant(op, side, "matrix")
    if isinstance(weight, Refusal):
        return weight
    transposed = bool(op.attribute("transB" if side else "transA", 0))
    axis = side if not transposed else 1 - side  # the axis of B (or A) that runs along the affine's axis of Y
    if not placed.is_uniform and weight.shape[axis] != placed.affine.channels:
        return other_channels(op, placed, weight.shape[axis])
    affine = placed.affine.expand(weight.shape[axis])
    addend = gemm_addend(op, Placed(affine, side))
    if isinstance(addend, Refusal):
        return addend
    constants = {**scaled(side, along(affine.scale, axis, 2)), **addend.constants}
    return Taken(addend.moves, constants, addend.attributes)


def _gemm_side(op: Operator, placed: Placed) -> int | Refusal:
    """Which matrix takes the scale: 1 (B) for columns, 0 (A) for rows, either for a uniform map."""
    if not placed.is_uniform:
        return placed.axis if placed.axis in (0, 1) else wrong_axis(op, placed)
    return 1 if op.constant(1) is not None or op.constant(0) is None else 0


def gemm_addend(op: Operator, placed: Placed) -> Taken | Refusal:
    """What becomes of C; `placed` lies on an axis of Y: ``[M, N]``."""
    beta = float(op.attribute("beta", 1.0))
    # along Y's axis: columns [N], which every opset broadcasts; rows [M, 1]
    scale, shift = (
        vector if placed.axis == 1 else vector[:, None] for vector in (placed.affine.scale, placed.affine.shift)
    )
    if not op.has(2) or beta == 0.0:
        if placed.affine.is_scaling:
            return Taken()
        return with_beta_one(op, {2: Rescale(NO_FACTOR, shift, of=NOTHING)}, shift.ndim)
    constant = op.constant(2)
    if constant is None:
        return _gemm_moving_addend(op, placed, beta)
    if not constant.is_float:
        return _not_float(op, constant, "addend")
    if placed.affine.is_scaling and op.node.since_version >= 7:
        return Taken(constants={2: Rescale(scale)})
    return with_beta_one(op, {2: Rescale(scale * beta, shift)}, max(constant.rank, scale.ndim))


def with_beta_one(op: Operator, constants: dict[int, Rescale], rank: int) -> Taken:
    """The edits of a Gemm whose addend has `beta` in it already; the new addend has that rank."""
    attributes: dict[str, float | int | None] = {} if op.attribute("beta", 1.0) == 1.0 else {"beta": 1.0}
    if op.node.since_version < 7 and rank < 2:
        attributes["broadcast"] = 1
    return Taken(constants=constants, attributes=attributes)


def _gemm_moving_addend(op: Operator, placed: Placed, beta: float) -> Taken | Refusal:
    """C is no constant: the map moves onto it, where it lines up with an axis that is not broadcast."""
    shape = op.shape(2)
    if shape is None or op.node.since_version < 7:
        return op.refuse("dynamic-bias", "adds a matrix that is no constant and whose shape is not known")
    affine = Affine(placed.affine.scale, placed.affine.shift / beta)
    axis = placed.axis - (2 - len(shape))
    if not Placed.of(affine, axis).is_uniform and (axis < 0 or shape[axis] != affine.channels):
        return op.refuse("dynamic-bias", "adds a value that is no constant and is broadcast along the channels")
    return Taken(moves={2: Placed.of(affine, axis)})


@pull("MatMul")
def pull_matmul(op: Operator, placed: Placed) -> Taken | Refusal:
    """A MatMul with an affine at its output.

    Given: ``y = x W``, ``W: [..., K, N]``, the affine over the last axis of y; or ``y = W x``, ``W: [..., M, K]``, the
    affine over the last axis but one. Result: ``W' = W * a`` per column (per row); a shift becomes an Add behind it.
    Exact: always (ONNX MatMul-1, 9, 13).
    """
    side = next((k for k in (1, 0) if op.constant(k) is not None), None)
    if side is None:
        return op.refuse("dynamic-weight", "multiplies two values neither of which is a constant")
    weight = float_constant(op, side, "matrix")
    if isinstance(weight, Refusal):
        return weight
    rank = op.output_rank()
    if placed.is_uniform:
        return Taken(constants=scaled(side, placed.affine.scale.reshape(())), behind=shift_behind(placed))
    if rank is None:
        return op.refuse("unknown-shape", "has an output whose rank is not known, so the channel axis is not either")
    # columns of the right matrix are y's last axis, rows of the left one the last but one
    from_end = 1 if side == 1 else 2
    if weight.rank < 2 or placed.axis != rank - from_end:
        return wrong_axis(op, placed)
    axis = weight.rank - from_end
    if weight.shape[axis] != placed.affine.channels:
        return other_channels(op, placed, weight.shape[axis])
    factor = along(placed.affine.scale, axis, weight.rank)
    return Taken(constants=scaled(side, factor), behind=shift_behind(placed))


def shift_behind(placed: Placed) -> Placed | None:
    """The shift alone, None when there is none."""
    if placed.affine.is_scaling:
        return None
    return Placed(Affine(np.ones_like(placed.affine.scale), placed.affine.shift), placed.axis)


def over_axis_one(op: Operator, placed: Placed, channels: int) -> Affine | Refusal:
    """The map over all channels, which are axis 1 at either end of every convolution."""
    if not placed.is_uniform and placed.axis != 1:
        return wrong_axis(op, placed)
    if placed.affine.channels not in (1, channels):
        return other_channels(op, placed, channels)
    return placed.affine.expand(channels)


def bias_with(op: Operator, index: int, affine: Affine) -> dict[int, Rescale] | Refusal:
    """``B' = a * B + b``; none is made where none is needed."""
    if not op.has(index):
        return {} if affine.is_scaling else {index: Rescale(NO_FACTOR, affine.shift, of=NOTHING)}
    bias = float_constant(op, index, "bias")
    if isinstance(bias, Refusal):
        return bias
    return {index: Rescale(affine.scale, affine.shift)}


def float_constant(op: Operator, index: int, role: str) -> Constant | Refusal:
    """A constant input in a type that bnfold computes with."""
    constant = op.constant(index)
    if constant is not None and constant.is_float:
        if role == "weight" and constant.rank < 2:
            return op.refuse("malformed", f"has a weight of {constant.rank} axes")
        return constant
    if not op.has(index):
        return op.refuse("malformed", f"has no {role}")
    value = op.input(index)
    if constant is None and value is not None and op.constants.graph.is_overridable(value):
        return op.refuse_overridable(value, role)
    if constant is None:
        return op.refuse(f"dynamic-{'bias' if role == 'bias' else 'weight'}", f"has a {role} that is no constant")
    return _not_float(op, constant, role)


def _not_float(op: Operator, constant: Constant, role: str) -> Refusal:
    return op.refuse("type", f"has a {role} of type {type_name(constant.elem_type)}, which holds no folded number")


def wrong_axis(op: Operator, placed: Placed) -> Refusal:
    """The affine lies on another axis than the operator's channels."""
    return op.refuse("axis", f"has its channels on another axis than axis {placed.axis}, where the affine lies")


def other_channels(op: Operator, placed: Placed, channels: int) -> Refusal:
    """The affine has another number of channels than the operator."""
    return op.refuse("channels", f"has {channels} channels, and the affine {placed.affine.channels}")
