"""Conv, DeformConv, ConvTranspose, Gemm and MatMul whose input comes without its affine: the weights take it in.

Each computes ``y = W x + B`` with the input channel on one known axis of ``W``, so
``W (a x + b) + B = (W a) x + (W b + B)``. The scale always goes. The shift goes where ``W b`` is one number per output
channel: where every output element sees the same taps, so not where zeros of a padding stand in for x here and there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnfold.affine import Affine
from bnfold.model.constants import Constant
from bnfold.ops.linear import (
    float_constant,
    other_channels,
    over_axis_one,
    refuse_integers,
    with_beta_one,
    wrong_axis,
)
from bnfold.ops.registry import Maps, push
from bnfold.ops.rule import NOTHING, Factor, Operator, Placed, Refusal, Rescale, Taken, along, scaled
from bnfold.ops.windows import STATIC_SPACE, Table, common_taps, has_static_space

ONE = np.ones(())


@push("Conv")
def push_conv(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Conv with an affine at its input.

    Given: ``y = Conv(a x + b, W, B)``, ``W: [O, I/g, *k]``, the affine over axis 1, I channels.
    Result: ``W'[o, i] = a[j*I/g + i] * W[o, i]`` for o in group j; ``B'[o] = B[o] + sum over i, k of W[o, i, k] b``,
    k over the taps that see an element of x.
    Exact: the scale always; the shift iff these are the same taps at every output position, as where no zero padding
    takes effect, see `bnfold.ops.windows` (ONNX Conv-1, 11, 22).
    """
    weight = float_constant(op, 1, "weight")
    if isinstance(weight, Refusal):
        return weight
    group = int(op.attribute("group", 1))
    if group < 1 or weight.shape[0] % group:
        return op.refuse("malformed", f"has {weight.shape[0]} output channels, which do not divide into {group} groups")
    affine = over_axis_one(op, placed, weight.shape[1] * group)
    if isinstance(affine, Refusal):
        return affine
    seen = None if affine.is_scaling else common_taps(op, weight.shape[2:])
    if not affine.is_scaling and seen is None:
        return _refuse_padding(op, "pads with zeros: a shift in front of it would be missing at the border")
    # a, b: [I] -> [g, I/g] -> [O, I/g]
    scale, shift = (
        np.repeat(vector.reshape(group, -1), weight.shape[0] // group, axis=0)
        for vector in (affine.scale, affine.shift)
    )
    factor = scale.reshape(scale.shape + (1,) * (weight.rank - 2))  # [O, I/g, 1, ..., 1]
    if seen is None:
        return Taken(constants=scaled(1, factor))
    return _with_bias(op, scaled(1, factor), (_summed(weight, seen) * shift).sum(axis=1))


def _summed(weight: Constant, seen: Sequence[Table]) -> Table:
    """The sum over the taps that see something: ``[O, I/g, *k] -> [O, I/g]``."""
    total = weight.wide
    for taps in reversed(seen):
        total = total @ taps  # [..., k] @ [k]
    return total


@push("DeformConv")
def push_deform_conv(op: Operator, placed: Placed) -> Taken | Refusal:
    """A DeformConv with an affine at its input.

    Given: ``y = DeformConv(a x + b, W, offset, B, mask)``, ``W: [O, I/g, *k]``, the affine over axis 1, I channels.
    Result: ``W'[o, i] = a[j*I/g + i] * W[o, i]`` for o in group j.
    Exact: iff ``b = 0``: a tap may lie beyond the border, where there are zeros (ONNX DeformConv-19, 22).
    """
    if not placed.affine.is_scaling:
        return op.refuse("shift", "may look beyond the border, where a shift in front of it would be missing")
    return refuse_integers(op, 1) or push_conv(op, placed)


@push("ConvTranspose")
def push_conv_transpose(op: Operator, placed: Placed) -> Taken | Refusal:
    """A ConvTranspose with an affine at its input.

    Given: ``y = ConvTranspose(a x + b, W, B)``, ``W: [I, O/g, *k]``, the affine over axis 1, I channels.
    Result: ``W'[i] = a[i] * W[i]``; ``B'[j*O/g + o] = B + sum over i in group j, k of W[i, o, k] b[i]``, k over the
    taps that see an element of x.
    Exact: the scale always; the shift iff these are the same taps at every output position: stride 1, and along each
    axis pads of at least ``dilation * (k - 1)`` at both ends, which cut off the border; or as the static size has it,
    see `bnfold.ops.windows` (ONNX ConvTranspose-1, 11, 22).
    """
    weight = float_constant(op, 1, "weight")
    if isinstance(weight, Refusal):
        return weight
    group = int(op.attribute("group", 1))
    affine = over_axis_one(op, placed, weight.shape[0])
    if isinstance(affine, Refusal):
        return affine
    constants = scaled(1, along(affine.scale, 0, weight.rank))
    if affine.is_scaling:
        return Taken(constants=constants)
    if group < 1 or weight.shape[0] % group:
        return op.refuse("malformed", f"has {weight.shape[0]} input channels, which do not divide into {group} groups")
    seen = common_taps(op, weight.shape[2:])
    if seen is None:
        return _refuse_padding(op, "has output elements that do not see every tap, so a shift would not reach all")
    taps = _summed(weight, seen)  # [I, O/g]
    shifted = (taps * affine.shift[:, None]).reshape(group, -1, weight.shape[1])  # [g, I/g, O/g]
    return _with_bias(op, constants, shifted.sum(axis=1).reshape(-1))


def _refuse_padding(op: Operator, text: str) -> Refusal:
    refusal = op.refuse("padding", text)
    return refusal if has_static_space(op) else refusal.unblocked_by(f"{STATIC_SPACE}, or {refusal.unblock}")


def _with_bias(op: Operator, constants: dict[int, Rescale], shift: Factor) -> Taken | Refusal:
    """The edits, and ``B' = B + shift``: ``[O]``."""
    if not op.has(2):
        return Taken(constants={**constants, 2: Rescale(np.zeros(()), shift, of=NOTHING)})
    bias = float_constant(op, 2, "bias")
    return bias if isinstance(bias, Refusal) else Taken(constants={**constants, 2: Rescale(ONE, shift)})


@push.each("Gemm")
def push_gemm(op: Operator, maps: Maps) -> Taken | Refusal:
    """A Gemm one of whose matrices comes without its affine.

    Given: ``Y = alpha * A' B' + beta * C``, ``A': [M, K]`` with an affine over K, B constant (or the other way round).
    Result: the rows of ``B'`` times a; ``C' = beta * C + alpha * (b @ B')``, ``[N]``, with ``beta`` set to 1. A C that
    is no constant stays, and the shift is owed behind.
    Exact: always over K; over M or N it is no matter of the matrix (ONNX Gemm-1 to 13).
    """
    if len(maps) != 1 or 2 in maps:
        return op.refuse("other-input", "comes without more than one of its matrices, or without its addend")
    ((side, placed),) = maps.items()
    matrix = float_constant(op, 1 - side, "matrix")
    if isinstance(matrix, Refusal):
        return matrix
    own = bool(op.attribute("transB" if side else "transA", 0))
    other = bool(op.attribute("transA" if side else "transB", 0))
    inner = int(own) if side else int(not own)  # the axis of the matrix that comes without its map that runs along K
    if not placed.is_uniform and placed.axis != inner:
        return wrong_axis(op, placed)
    axis = int(not other) if side else int(other)  # the axis of the constant matrix that runs along K
    if placed.affine.channels not in (1, matrix.shape[axis]):
        return other_channels(op, placed, matrix.shape[axis])
    affine = placed.affine.expand(matrix.shape[axis])
    constants = scaled(1 - side, along(affine.scale, axis, 2))
    if affine.is_scaling:
        return Taken(constants=constants)
    shift = float(op.attribute("alpha", 1.0)) * np.tensordot(affine.shift, matrix.wide, axes=(0, axis))
    return _with_addend(op, constants, Placed(Affine.of(1.0, shift), 0 if side else 1))


def _with_addend(op: Operator, constants: dict[int, Rescale], shift: Placed) -> Taken | Refusal:
    """``C' = beta * C + shift``, the shift over columns ``[N]`` or rows ``[M, 1]``."""
    beta = float(op.attribute("beta", 1.0))
    vector = shift.affine.shift if shift.axis == 1 else shift.affine.shift[:, None]
    if not op.has(2) or beta == 0.0:
        return with_beta_one(op, {**constants, 2: Rescale(np.zeros(()), vector, of=NOTHING)}, vector.ndim)
    addend = op.constant(2)
    if addend is None:
        return Taken({0: shift}, constants)
    if not addend.is_float:
        return op.refuse("type", "has an addend that holds no folded number")
    edits = {**constants, 2: Rescale(np.full((), beta), vector)}
    return with_beta_one(op, edits, max(addend.rank, vector.ndim))


@push.each("MatMul")
def push_matmul(op: Operator, maps: Maps) -> Taken | Refusal:
    """A MatMul whose input comes without its affine.

    Given: ``y = (a x + b) W``, ``W: [..., K, N]``, the affine over the last axis of x; or ``y = W (a x + b)``,
    ``W: [..., M, K]``, the affine over the last axis of x but one.
    Result: the rows of W (its columns) times a; the shift ``b @ W`` (``W @ b``) is owed behind, or becomes an Add.
    Exact: the scale always; the shift where W is one matrix for the whole batch (ONNX MatMul-1, 9, 13).
    """
    if len(maps) != 1:
        return op.refuse("other-input", "multiplies two values that both come without their maps")
    ((side, placed),) = maps.items()
    matrix = float_constant(op, 1 - side, "matrix")
    if isinstance(matrix, Refusal):
        return matrix
    rank = op.rank(side)
    if not placed.is_uniform and (rank is None or placed.axis != max(rank - 1 - side, 0)):
        return wrong_axis(op, placed)
    axis = matrix.rank - 1 if side or matrix.rank == 1 else matrix.rank - 2  # the axis of W that runs along K
    if placed.affine.channels not in (1, matrix.shape[axis]):
        return other_channels(op, placed, matrix.shape[axis])
    affine = placed.affine.expand(matrix.shape[axis])
    constants = scaled(1 - side, along(affine.scale, axis, matrix.rank))
    return Taken(constants=constants) if affine.is_scaling else _owing(op, constants, affine, matrix, side)


def _owing(op: Operator, constants: dict[int, Rescale], affine: Affine, matrix: Constant, side: int) -> Taken | Refusal:
    """The edits, and the shift that is owed on the output."""
    rank = op.output_rank()
    if matrix.rank > 2:
        return op.refuse("shift", "multiplies with a matrix per batch, so that a shift comes out differently in each")
    if rank is None:
        return op.refuse("unknown-shape", "has an output whose rank is not known")
    axis = 0 if matrix.rank == 1 or side == 0 else 1  # the axis of W that runs along K
    shift = np.atleast_1d(np.tensordot(affine.shift, matrix.wide, axes=(0, axis)))
    owed = Placed.of(Affine.of(1.0, shift), max(rank - 1 - side, 0))
    return Taken({0: owed}, constants, otherwise=lambda: Taken(constants=constants, behind=owed))
