"""Operators that gather many elements of one channel into one: pooling and reductions over other axes."""

from __future__ import annotations

from math import prod

from bnfold.affine import Affine
from bnfold.ops.registry import pull, push
from bnfold.ops.rule import Operator, Placed, Refusal, Taken
from bnfold.ops.windows import STATIC_SPACE, has_static_space, padding


@pull("MaxPool", "GlobalMaxPool")
@push("MaxPool", "GlobalMaxPool")
def carry_max_pool(op: Operator, placed: Placed) -> Taken | Refusal:
    """A maximum over space.

    Given: ``y = max over a window of x``, padded with -inf. Result: the same map on the other side.
    Exact: iff ``a >= 0``, whatever b, pads and ceil_mode; ``a > 0`` when the indices are used, which a zero scale would
    tie (ONNX MaxPool-1, 8, 10, 11, 12, 22, GlobalMaxPool-1, 22).
    """
    refusal = _refuse_spatial(op, placed)
    if refusal is not None:
        return refusal
    if not placed.affine.is_nonnegative:
        return op.refuse("negative-scale", "goes by the order of values, which a negative scale turns around")
    if op.uses_output(1) and not (placed.affine.scale > 0).all():
        return op.refuse("zero-scale", "gives the places of its maxima, and a zero scale makes all places equal")
    return Taken({0: placed})


@pull("AveragePool")
@push("AveragePool")
def carry_average_pool(op: Operator, placed: Placed) -> Taken | Refusal:
    """A mean over space.

    Given: ``y = mean over a window of x``. Result: the same map on the other side.
    Exact: always where only x is averaged; where zeros of the padding are counted too (``count_include_pad = 1`` with
    padding that takes effect, or windows that ``ceil_mode`` lets reach beyond x) iff ``b = 0``
    (ONNX AveragePool-1, 7, 10, 11, 19, 22).
    """
    refusal = _refuse_spatial(op, placed)
    if refusal is not None:
        return refusal
    if op.attribute("count_include_pad", 0) and _pads(op) and not placed.affine.is_scaling:
        refusal = op.refuse("shift", "averages zeros of its padding too, to which a shift would not be added")
        return refusal if has_static_space(op) else refusal.unblocked_by(STATIC_SPACE)
    return Taken({0: placed})


def _pads(op: Operator) -> bool:
    """Whether a window may reach beyond x; where that depends on a size of x that is not static, yes."""
    kernel = op.attribute("kernel_shape")
    reached = padding(op, kernel) if kernel else None
    return reached is None or any(pads != (0, 0) for pads in reached)


@pull("GlobalAveragePool")
@push("GlobalAveragePool")
def carry_global_average_pool(op: Operator, placed: Placed) -> Taken | Refusal:
    """A mean over all of space.

    Given: ``y = mean over space of x``. Result: the same map on the other side.
    Exact: always (ONNX GlobalAveragePool-1, 22).
    """
    return _refuse_spatial(op, placed) or Taken({0: placed})


@pull("LpPool", "GlobalLpPool")
@push("LpPool", "GlobalLpPool")
def carry_lp_pool(op: Operator, placed: Placed) -> Taken | Refusal:
    """A norm over space.

    Given: ``y = (sum over a window of |x|^p)^(1/p)``. Result: the same map on the other side.
    Exact: iff ``a >= 0`` and ``b = 0`` (ONNX LpPool-1, 2, 11, 18, 22, GlobalLpPool-1, 2, 22).
    """
    refusal = _refuse_spatial(op, placed)
    if refusal is not None:
        return refusal
    if not placed.affine.is_scaling:
        return op.refuse("shift", "takes a norm, which a shift would change")
    if not placed.affine.is_nonnegative:
        return op.refuse("negative-scale", "takes a norm, which is never negative")
    return Taken({0: placed})


def _refuse_spatial(op: Operator, placed: Placed) -> Refusal | None:
    """Pooling mixes the axes from 2 on: a map that varies along one of them can not pass."""
    if placed.is_uniform or placed.axis < 2:
        return None
    return op.refuse("axis", f"pools over axis {placed.axis}, along which the affine differs")


@pull("ReduceMean")
def pull_reduce_mean(op: Operator, placed: Placed) -> Taken | Refusal:
    """A mean over chosen axes.

    Given: ``y = mean of x over axes``. Result: the same map on x, on the axis that it had there.
    Exact: iff the channel axis is not among the axes, or the map is uniform (ONNX ReduceMean-1, 11, 13, 18).
    """
    return _moves(_before(op, placed))


@push("ReduceMean")
def push_reduce_mean(op: Operator, placed: Placed) -> Taken | Refusal:
    """A mean over chosen axes.

    Given: ``y = mean of x over axes``, x with a map. Result: the same map on y, on the axis that it has there.
    Exact: as for `pull_reduce_mean`.
    """
    return _moves(_behind(op, placed))


@pull("ReduceMax", "ReduceMin")
def pull_reduce_max(op: Operator, placed: Placed) -> Taken | Refusal:
    """A maximum or minimum over chosen axes.

    Given: ``y = max of x over axes``, or ``min``. Result: the same map on x, on the axis that it had there.
    Exact: iff ``a >= 0``, and the channel axis is not among the axes, or the map is uniform
    (ONNX ReduceMax-1, 11, 12, 13, 18, 20, ReduceMin-1, 11, 12, 13, 18, 20).
    """
    return _refuse_minima(op, placed) or _moves(_before(op, placed))


@push("ReduceMax", "ReduceMin")
def push_reduce_max(op: Operator, placed: Placed) -> Taken | Refusal:
    """A maximum or minimum over chosen axes.

    Given: ``y = max of x over axes``, or ``min``, x with a map. Result: the same map on y, on its axis there.
    Exact: as for `pull_reduce_max`.
    """
    return _refuse_minima(op, placed) or _moves(_behind(op, placed))


def _refuse_minima(op: Operator, placed: Placed) -> Refusal | None:
    if placed.affine.is_nonnegative:
        return None
    return op.refuse("negative-scale", "goes by the order of values, which a negative scale turns around")


@pull("ReduceSum")
def pull_reduce_sum(op: Operator, placed: Placed) -> Taken | Refusal:
    """A sum over chosen axes.

    Given: ``y = sum of x over axes``, n terms. Result: ``(a, b / n)`` on x.
    Exact: iff the channel axis is not among the axes (or the map is uniform), and b = 0 or n is static
    (ONNX ReduceSum-1, 11, 13).
    """
    source, count = _before(op, placed), _terms(op, placed)
    if isinstance(source, Refusal):
        return source
    if isinstance(count, Refusal):
        return count
    return Taken({0: Placed(Affine(source.affine.scale, source.affine.shift / count), source.axis)})


@push("ReduceSum")
def push_reduce_sum(op: Operator, placed: Placed) -> Taken | Refusal:
    """A sum over chosen axes.

    Given: ``y = sum of x over axes``, n terms, x with a map. Result: ``(a, n b)`` on y.
    Exact: as for `pull_reduce_sum`.
    """
    target, count = _behind(op, placed), _terms(op, placed)
    if isinstance(target, Refusal):
        return target
    if isinstance(count, Refusal):
        return count
    return Taken({0: Placed(Affine(target.affine.scale, target.affine.shift * count), target.axis)})


def _reduced_axes(op: Operator) -> list[int] | Refusal:
    """The axes as the node states them; an empty list means all."""
    since = 13 if op.node.op_type == "ReduceSum" else 18
    if op.node.since_version < since:
        return list(op.attribute("axes") or ())
    if op.input(1) is None:
        return []
    axes = op.constant(1)
    if axes is None:
        return op.refuse("dynamic-axes", "reduces over axes that are no constant")
    return [int(axis) for axis in axes.values]


def _moves(moved: Placed | Refusal) -> Taken | Refusal:
    return moved if isinstance(moved, Refusal) else Taken({0: moved})


def _before(op: Operator, placed: Placed) -> Placed | Refusal:
    """The map of the output on the axis that it had before the reduction."""
    axes = _kept_axes(op, placed)
    if isinstance(axes, Refusal):
        return axes
    source = axes[placed.axis] if placed.axis < len(axes) else None
    return _refuse_reduced(op, placed) if source is None else placed.on(source)


def _behind(op: Operator, placed: Placed) -> Placed | Refusal:
    """The map of the input on the axis that it has behind the reduction."""
    axes = _kept_axes(op, placed)
    if isinstance(axes, Refusal):
        return axes
    return placed.on(axes.index(placed.axis)) if placed.axis in axes else _refuse_reduced(op, placed)


def _refuse_reduced(op: Operator, placed: Placed) -> Refusal:
    return op.refuse("axis", f"reduces over axis {placed.axis}, along which the affine differs")


def _kept_axes(op: Operator, placed: Placed) -> list[int | None] | Refusal:
    """Per axis of the output, the axis of the input that it is; None for one that was reduced to size 1.

    As far as the map needs to know: a uniform one moves from axis 0 to axis 0.
    """
    if placed.is_uniform:
        return [0]
    axes = _reduced_axes(op)
    if isinstance(axes, Refusal):
        return axes
    if not axes and op.attribute("noop_with_empty_axes", 0):
        return list(range(placed.axis + 1))
    rank = op.rank(0)
    if rank is None:
        return op.refuse("unknown-shape", "reduces a value whose rank is not known")
    reduced = {axis % rank for axis in axes} or set(range(rank))
    if op.attribute("keepdims", 1):
        return [None if k in reduced else k for k in range(rank)]
    return [k for k in range(rank) if k not in reduced]


def _terms(op: Operator, placed: Placed) -> int | Refusal:
    """How many elements each sum has; 1 where that does not matter, as there is no shift."""
    count = 1 if placed.affine.is_scaling else _count(op)
    if count is None:
        text = "sums a number of elements that is not known, so the shift has no share for each"
        return op.refuse("shift", text).unblocked_by("give the model static sizes along the axes that it sums over")
    return count


def _count(op: Operator) -> int | None:
    """How many elements each sum has; None when a size is not known."""
    shape, axes = op.shape(0), _reduced_axes(op)
    if shape is None or isinstance(axes, Refusal):
        return None
    if not axes and op.attribute("noop_with_empty_axes", 0):
        return 1
    sizes = [shape[axis] for axis in axes] if axes else list(shape)
    known = [size for size in sizes if isinstance(size, int)]
    return prod(known) if len(known) == len(sizes) and prod(known) > 0 else None
