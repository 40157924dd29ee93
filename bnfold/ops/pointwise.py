"""Operators that work on each element alone: Identity, Dropout, Relu, LeakyRelu, PRelu, Clip, Cast."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from bnfold.model.tensors import FLOATS, largest, type_name
from bnfold.ops.registry import pull
from bnfold.ops.rule import Operator, Placed, Refusal, Rescale, Taken


@pull("Identity")
def pull_identity(_: Operator, placed: Placed) -> Taken | Refusal:
    """Given: ``y = x``. Result: the same map on x. Exact: always (ONNX Identity-1)."""
    return Taken({0: placed})


@pull("Dropout")
def pull_dropout(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Dropout, which does nothing at inference.

    Given: ``y = Dropout(x)``. Result: the same map on x.
    Exact: at inference: before opset 7 with ``is_test = 1`` (default 0), from 12 on with a training_mode input that is
    absent or constantly false (ONNX Dropout-1, 6, 7, 10, 12, 13, 22). The mask stays all true.
    """
    if op.node.since_version < 7 and not op.attribute("is_test", 0):
        return op.refuse("training", "drops at random: it has is_test = 0")
    if op.node.since_version >= 12 and op.input(2) is not None:
        mode = op.constant(2)
        if mode is None or bool(np.any(mode.values)):
            return op.refuse("training", "may drop at random: its training_mode input is not constantly false")
    return Taken({0: placed})


@pull("Relu", "LeakyRelu", "PRelu")
def pull_rectifier(op: Operator, placed: Placed) -> Taken | Refusal:
    """A rectifier: linear on either side of zero.

    Given: ``y = r(x)`` with ``r(a x) = a r(x)`` for every ``a >= 0``; the slopes do not matter, PRelu's is per channel.
    Result: the same map on x. Exact: iff ``a >= 0`` and ``b = 0`` (ONNX Relu-1, LeakyRelu-1, PRelu-1).
    """
    if not placed.affine.is_scaling:
        return op.refuse("shift", "bends at zero, and a shift would move the bend; only a scale can pass it")
    if not placed.affine.is_nonnegative:
        return op.refuse("negative-scale", "bends at zero, and a negative scale would bend the other side")
    return Taken({0: placed})


@pull("Cast")
def pull_cast(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Cast from one floating point type to another.

    Given: ``y = Cast(x)``, both floats. Result: the same map on x, now rounded in x's type.
    Exact: equal in real arithmetic; said in a remark when the types differ (ONNX Cast-1, 6, 9, 13, 19).
    """
    to = op.attribute("to")
    wanted = int(to) if op.node.since_version >= 6 else TensorProto.DataType.Value(to)
    given = op.shapes.elem_type(op.input(0))
    if wanted not in FLOATS or given not in FLOATS:
        known = type_name(given) if given else "an unknown type"
        return op.refuse("type", f"casts {known} to {type_name(wanted)}, and a map passes only from float to float")
    if wanted == given:
        return Taken({0: placed})
    remark = f"folded through Cast '{op.node.label}': rounded in {type_name(given)}, then cast to {type_name(wanted)}"
    return Taken({0: placed}, remarks=(remark,))


@pull("Clip", since=11)
def pull_clip(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Clip whose bounds are inputs.

    Given: ``y = min(max(x, lo), hi)``, lo and hi scalars; a and b the same in every channel.
    Result: the same map on x; ``lo' = a lo + b``, ``hi' = a hi + b``, swapped for ``a < 0``.
    Exact: iff a != 0 and both bounds are constants, lo <= hi (ONNX Clip-11, 12, 13).
    """
    bounds = _clip_bounds(op)
    if isinstance(bounds, Refusal):
        return bounds
    refusal = _refuse_clip(op, placed, bounds)
    if refusal is not None:
        return refusal
    scale, shift = (vector.reshape(()) for vector in (placed.affine.scale, placed.affine.shift))
    sources = {1: 1, 2: 2} if scale > 0 else {1: 2, 2: 1}
    constants = {
        index: Rescale(scale, shift, of=source) if bounds[source - 1] is not None else None
        for index, source in sources.items()
        if bounds[source - 1] is not None or op.input(index) is not None
    }
    return Taken({0: placed}, constants)


@pull("Clip", since=1)
def pull_clip_attributes(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Clip whose bounds are attributes, before opset 11; as `pull_clip`."""
    end = largest(TensorProto.FLOAT)
    stated = (float(op.attribute("min", -end)), float(op.attribute("max", end)))
    bounds = tuple(bound if abs(bound) < end else None for bound in stated)
    refusal = _refuse_clip(op, placed, bounds)
    if refusal is not None:
        return refusal
    scale, shift = float(placed.affine.scale[0]), float(placed.affine.shift[0])
    moved = [None if bound is None else scale * bound + shift for bound in bounds]
    lower, upper = moved if scale > 0 else reversed(moved)
    return Taken({0: placed}, attributes={"min": lower, "max": upper})


def _clip_bounds(op: Operator) -> tuple[float | None, ...] | Refusal:
    """(lower, upper); None for a bound that is omitted, or beyond every number of its type."""
    bounds: list[float | None] = []
    for index in (1, 2):
        if op.input(index) is None:
            bounds.append(None)
            continue
        constant = op.constant(index)
        if constant is None or not constant.is_float or constant.wide.size != 1:
            return op.refuse("dynamic-bounds", "has a bound that is no constant scalar")
        bound = float(constant.wide.reshape(()))
        bounds.append(None if abs(bound) >= largest(constant.elem_type) else bound)
    return tuple(bounds)


def _refuse_clip(op: Operator, placed: Placed, bounds: tuple[float | None, ...]) -> Refusal | None:
    if not placed.is_uniform:
        code = "shift" if placed.scaling.is_uniform else "not-uniform"
        return op.refuse(code, "has one pair of bounds for all channels, and the affine differs between them")
    if placed.affine.scale[0] == 0.0:
        return op.refuse("zero-scale", "would have both bounds at one number: the scale is zero")
    lower, upper = bounds
    if lower is not None and upper is not None and lower > upper:
        return op.refuse("malformed", "has a lower bound above its upper one")
    return None
