"""Max, Min and Mean: at each place one of several values, or what they come to on average."""

from __future__ import annotations

import numpy as np

from bnfold.affine import Affine
from bnfold.ops.joining import (
    branch_refusal,
    constant_branches,
    inverse,
    missing_axes,
    on_output,
    rescaled_operand,
    same_map,
)
from bnfold.ops.registry import Maps, pull, push
from bnfold.ops.rule import Operator, Placed, Refusal, Rescale, Taken


@pull("Max", "Min", "Mean")
def pull_extreme(op: Operator, placed: Placed) -> Taken | Refusal:
    """The largest, the smallest, or the mean of several values.

    Given: ``y = max(u, v, ...)``, ``min`` or ``mean``. Result: the map itself on every branch; a constant becomes
    ``a c + b``. Exact: for Max and Min iff ``a >= 0``, since they keep their order then; for Mean always; every branch
    must take its part (ONNX Max-1 to 13, Min-1 to 13, Mean-1 to 13).
    """
    if not op.node.inputs:
        return op.refuse("malformed", "has no inputs")
    refusal = _refuse_order(op, placed.affine)
    for index in range(len(op.node.inputs)):
        refusal = refusal or branch_refusal(op, index, placed)
    if refusal is not None:
        return refusal
    moves: dict[int, Placed] = {}
    constants: dict[int, Rescale | None] = {}
    for index in range(len(op.node.inputs)):
        if op.constant(index) is None:
            moves[index] = Placed.of(placed.affine, placed.axis - missing_axes(op, index, placed))
        else:
            constants[index] = rescaled_operand(op, placed)
    return Taken(moves, constants)


@push.each("Max", "Min", "Mean")
def push_extreme(op: Operator, maps: Maps) -> Taken | Refusal:
    """The largest, the smallest, or the mean of several values.

    Given: ``y = max(u, v, ...)``, ``min`` or ``mean``, all branches that are no constants with the same map. Result:
    that map on y; a constant becomes ``(c - b) / a``.
    Exact: for Max and Min iff ``a >= 0``; ``a != 0`` where there is a constant (ONNX Max-1 to 13, Min-1 to 13,
    Mean-1 to 13).
    """
    owed: list[Placed] = []
    for index, placed in maps.items():
        part = on_output(op, index, placed)
        if isinstance(part, Refusal):
            return part
        owed.append(part)
    constants = constant_branches(op, maps)
    if len(owed) + len(constants) < len(op.node.inputs) or not all(same_map(owed[0], other) for other in owed):
        return op.refuse("one-branch", "takes branches that have not all the same map")
    affine = owed[0].affine
    refusal = _refuse_order(op, affine)
    if refusal is None and constants and bool(np.any(affine.scale == 0.0)):
        refusal = op.refuse("zero-scale", "takes a constant, which behind a scale of zero would be lost")
    if refusal is not None:
        return refusal
    unscaling = Placed(inverse(affine), owed[0].axis) if constants else owed[0]
    return Taken({0: owed[0]}, {k: rescaled_operand(op, unscaling) for k in constants})


def _refuse_order(op: Operator, affine: Affine) -> Refusal | None:
    if op.node.op_type == "Mean" or affine.is_nonnegative:
        return None
    return op.refuse("negative-scale", "goes by the order of values, which a negative scale turns around")
