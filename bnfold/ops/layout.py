"""Operators that move elements and compute nothing: Transpose, Reshape, Flatten, Squeeze, Unsqueeze, ..."""

from __future__ import annotations

from math import gcd, prod

from bnfold.affine import Affine
from bnfold.model.shapes import Shape
from bnfold.ops.registry import pull, push
from bnfold.ops.rule import Operator, Placed, Refusal, Taken

_Sources = list[int | None]
"""Per axis of the output, the axis of the input that it is; None for a new one of size 1."""


@pull("Transpose", "Squeeze", "Unsqueeze")
def pull_axes(op: Operator, placed: Placed) -> Taken | Refusal:
    """Axes in another order, without some of size 1, or with new ones of size 1.

    Given: axis k of y is axis ``s[k]`` of x; for Transpose ``s = perm``. Result: the same map on axis ``s[axis]`` of x.
    Exact: always (ONNX Transpose-1, 13, 21; Squeeze and Unsqueeze-1, 11, 13, 21).
    """
    sources = [0] if placed.is_uniform else _source_axes(op)
    if isinstance(sources, Refusal):
        return sources
    source = sources[placed.axis] if placed.axis < len(sources) else None
    return _refuse_single(op, placed) if source is None else Taken({0: placed.on(source)})


@push("Transpose", "Squeeze", "Unsqueeze")
def push_axes(op: Operator, placed: Placed) -> Taken | Refusal:
    """Axes in another order, without some of size 1, or with new ones of size 1.

    Given: axis k of y is axis ``s[k]`` of x, which has a map. Result: the same map on the axis k with ``s[k] = axis``.
    Exact: always, as for `pull_axes`.
    """
    sources = [0] if placed.is_uniform else _source_axes(op)
    if isinstance(sources, Refusal):
        return sources
    return Taken({0: placed.on(sources.index(placed.axis))}) if placed.axis in sources else _refuse_single(op, placed)


def _refuse_single(op: Operator, placed: Placed) -> Refusal:
    return op.refuse("channels", f"has axis {placed.axis} on one side only, of size 1, and the affine more channels")


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


@pull("Reshape", "Flatten")
def pull_reshape(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Reshape or Flatten.

    Given: y holds the elements of x in the same (C) order. Result: the map spread over the axes of y that x's axes
    became, and read off along x's: ``np.repeat(a, H*W)`` becomes ``a`` when (C, H, W) was flattened.
    Exact: iff it varies along one axis of x only, and the sizes that matter are static (Reshape-1, 5, 13, 14, 19;
    Flatten-1, 9, 11, 13).
    """
    before, after = _shapes(op)
    return _reshaped(op, placed, after, before)


@push("Reshape", "Flatten")
def push_reshape(op: Operator, placed: Placed) -> Taken | Refusal:
    """A Reshape or Flatten.

    Given: y holds the elements of x, which has a map, in the same (C) order. Result: the map spread over the axes of x,
    and read off along those of y: ``a`` becomes ``np.repeat(a, H*W)`` when (C, H, W) is flattened.
    Exact: iff it varies along one axis of y only, and as for `pull_reshape`.
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
    moved = _through_reshape(placed, shape, to)
    if moved is None:
        before, after = _shapes(op)
        text = f"reshapes {_text(before)} to {_text(after)}, across which one map per channel does not carry"
        return op.refuse("reshape", text)
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


def _text(shape: Shape | None) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape or ()) + ")"


@pull("DepthToSpace")
@push("SpaceToDepth")
def spread_over_depth(op: Operator, placed: Placed) -> Taken | Refusal:
    """Channels become blocks of space or the other way round, the map lies where the space is.

    Given: wide ``[N, C, H*b, W*b]`` with the map, and deep ``[N, C*b*b, H, W]``. Result: deep channel
    ``(i*b + j)*C + c`` (mode DCR) or ``c*b*b + i*b + j`` (CRD) gets the map of channel c: a tile, or runs.
    Exact: always (DepthToSpace-1, 11, 13, 28; SpaceToDepth-1, 13, 28, which brought the mode).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    if placed.axis != 1:
        return op.refuse("axis", f"moves elements along axis {placed.axis}, along which the affine differs")
    area = int(op.attribute("blocksize")) ** 2
    spread = placed.affine.repeat(area) if op.attribute("mode", "DCR") == "CRD" else placed.affine.tile(area)
    return Taken({0: Placed(spread, 1)})


@pull("SpaceToDepth")
@push("DepthToSpace")
def gather_from_depth(op: Operator, placed: Placed) -> Taken | Refusal:
    """Blocks of space become channels or the other way round, the map lies where the depth is.

    Given: as for `spread_over_depth`, but the deep side has the map. Result: channel c of the wide side gets the one
    that all its places have. Exact: iff the b*b places of a block have the same map.
    """
    if placed.is_uniform:
        return Taken({0: placed})
    area = int(op.attribute("blocksize")) ** 2
    if placed.axis != 1 or placed.affine.channels % area:
        return op.refuse("axis", f"moves elements along axis {placed.axis}, along which the affine differs")
    channels, runs = placed.affine.channels, op.attribute("mode", "DCR") == "CRD"
    moved = placed.affine.moved((channels,), 0, (channels // area, area) if runs else (area, channels // area))
    if moved is None or moved[1] != (0 if runs else 1):
        return op.refuse("reshape", "moves channels to the places of a block, and the affine differs between those")
    return Taken({0: Placed(moved[0], 1)})
