"""Operators that move elements and compute nothing: Transpose, Reshape, Flatten, Squeeze, Unsqueeze, ..."""

from __future__ import annotations

from bnfold.model.shapes import Shape
from bnfold.ops.registry import pull, push
from bnfold.ops.reshaping import through_reshape
from bnfold.ops.rule import Operator, Placed, Refusal, Taken

_Sources = list[int | None]
"""Per axis of the output, the axis of the input that it is; None for a new one of size 1."""


@pull("Transpose", "Squeeze", "Unsqueeze", several_axes=True)
def pull_axes(op: Operator, placed: Placed) -> Taken | Refusal:
    """Axes in another order, without some of size 1, or with new ones of size 1.

    Given: axis k of y is axis ``s[k]`` of x; for Transpose ``s = perm``. Result: the same map on axis ``s[axis]`` of x,
    for each axis that it has. Exact: always (ONNX Transpose-1 to 25, Squeeze-1 to 25, Unsqueeze-1 to 25).
    """
    sources = [0] if placed.is_uniform else _source_axes(op)
    if isinstance(sources, Refusal):
        return sources
    known = [source for axis in placed.axes for source in sources[axis : axis + 1] if source is not None]
    return Taken({0: placed.on(*known)}) if len(known) == len(placed.axes) else _refuse_single(op, placed)


@push("Transpose", "Squeeze", "Unsqueeze", several_axes=True)
def push_axes(op: Operator, placed: Placed) -> Taken | Refusal:
    """Axes in another order, without some of size 1, or with new ones of size 1.

    Given: axis k of y is axis ``s[k]`` of x, which has a map. Result: the same map on the axis k with ``s[k] = axis``,
    for each axis that it has. Exact: as for `pull_axes`.
    """
    sources = [0] if placed.is_uniform else _source_axes(op)
    if isinstance(sources, Refusal):
        return sources
    if not set(placed.axes) <= set(sources):
        return _refuse_single(op, placed)
    return Taken({0: placed.on(*(sources.index(axis) for axis in placed.axes))})


def _refuse_single(op: Operator, placed: Placed) -> Refusal:
    axes = " or ".join(map(str, placed.axes))
    return op.refuse("channels", f"has axis {axes} on one side only, of size 1, and the affine more channels")


def _source_axes(op: Operator) -> _Sources | Refusal:
    return {"Transpose": _transposed, "Squeeze": _squeezed, "Unsqueeze": _unsqueezed}[op.node.op_type](op)


def _transposed(op: Operator) -> _Sources | Refusal:
    perm = op.attribute("perm")
    if perm is not None:
        return list(perm)
    rank = op.rank(0)
    if rank is None:
        return op.refuse("unknown-shape", "reverses the axes of a value whose rank is not known")
    return list(reversed(range(rank)))


def _squeezed(op: Operator) -> _Sources | Refusal:
    shape, axes = op.shape(0), _axes(op)
    if isinstance(axes, Refusal):
        return axes
    if axes == []:
        return op.refuse("dynamic-axes", "squeezes an empty list of axes: none, or all of size 1, as the runtime likes")
    if shape is None or (axes is None and not all(isinstance(size, int) for size in shape)):
        return op.refuse("unknown-shape", "squeezes a value whose shape is not known")
    squeezed = {axis % len(shape) for axis in axes} if axes is not None else {k for k, n in enumerate(shape) if n == 1}
    return [axis for axis in range(len(shape)) if axis not in squeezed]


def _unsqueezed(op: Operator) -> _Sources | Refusal:
    axes, rank = _axes(op), op.output_rank()
    if isinstance(axes, Refusal):
        return axes
    if rank is None or axes is None:
        return op.refuse("unknown-shape", "unsqueezes a value whose rank is not known")
    new = {axis % rank for axis in axes}
    return [None if k in new else k - sum(axis < k for axis in new) for k in range(rank)]


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


@pull("Reshape", "Flatten", several_axes=True)
def pull_reshape(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Reshape or Flatten.

    Given: y holds the elements of x in the same (C) order. Result: the map spread over the axes of y that x's axes
    became, and read off along x's: ``np.repeat(a, H*W)`` becomes ``a`` when (C, H, W) was flattened. Where the channels
    of y are split in x, as (C) to (G, C/G), it is a map over both axes.
    Exact: iff it is a map over axes of x, and the sizes that matter are static; refused where a map over several axes
    would have more numbers than before (ONNX Reshape-1 to 25, Flatten-1 to 25).
    """
    before, after = _shapes(op)
    return _reshaped(op, placed, after, before)


@push("Reshape", "Flatten", several_axes=True)
def push_reshape(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Reshape or Flatten.

    Given: y holds the elements of x, which has a map, in the same (C) order. Result: the map spread over the axes of x,
    and read off along those of y: ``a`` becomes ``np.repeat(a, H*W)`` when (C, H, W) is flattened.
    Exact: iff it is a map over axes of y, and the sizes that matter are static; refused where a map over several axes
    would have more numbers than before (ONNX Reshape-1 to 25, Flatten-1 to 25).
    """
    before, after = _shapes(op)
    return _reshaped(op, placed, before, after)


def _shapes(op: Operator) -> tuple[Shape | None, Shape | None]:
    """The shapes before and after a Reshape or Flatten."""
    return op.shape(0), op.output_shape() or _stated_shape(op)


def _reshaped(op: Operator, placed: Placed, shape: Shape | None, to: Shape | None) -> Taken | Refusal:
    """The map on a value of `shape`, moved to the other side of the operator, which has shape `to`."""
    if placed.is_uniform:
        return Taken({0: placed})
    if shape is None or to is None:
        return op.refuse("unknown-shape", "reshapes a value whose shape is not known")
    moved = through_reshape(placed, shape, to)
    if moved is None:
        before, after = _shapes(op)
        text = f"reshapes {_text(before)} to {_text(after)}, across which the map does not carry"
        return op.refuse("reshape", text)
    return Taken({0: moved})


def _stated_shape(op: Operator) -> Shape | None:
    """The shape that Reshape-1 states as an attribute, which onnx infers nothing from."""
    before, stated = op.shape(0), op.attribute("shape")
    if before is None or stated is None or any(size == 0 and k >= len(before) for k, size in enumerate(stated)):
        return None
    return tuple(before[k] if size == 0 else size if size > 0 else None for k, size in enumerate(stated))


def _text(shape: Shape | None) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape or ()) + ")"


@pull("DepthToSpace")
@push("SpaceToDepth")
def spread_over_depth(op: Operator, placed: Placed) -> Taken | Refusal:
    """Channels become blocks of space or the other way round, the map lies where the space is.

    Given: wide ``[N, C, H*b, W*b]`` with the map, and deep ``[N, C*b*b, H, W]``. Result: deep channel
    ``(i*b + j)*C + c`` (mode DCR) or ``c*b*b + i*b + j`` (CRD) gets the map of channel c: a tile, or runs.
    Exact: always (ONNX DepthToSpace-1, 11, 13, 28, SpaceToDepth-1, 13, 28; only 28 has the latter's mode).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    if placed.axis != 1:
        return op.refuse("axis", f"moves elements along axis {placed.axis}, along which the affine differs")
    if op.attribute("blocksize") < 1:
        return op.refuse("malformed", f"has blocks of size {op.attribute('blocksize')}")
    area = int(op.attribute("blocksize")) ** 2
    spread = placed.affine.repeat(area) if op.attribute("mode", "DCR") == "CRD" else placed.affine.tile(area)
    return Taken({0: Placed(spread, 1)})


@pull("SpaceToDepth")
@push("DepthToSpace")
def gather_from_depth(op: Operator, placed: Placed) -> Taken | Refusal:
    """Blocks of space become channels or the other way round, the map lies where the depth is.

    Given: as for `spread_over_depth`, but the deep side has the map. Result: channel c of the wide side gets the one
    that all its places have.
    Exact: iff the b*b places of a block have the same map (ONNX DepthToSpace-1, 11, 13, 28, SpaceToDepth-1, 13, 28).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    if op.attribute("blocksize") < 1:
        return op.refuse("malformed", f"has blocks of size {op.attribute('blocksize')}")
    area = int(op.attribute("blocksize")) ** 2
    if placed.axis != 1 or placed.affine.channels % area:
        return op.refuse("axis", f"moves elements along axis {placed.axis}, along which the affine differs")
    channels, runs = placed.affine.channels, op.attribute("mode", "DCR") == "CRD"
    moved = placed.affine.moved((channels,), 0, (channels // area, area) if runs else (area, channels // area))
    if moved is None or moved[1] != (0 if runs else 1):
        return op.refuse("reshape", "moves channels to the places of a block, and the affine differs between those")
    return Taken({0: Placed(moved[0], 1)})
