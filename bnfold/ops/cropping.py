"""Operators that take a part of a value, or put a border around it: Slice, Pad."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnfold.affine import Affine
from bnfold.ops.registry import pull, push
from bnfold.ops.rule import NOTHING, Operator, Placed, Refusal, Rescale, Taken


@pull("Slice")
def pull_slice(op: Operator, placed: Placed) -> Taken | Refusal:
    """Part of a value.

    Given: ``y = x[start:end:step]`` along some axes. Result: the same map on x; where the channels are sliced, the
    identity on the channels that y does not have.
    Exact: always; the bounds must be constant where they concern the channel axis (ONNX Slice-1, 10, 11, 13).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    bounds = _slice_bounds(op, placed.axis)
    if isinstance(bounds, Refusal):
        return bounds
    if bounds is None:
        return Taken({0: placed})
    channels = op.dim(0, placed.axis)
    if not isinstance(channels, int):
        return op.refuse("unknown-shape", "slices the channels of a value, and their number is not known")
    chosen = np.arange(channels)[bounds]
    if chosen.size != placed.affine.channels:
        return op.refuse("channels", f"leaves {chosen.size} channels, and the affine has {placed.affine.channels}")
    scale, shift = np.ones(channels), np.zeros(channels)
    scale[chosen], shift[chosen] = placed.affine.scale, placed.affine.shift
    return Taken({0: Placed(Affine(scale, shift), placed.axis)})


@push("Slice")
def push_slice(op: Operator, placed: Placed) -> Taken | Refusal:
    """Part of a value.

    Given: ``y = x[start:end:step]`` along some axes, x with a map. Result: the same map on y; where the channels are
    sliced, the maps of those that y has.
    Exact: always; the bounds must be constant where they concern the channel axis (ONNX Slice-1, 10, 11, 13).
    """
    bounds = None if placed.is_uniform else _slice_bounds(op, placed.axis)
    if isinstance(bounds, Refusal):
        return bounds
    if bounds is None:
        return Taken({0: placed})
    chosen = np.arange(placed.affine.channels)[bounds]
    if not chosen.size:
        return op.refuse("channels", "leaves none of the channels")
    return Taken({0: Placed.of(placed.affine.take(chosen), placed.axis)})


def _slice_bounds(op: Operator, axis: int) -> slice | Refusal | None:
    """The slice along `axis`, None when that axis is left whole."""
    parts = _slice_parts(op)
    if isinstance(parts, Refusal):
        return parts
    starts, ends, axes, steps = parts
    rank = op.rank(0)
    if axes is not None and any(a < 0 for a in axes) and rank is None:
        return op.refuse("unknown-shape", "counts its axes from the end of a value whose rank is not known")
    places = range(axis + 1) if axes is None else [a % rank if rank else a for a in axes]
    if axis not in places:
        return None
    place = list(places).index(axis)
    if starts is None or ends is None or steps is None:
        return op.refuse("dynamic-slice", "slices the channels between bounds that are no constants")
    if place >= len(starts):
        return None
    if not len(starts) == len(ends) == len(steps) or not steps[place]:
        return op.refuse("malformed", "has a step of zero, or lists of bounds of different lengths")
    return slice(starts[place], ends[place], steps[place])


_Numbers = list[int] | None


def _slice_parts(op: Operator) -> tuple[_Numbers, _Numbers, _Numbers, _Numbers] | Refusal:
    """(starts, ends, axes, steps); None for what is no constant, and for axes that are not stated."""
    if op.node.since_version < 10:
        starts, ends, axes = (op.attribute(name) for name in ("starts", "ends", "axes"))
        return list(starts), list(ends), None if axes is None else list(axes), [1] * len(starts)
    starts, ends, axes, steps = (_numbers(op, index) for index in (1, 2, 3, 4))
    if op.input(3) is not None and axes is None:
        return op.refuse("dynamic-axes", "slices along axes that are no constant")
    if op.input(4) is None:
        steps = [1] * len(starts or axes or ())
    return starts, ends, axes, steps


def _numbers(op: Operator, index: int) -> list[int] | None:
    constant = op.constant(index)
    return None if constant is None else [int(n) for n in constant.values.reshape(-1)]


@pull("Pad")
def pull_pad(op: Operator, placed: Placed) -> Taken | Refusal:
    """A border around a value.

    Given: ``y = Pad(x)``. Result: the same map on x; a constant border ``c`` becomes ``a c + b``.
    Exact: for reflect, edge and wrap, off the channel axis; for a constant iff ``a c + b`` is the same number in every
    channel (ONNX Pad-1, 2, 11, 13, 18 to 25).
    """
    return _pad(op, placed, pushed=False)


@push("Pad")
def push_pad(op: Operator, placed: Placed) -> Taken | Refusal:
    """A border around a value.

    Given: ``y = Pad(x)``, x with a map. Result: the same map on y; a constant border ``c`` becomes ``(c - b) / a``.
    Exact: for reflect, edge and wrap, off the channel axis; for a constant iff ``a c + b = c`` in every channel, so
    that it stays, or ``(c - b) / a`` is the same number in every channel (ONNX Pad-1, 2, 11, 13, 18 to 25).
    """
    return _pad(op, placed, pushed=True)


def _pad(op: Operator, placed: Placed, *, pushed: bool) -> Taken | Refusal:
    """The map on the other side, and the border that makes up for it."""
    pads = _pads(op, placed)
    if isinstance(pads, Refusal):
        return pads
    if not any(pad > 0 for pad in pads) or op.attribute("mode", "constant") != "constant":
        return Taken({0: placed})
    border = _border(op)
    if border is None:
        return op.refuse("dynamic-pad", "pads with a value that is no constant")
    scale, shift = placed.affine.scale, placed.affine.shift
    with np.errstate(invalid="ignore"):  # 0 * inf is no number, and equal to none
        wanted = scale * border + shift  # [C]
    if np.all(wanted == border):
        return Taken({0: placed})
    if pushed and np.any(scale == 0.0):
        return op.refuse("zero-scale", f"pads with {border:g}, and behind a scale of zero no border makes that")
    if pushed:
        wanted = (border - shift) / scale
    if not np.all(wanted == wanted[0]):
        return op.refuse("shift", f"pads with {border:g}, which would have to differ from channel to channel")
    return _with_border(op, placed, float(wanted[0]))


def _with_border(op: Operator, placed: Placed, border: float) -> Taken | Refusal:
    if op.node.since_version < 11:
        return Taken({0: placed}, attributes={"value": border})
    return Taken({0: placed}, {2: Rescale(np.zeros(()), np.asarray(border, np.float64), of=NOTHING)})


def _border(op: Operator) -> float | None:
    """The constant that is padded with; None when it is no constant."""
    if op.node.since_version < 11:
        return float(op.attribute("value", 0.0))
    if not op.has(2):
        return 0.0
    constant = op.constant(2)
    return None if constant is None or constant.wide.size != 1 else float(constant.wide.reshape(()))


def _pads(op: Operator, placed: Placed) -> Sequence[int] | Refusal:
    """All pads; a refusal where the channel axis is padded, or that can not be known."""
    if op.node.since_version < 11:
        stated = op.attribute("pads") if op.node.since_version >= 2 else op.attribute("paddings")
        pads = None if stated is None else list(stated)
    else:
        pads = _numbers(op, 1)
    if pads is None:
        return op.refuse("dynamic-pad", "pads by amounts that are no constants")
    if placed.is_uniform:
        return pads
    axes = _numbers(op, 3) if op.input(3) is not None else list(range(len(pads) // 2))
    rank = op.rank(0)
    if axes is None or rank is None:
        return op.refuse("unknown-shape", "pads along axes that are not known")
    half = len(pads) // 2
    if len(pads) != 2 * len(axes):
        return op.refuse("malformed", f"has {len(pads)} pads for {len(axes)} axes")
    padded = {axis % rank for k, axis in enumerate(axes) if pads[k] or pads[k + half]}
    if placed.axis in padded:
        return op.refuse("axis", f"pads along axis {placed.axis}, along which the affine differs")
    return pads
