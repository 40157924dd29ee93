"""Operators that take a map by becoming another, or with a node more behind them: asked only where all else refuses.

They cost more than they save on most runtimes, so the cost decides whether such an answer is used.
"""

from __future__ import annotations

import string

import numpy as np
from onnx import TensorProto

from bnfold.ops.linear import NO_FACTOR, float_constant, over_axis_one
from bnfold.ops.registry import replacing_pull, replacing_push
from bnfold.ops.rule import NOTHING, Factor, Operator, Placed, Refusal, Rescale, Taken, laid, scaled
from bnfold.ops.windows import tap_table

MAX_MAP = 2**24
"""A border map of more numbers than this is not made: it would outweigh most models."""


@replacing_pull("Relu")
def relu_to_extremum(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Relu with an affine at its output becomes a Max or a Min with a constant.

    Given: ``y = a max(x, 0) + b``. Result: for ``a >= 0`` ``y = max(a x + b, b)``, for ``a <= 0``
    ``y = min(a x + b, b)``: the same map on x, and b laid along the channels as the other operand.
    Exact: iff all scales have one sign; Max and Min broadcast from version 8 on, and take bfloat16 from 13 on
    (ONNX Relu-6, 13, 14, Max-8, 12, 13, Min-8, 12, 13).
    """
    oldest = 13 if op.shapes.elem_type(op.input(0)) == TensorProto.BFLOAT16 else 8
    if op.node.opset < oldest:
        return op.refuse("opset", f"could only become a Max with a constant from opset {oldest} on")
    scale = placed.affine.scale
    if np.any(scale < 0) and np.any(scale > 0):
        return op.refuse("negative-scale", "bends at zero, and the affine has scales of both signs")
    if op.output_rank() is None and not placed.is_uniform:
        return op.refuse("unknown-shape", "has an output whose rank is not known")
    bound = laid(op, placed)  # [C] -> [C, 1, ..., 1]
    other = "Min" if np.any(scale < 0) else "Max"
    return Taken({0: placed}, {1: Rescale(NO_FACTOR, bound, of=NOTHING)}, op_type=other)


@replacing_push("Conv")
def conv_with_border(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Conv that pads with zeros, whose input comes without its affine: a constant map is added behind it.

    Given: ``y = Conv(a x + b, W, B)``, ``W: [O, I/g, *k]``, zeros around. Result: ``W'[o, i] = a W[o, i]`` and
    ``y = Conv(x, W', B) + M`` with ``M[o, p] = sum over taps t that see x at p, and i, of W[o, i, t] b[i]``,
    ``M: [1, O, *out]``. Exact: always, where height and width are static (ONNX Conv-1, 11, 22).
    """
    weight = float_constant(op, 1, "weight")
    if isinstance(weight, Refusal):
        return weight
    if weight.rank < 3:
        return op.refuse("malformed", f"has a weight of {weight.rank} axes")
    group, outputs = int(op.attribute("group", 1)), weight.shape[0]
    affine = over_axis_one(op, placed, weight.shape[1] * group)
    if isinstance(affine, Refusal):
        return affine
    tables = tap_table(op, weight.shape[2:])
    if group < 1 or outputs % group:
        return op.refuse("malformed", f"has {outputs} output channels, which do not divide into {group} groups")
    if tables is None:
        return op.refuse("padding", "pads with zeros, and its height and width are not static")
    if outputs * np.prod([len(table) for table in tables], dtype=np.float64) > MAX_MAP:
        return op.refuse("padding", "pads with zeros, and the constant map that makes up for them would be too large")
    # a, b: [I] -> [g, I/g] -> [O, I/g]
    scale, shift = (
        np.repeat(vector.reshape(group, -1), outputs // group, axis=0) for vector in (affine.scale, affine.shift)
    )
    factor = scale.reshape(scale.shape + (1,) * (weight.rank - 2))  # [O, I/g, 1, ..., 1]
    taps = np.einsum("oi...,oi->o...", weight.wide, shift)  # [O, *k]
    return Taken(constants=scaled(1, factor), behind=_spread(taps, tables)[None])


def _spread(taps: Factor, tables: tuple[Factor, ...]) -> Factor:
    """What each tap adds where it is seen: ``[O, *k]``, and ``[p, k]`` per axis, to ``[O, *p]``."""
    inner, outer = string.ascii_lowercase[: len(tables)], string.ascii_uppercase[: len(tables)]
    operands = ",".join(f"{position}{tap}" for position, tap in zip(outer, inner, strict=True))
    return np.asarray(np.einsum(f"z{inner},{operands}->z{outer}", taps, *tables, optimize=True))
