"""Conv, ConvTranspose, Gemm and MatMul with an affine of the same value beside them, added: the weights take it in.

Each computes ``y = W x + B``, so ``W x + B + (a x + b) = (W + diag(a)) x + (B + b)`` where W is square: as many
elements come out as go in, each at its own place. So are the blocks of networks that are trained with several branches
and run with one (RepVGG, Ding et al. 2021, arXiv:2101.03697): a BatchNormalization alone on the branch without weights.

A rule is asked: the affine of your input at that place is to be part of your output; which constants make it so?
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnfold.affine import Affine
from bnfold.ops.linear import (
    bias_with,
    float_constant,
    gemm_addend,
    other_channels,
    over_axis_one,
    shift_behind,
    wrong_axis,
)
from bnfold.ops.registry import Maps, parallel
from bnfold.ops.rule import Factor, Operator, Placed, Refusal, Rescale, Taken
from bnfold.ops.windows import own_taps

ONE = np.ones(())


@parallel("Conv", "ConvTranspose")
def parallel_conv(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Conv or ConvTranspose, and an affine of its input added to it.

    Given: ``y = Conv(x, W, B) + (a x + b)``, ``W: [C, C/g, *k]``, the affine over axis 1, C channels.
    Result: ``W'[c, c mod C/g, t] = W + a[c]``, t the tap that sees the element at its own place; ``B' = B + b``.
    Exact: stride 1, as many elements out as in, and ``t * dilation = begin of the padding``, see `bnfold.ops.windows`
    (ONNX Conv-1, 11, 22, ConvTranspose-1, 11, 22).
    """
    weight = float_constant(op, 1, "weight")
    if isinstance(weight, Refusal):
        return weight
    channels, inside = weight.shape[:2]
    if inside < 1 or channels != inside * int(op.attribute("group", 1)):
        return op.refuse("channels", "has not as many channels at its output as at its input")
    affine = over_axis_one(op, placed, channels)
    if isinstance(affine, Refusal):
        return affine
    taps = own_taps(op, weight.shape[2:])
    if taps is None:
        return op.refuse("axis", "sees no element at its own place with the same tap everywhere")
    bias = {} if affine.is_scaling else bias_with(op, 2, _shift_of(affine))
    if isinstance(bias, Refusal):
        return bias
    return Taken(constants={1: _on_diagonal(weight.shape, affine.scale, taps), **bias})


def _shift_of(affine: Affine) -> Affine:
    return Affine(np.ones_like(affine.scale), affine.shift)


def _on_diagonal(shape: Sequence[int], scale: Factor, taps: Sequence[int] = ()) -> Rescale:
    """``W + diag(a)``: row c, column c within its group, at one tap of each axis of space."""
    offset = np.zeros(shape)  # [C, C/g, *k]
    rows, place = np.arange(shape[0]), np.ravel_multi_index(taps, shape[2:]) if taps else 0
    offset.reshape(shape[0], shape[1], -1)[rows, rows % shape[1], place] = scale  # [C, C/g, prod(k)]
    return Rescale(ONE, offset)


@parallel.each("Gemm")
def parallel_gemm(op: Operator, maps: Maps) -> Taken | Refusal:
    """A Gemm, and an affine of its first matrix added to it.

    Given: ``Y = alpha * A B' + beta * C + (a A + b)``, ``A: [M, N]`` not transposed, ``B': [N, N]`` constant; the
    affine over columns. Result: ``B'' = B' + diag(a) / alpha``; C takes b as it does behind the Gemm.
    Exact: ``alpha != 0`` (ONNX Gemm-1, 6, 7, 9, 11, 13).
    """
    alpha = float(op.attribute("alpha", 1.0))
    if set(maps) != {0} or op.attribute("transA", 0) or not alpha:
        return op.refuse("other-input", "takes an affine beside it from its first matrix only, not transposed")
    matrix = float_constant(op, 1, "matrix")
    if isinstance(matrix, Refusal):
        return matrix
    affine = _square(op, matrix.shape, maps[0], axis=1)
    if isinstance(affine, Refusal):
        return affine
    addend = Taken() if affine.is_scaling else gemm_addend(op, Placed(_shift_of(affine), 1))
    if isinstance(addend, Refusal):
        return addend
    if addend.moves:
        return op.refuse("dynamic-bias", "adds a matrix that is no constant")
    constants = {1: _on_diagonal(matrix.shape, affine.scale / alpha), **addend.constants}
    return Taken(constants=constants, attributes=addend.attributes)


@parallel.each("MatMul")
def parallel_matmul(op: Operator, maps: Maps) -> Taken | Refusal:
    """A MatMul, and an affine of its input added to it.

    Given: ``y = x W + (a x + b)``, ``W: [N, N]`` constant, the affine over the last axis of x; or ``y = W x + ...``,
    over the last axis but one. Result: ``W' = W + diag(a)``; a shift becomes an Add behind it.
    Exact: always (ONNX MatMul-1, 9, 13).
    """
    if len(maps) != 1:
        return op.refuse("other-input", "multiplies a value with itself")
    ((index, placed),) = maps.items()
    matrix = float_constant(op, 1 - index, "matrix")
    if isinstance(matrix, Refusal):
        return matrix
    rank = op.rank(index)
    if rank is None or op.output_rank() is None:
        return op.refuse("unknown-shape", "has an input or output whose rank is not known")
    affine = _square(op, matrix.shape, placed, axis=rank - 1 - index)
    if isinstance(affine, Refusal):
        return affine
    constants = {1 - index: _on_diagonal(matrix.shape, affine.scale)}
    return Taken(constants=constants, behind=shift_behind(Placed(affine, max(rank - 1 - index, 0))))


def _square(op: Operator, shape: Sequence[int], placed: Placed, *, axis: int) -> Affine | Refusal:
    """The map over all columns of a square matrix; it has to lie along that axis."""
    if len(shape) != 2 or shape[0] != shape[1]:
        return op.refuse("channels", "has a matrix that is not square")
    if not placed.is_uniform and placed.axis != axis:
        return wrong_axis(op, placed)
    if placed.affine.channels not in (1, shape[0]):
        return other_channels(op, placed, shape[0])
    return placed.affine.expand(shape[0])
