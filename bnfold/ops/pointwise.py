"""Operators that work on each element alone: Identity, Dropout, Neg, Relu, LeakyRelu, PRelu, Clip, Cast."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from bnfold.affine import Affine
from bnfold.model.tensors import FLOATS, largest, type_name
from bnfold.ops.registry import pull, push
from bnfold.ops.rule import Operator, Placed, Refusal, Rescale, Taken


@pull("Identity", several_axes=True)
@push("Identity", several_axes=True)
def carry_identity(_: Operator, placed: Placed) -> Taken | Refusal:
    """Given: ``y = x``. Result: the same map on the other side. Exact: always (ONNX Identity-1 to 25)."""
    return Taken({0: placed})


@pull("Dropout", several_axes=True)
@push("Dropout", several_axes=True)
def carry_dropout(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Dropout, which does nothing at inference.

    Given: ``y = Dropout(x)``. Result: the same map on the other side.
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


@pull("Neg", several_axes=True)
@push("Neg", several_axes=True)
def carry_negation(_: Operator, placed: Placed) -> Taken | Refusal:
    """Given: ``y = -x``. Result: ``(a, -b)`` on the other side. Exact: always (ONNX Neg-1, 6, 13)."""
    return Taken({0: Placed.over(Affine(placed.affine.scale, -placed.affine.shift), placed.axes, placed.sizes)})


@pull("Relu", "LeakyRelu", "PRelu", several_axes=True)
@push("Relu", "LeakyRelu", "PRelu", several_axes=True)
def carry_rectifier(op: Operator, placed: Placed) -> Taken | Refusal:
    """A rectifier: linear on either side of zero.

    Given: ``y = r(x)`` with ``r(a x) = a r(x)`` for every ``a >= 0``; the slopes do not matter, PRelu's is per channel.
    Result: the same map on the other side.
    Exact: iff ``a >= 0`` and ``b = 0`` (ONNX Relu-1 to 14, LeakyRelu-1 to 16, PRelu-1 to 16).
    """
    if not placed.affine.is_scaling:
        return op.refuse("shift", "bends at zero, and a shift would move the bend; only a scale can pass it")
    if not placed.affine.is_nonnegative:
        return op.refuse("negative-scale", "bends at zero, and a negative scale would bend the other side")
    return Taken({0: placed})


@pull("Cast", several_axes=True)
def pull_cast(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Cast from one floating point type to another.

    Given: ``y = Cast(x)``, both floats. Result: the same map on x, now rounded in x's type.
    Exact: equal in real arithmetic; said in a remark when the types differ (ONNX Cast-1 to 28).
    """
    types = _cast_types(op)
    if isinstance(types, Refusal):
        return types
    given, wanted = (type_name(kind) for kind in types)
    remark = f"folded through Cast '{op.node.label}': rounded in {given}, then cast to {wanted}"
    return Taken({0: placed}, remarks=() if given == wanted else (remark,))


@push("Cast", several_axes=True)
def push_cast(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Cast from one floating point type to another.

    Given: ``y = Cast(x)``, both floats, x with a map. Result: the same map on y, now applied in y's type.
    Exact: as for `pull_cast`.
    """
    types = _cast_types(op)
    if isinstance(types, Refusal):
        return types
    given, wanted = (type_name(kind) for kind in types)
    remark = f"folded through Cast '{op.node.label}': cast from {given} to {wanted}, then rounded there"
    return Taken({0: placed}, remarks=() if given == wanted else (remark,))


def _cast_types(op: Operator) -> tuple[int, int] | Refusal:
    """The element types before and after; a refusal where one of them is no float."""
    to = op.attribute("to")
    wanted = int(to) if op.node.since_version >= 6 else TensorProto.DataType.Value(to)
    given = op.shapes.elem_type(op.input(0))
    if wanted not in FLOATS or given not in FLOATS:
        known = type_name(given) if given else "an unknown type"
        return op.refuse("type", f"casts {known} to {type_name(wanted)}, and a map passes only from float to float")
    return given, wanted


@pull("Clip", since=11)
def pull_clip(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Clip whose bounds are inputs.

    Given: ``y = min(max(x, lo), hi)``, lo and hi scalars; a and b the same in every channel.
    Result: the same map on x; ``lo' = a lo + b``, ``hi' = a hi + b``, swapped for ``a < 0``.
    Exact: iff a != 0 and both bounds are constants, lo <= hi (ONNX Clip-11, 12, 13).
    """
    return _clip(op, placed, _bounds_map(placed, pushed=False))


@push("Clip", since=11)
def push_clip(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Clip whose bounds are inputs.

    Given: ``y = min(max(x, lo), hi)``, lo and hi scalars; x with a map, a and b the same in every channel.
    Result: the same map on y; ``lo' = (lo - b) / a``, ``hi' = (hi - b) / a``, swapped for ``a < 0``.
    Exact: as for `pull_clip`.
    """
    return _clip(op, placed, _bounds_map(placed, pushed=True))


@pull("Clip", since=1)
def pull_clip_attributes(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Clip whose bounds are attributes.

    Given: ``y = min(max(x, lo), hi)``, lo and hi attributes; a and b the same in every channel.
    Result: as for `pull_clip`.
    Exact: iff a != 0 and lo <= hi (ONNX Clip-1, 6).
    """
    return _clip_attributes(op, placed, _bounds_map(placed, pushed=False))


@push("Clip", since=1)
def push_clip_attributes(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Clip whose bounds are attributes.

    Given: ``y = min(max(x, lo), hi)``, lo and hi attributes; x with a map, a and b the same in every channel.
    Result: as for `push_clip`.
    Exact: as for `pull_clip_attributes`.
    """
    return _clip_attributes(op, placed, _bounds_map(placed, pushed=True))


def _bounds_map(placed: Placed, *, pushed: bool) -> Affine:
    """What the bounds become: the map itself when it is pulled, its inverse when it is pushed."""
    if not pushed:
        return placed.affine
    with np.errstate(all="ignore"):  # a scale of zero is refused, and so is a bound that is not finite
        return Affine(1.0 / placed.affine.scale, -placed.affine.shift / placed.affine.scale)


def _clip(op: Operator, placed: Placed, bounds_map: Affine) -> Taken | Refusal:
    """The map on the other side, and the bounds under theirs."""
    bounds = _clip_bounds(op)
    if isinstance(bounds, Refusal):
        return bounds
    refusal = _refuse_clip(op, placed, bounds)
    if refusal is not None:
        return refusal
    scale, shift = (vector.reshape(()) for vector in (bounds_map.scale, bounds_map.shift))
    sources = {1: 1, 2: 2} if scale > 0 else {1: 2, 2: 1}
    constants = {
        index: Rescale(scale, shift, of=source) if bounds[source - 1] is not None else None
        for index, source in sources.items()
        if bounds[source - 1] is not None or op.has(index)
    }
    return Taken({0: placed}, constants)


def _clip_attributes(op: Operator, placed: Placed, bounds_map: Affine) -> Taken | Refusal:
    """As `_clip`, with bounds that are attributes."""
    end = largest(TensorProto.FLOAT)
    stated = (float(op.attribute("min", -end)), float(op.attribute("max", end)))
    bounds = tuple(bound if abs(bound) < end else None for bound in stated)
    refusal = _refuse_clip(op, placed, bounds)
    if refusal is not None:
        return refusal
    scale, shift = float(bounds_map.scale[0]), float(bounds_map.shift[0])
    moved = [None if bound is None else scale * bound + shift for bound in bounds]
    lower, upper = moved if scale > 0 else reversed(moved)
    return Taken({0: placed}, attributes={"min": lower, "max": upper})


def _clip_bounds(op: Operator) -> tuple[float | None, ...] | Refusal:
    """(lower, upper); None for a bound that is omitted, or beyond every number of its type."""
    bounds: list[float | None] = []
    for index in (1, 2):
        if not op.has(index):
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
