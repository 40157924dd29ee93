"""Operators that move elements and compute nothing: Transpose, Reshape, Flatten, Squeeze, Unsqueeze, Slice, Pad, ..."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod

import numpy as np

from bnfold.affine import Affine
from bnfold.model.shapes import Shape
from bnfold.ops.registry import pull
from bnfold.ops.rule import NOTHING, Operator, Placed, Refusal, Rescale, Taken


@pull("Transpose")
def pull_transpose(op: Operator, placed: Placed) -> Taken | Refusal:
    """Axes in another order.

    Given: ``y = Transpose(x, perm)``. Result: the same map on axis ``perm[axis]`` of x.
    Exact: always (ONNX Transpose-1, 13, 21).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    perm = op.attribute("perm")
    if perm is None:
        rank = op.rank(0)
        if rank is None:
            return op.refuse("unknown-shape", "reverses the axes of a value whose rank is not known")
        perm = list(reversed(range(rank)))
    return Taken({0: placed.on(perm[placed.axis])})


@pull("Squeeze")
def pull_squeeze(op: Operator, placed: Placed) -> Taken | Refusal:
    """Fewer axes.

    Given: y is x without some axes of size 1. Result: the same map on the axis that it was.
    Exact: always (ONNX Squeeze-1, 11, 13, 21).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    shape, axes = op.shape(0), _axes(op)
    if isinstance(axes, Refusal):
        return axes
    if axes == []:
        return op.refuse("dynamic-axes", "squeezes an empty list of axes: none, or all of size 1, as the runtime likes")
    if shape is None or (axes is None and not all(isinstance(size, int) for size in shape)):
        return op.refuse("unknown-shape", "squeezes a value whose shape is not known")
    squeezed = {axis % len(shape) for axis in axes} if axes is not None else {k for k, n in enumerate(shape) if n == 1}
    kept = [axis for axis in range(len(shape)) if axis not in squeezed]
    return Taken({0: placed.on(kept[placed.axis])})


@pull("Unsqueeze")
def pull_unsqueeze(op: Operator, placed: Placed) -> Taken | Refusal:
    """More axes.

    Given: y is x with new axes of size 1. Result: the same map on the axis that it was.
    Exact: always (ONNX Unsqueeze-1, 11, 13, 21).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    axes, rank = _axes(op), op.output_rank()
    if isinstance(axes, Refusal):
        return axes
    if rank is None or axes is None:
        return op.refuse("unknown-shape", "unsqueezes a value whose rank is not known")
    new = {axis % rank for axis in axes}
    if placed.axis in new:
        return op.refuse("channels", f"makes axis {placed.axis} of size 1, and the affine has more channels")
    return Taken({0: placed.on(placed.axis - sum(axis < placed.axis for axis in new))})


def _axes(op: Operator) -> list[int] | Refusal | None:
    """Axes of Squeeze and Unsqueeze: an attribute before opset 13, an input from then on; None when not stated."""
    if op.node.since_version < 13:
        axes = op.attribute("axes")
        return None if axes is None else list(axes)
    if op.input(1) is None:
        return None
    constant = op.constant(1)
    if constant is None:
        return op.refuse("dynamic-axes", "takes axes that are no constant")
    return [int(axis) for axis in constant.values.reshape(-1)]


@pull("Reshape", "Flatten")
def pull_reshape(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Reshape or Flatten.

    Given: y holds the elements of x in the same (C) order. Result: the map spread over the axes of y that x's axes
    became, and read off along x's: ``np.repeat(a, H*W)`` becomes ``a`` when (C, H, W) was flattened.
    Exact: iff it varies along one axis of x only, and the sizes that matter are static (Reshape-1, 5, 13, 14, 19;
    Flatten-1, 9, 11, 13).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    before, after = op.shape(0), op.output_shape() or _stated_shape(op)
    if before is None or after is None:
        return op.refuse("unknown-shape", "reshapes a value whose shape is not known")
    moved = _through_reshape(placed, after, before)
    if moved is None:
        return op.refuse(
            "reshape", f"reshapes {_text(before)} to {_text(after)}, across which one map per channel does not carry"
        )
    return Taken({0: moved})


def _stated_shape(op: Operator) -> Shape | None:
    """The shape that Reshape-1 states as an attribute, which onnx infers nothing from."""
    before, stated = op.shape(0), op.attribute("shape")
    if before is None or stated is None or any(size == 0 and k >= len(before) for k, size in enumerate(stated)):
        return None
    return tuple(before[k] if size == 0 else size if size > 0 else None for k, size in enumerate(stated))


def _through_reshape(placed: Placed, shape: Shape, to: Shape) -> Placed | None:
    """The map on a value of `shape`, on the same elements in shape `to`; None when it is no per-channel map there.

    Equal sizes at the front and at the back are the same axes; only what lies between is mixed.
    """
    front = _common(shape, to)
    back = min(_common(shape[::-1], to[::-1]), len(shape) - front, len(to) - front)
    if placed.axis < front:
        return placed
    if placed.axis >= len(shape) - back:
        return placed.on(placed.axis - len(shape) + len(to))
    middle, middle_to = _completed(shape[front : len(shape) - back], to[front : len(to) - back])
    if middle is None or middle_to is None or prod(middle) != prod(middle_to):
        return _with_an_unknown_front(placed, shape, to)
    if middle[placed.axis - front] != placed.affine.channels:
        return None
    moved = _moved(placed.affine, middle, placed.axis - front, middle_to)
    return None if moved is None else Placed.of(moved[0], moved[1] + front)


def _moved(affine: Affine, shape: list[int], axis: int, to: list[int]) -> tuple[Affine, int] | None:
    """As `Affine.moved`, without spreading the map over places of one channel that stay next to each other.

    Elements that share a channel come in runs, the product of the sizes behind it. What the last sizes of `to` have in
    common with a run is divided out, so that (C, H, W) to (G, C/G*H*W) costs C numbers and not C*H*W.
    """
    run, sizes, shared = prod(shape[axis + 1 :]), list(to), [1] * len(to)
    for k in reversed(range(len(sizes))):
        shared[k] = gcd(run, sizes[k])
        run, sizes[k] = run // shared[k], sizes[k] // shared[k]
        if sizes[k] > 1:
            break
    moved = affine.moved((prod(shape[:axis]), affine.channels, run), 1, sizes)
    return None if moved is None else (moved[0].repeat(shared[moved[1]]), moved[1])


def _completed(one: Shape, other: Shape) -> tuple[list[int] | None, list[int] | None]:
    """Both shapes of the same elements, as numbers: where one is known, it tells a single unknown size of the other."""
    whole, whole_other = _static(one), _static(other)
    if whole is None and whole_other is not None:
        return _with_elements(one, prod(whole_other)), whole_other
    if whole is not None and whole_other is None:
        return whole, _with_elements(other, prod(whole))
    return whole, whole_other


def _with_elements(shape: Shape, count: int) -> list[int] | None:
    """The shape with its one unknown size chosen so that it has `count` elements."""
    known = prod(size for size in shape if isinstance(size, int))
    sizes = [size if isinstance(size, int) else count // max(known, 1) for size in shape]
    return sizes if prod(sizes) == count and sum(not isinstance(size, int) for size in shape) == 1 else None


def _with_an_unknown_front(placed: Placed, shape: Shape, to: Shape) -> Placed | None:
    """As `_through_reshape` where the first size is unknown on both sides and all the others agree in their product.

    Then the first sizes are equal too: a reshape keeps the number of elements.
    """
    rest, rest_to = _static(shape[1:]), _static(to[1:])
    if placed.axis == 0 or rest is None or rest_to is None or prod(rest) != prod(rest_to) or prod(rest) == 0:
        return None
    if rest[placed.axis - 1] != placed.affine.channels:
        return None
    moved = _moved(placed.affine, rest, placed.axis - 1, rest_to)
    return None if moved is None else Placed.of(moved[0], moved[1] + 1)


def _common(one: Shape, other: Shape) -> int:
    """How many sizes at the front are known to be equal."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a is None or a != b:
            break
        count += 1
    return count


def _static(shape: Shape) -> list[int] | None:
    sizes = [size for size in shape if isinstance(size, int)]
    return sizes if len(sizes) == len(shape) else None


def _text(shape: Shape) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


@pull("DepthToSpace")
def pull_depth_to_space(op: Operator, placed: Placed) -> Taken | Refusal:
    """Channels become blocks of space.

    Given: ``x: [N, C*b*b, H, W]``, ``y: [N, C, H*b, W*b]``. Result: channel ``(i*b + j)*C + c`` of x (mode DCR) or
    ``c*b*b + i*b + j`` (CRD) gets the map of channel c: a tile, or runs. Exact: always (DepthToSpace-1, 11, 13, 28).
    """
    if not placed.is_uniform and placed.axis != 1:
        return op.refuse("axis", f"moves elements along axis {placed.axis}, along which the affine differs")
    area = int(op.attribute("blocksize")) ** 2
    if placed.is_uniform:
        return Taken({0: placed})
    spread = placed.affine.repeat(area) if op.attribute("mode", "DCR") == "CRD" else placed.affine.tile(area)
    return Taken({0: Placed(spread, 1)})


@pull("SpaceToDepth")
def pull_space_to_depth(op: Operator, placed: Placed) -> Taken | Refusal:
    """Blocks of space become channels.

    Given: ``x: [N, C, H*b, W*b]``, ``y: [N, b*b*C, H, W]``, channel ``(i*b + j)*C + c`` (mode DCR) or
    ``c*b*b + i*b + j`` (CRD). Result: the map of channel c.
    Exact: iff all b*b places of a block have the same map (SpaceToDepth-1, 13, 28, which brought the mode).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    area = int(op.attribute("blocksize")) ** 2
    if placed.axis != 1 or placed.affine.channels % area:
        return op.refuse("axis", f"moves elements along axis {placed.axis}, along which the affine differs")
    channels, runs = placed.affine.channels, op.attribute("mode", "DCR") == "CRD"
    moved = placed.affine.moved((channels,), 0, (channels // area, area) if runs else (area, channels // area))
    if moved is None or moved[1] != (0 if runs else 1):
        return op.refuse("reshape", "makes channels of the places of a block, and the affine differs between those")
    return Taken({0: Placed(moved[0], 1)})


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
    pads = _pads(op, placed)
    if isinstance(pads, Refusal):
        return pads
    if not any(pad > 0 for pad in pads):
        return Taken({0: placed})
    if op.attribute("mode", "constant") != "constant":
        return Taken({0: placed})
    return _pull_constant_border(op, placed)


def _pull_constant_border(op: Operator, placed: Placed) -> Taken | Refusal:
    border = _border(op)
    if border is None:
        return op.refuse("dynamic-pad", "pads with a value that is no constant")
    wanted = placed.affine(np.full(placed.affine.channels, border))  # [C]
    if np.all(wanted == border):
        return Taken({0: placed})
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
    if op.input(2) is None:
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
    axes = _numbers(op, 3) if op.input(3) is not None else list(range(len(pads) // 2))
    rank = op.rank(0)
    if axes is None or rank is None:
        return op.refuse("unknown-shape", "pads along axes that are not known")
    half = len(pads) // 2
    if len(pads) != 2 * len(axes):
        return op.refuse("malformed", f"has {len(pads)} pads for {len(axes)} axes")
    padded = {axis % rank for k, axis in enumerate(axes) if pads[k] or pads[k + half]}
    if placed.axis in padded and not placed.is_uniform:
        return op.refuse("axis", f"pads along axis {placed.axis}, along which the affine differs")
    return pads
