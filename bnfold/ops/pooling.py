"""Operators that gather many elements of one channel into one: pooling and reductions over other axes."""

from __future__ import annotations

from math import prod

from bnfold.affine import Affine
from bnfold.ops.registry import pull
from bnfold.ops.rule import Operator, Placed, Refusal, Taken


@pull("MaxPool", "GlobalMaxPool")
def pull_max_pool(op: Operator, placed: Placed) -> Taken | Refusal:
    """A maximum over space.

    Given: ``y = max over a window of x``, padded with -inf. Result: the same map on x.
    Exact: iff ``a >= 0``, whatever b, pads and ceil_mode; ``a > 0`` when the indices are used, which a zero scale would
    tie (ONNX MaxPool-1, 8, 10, 11, 12, 22, GlobalMaxPool-1).
    """
    refusal = _refuse_spatial(op, placed)
    if refusal is not None:
        return refusal
    if not placed.affine.is_nonnegative:
        return op.refuse("negative-scale", "takes maxima, which a negative scale would turn into minima")
    if op.uses_output(1) and not (placed.affine.scale > 0).all():
        return op.refuse("zero-scale", "gives the places of its maxima, and a zero scale makes all places equal")
    return Taken({0: placed})


@pull("AveragePool")
def pull_average_pool(op: Operator, placed: Placed) -> Taken | Refusal:
    """A mean over space.

    Given: ``y = mean over a window of x``. Result: the same map on x.
    Exact: always where only x is averaged; where zeros of the padding are counted too (``count_include_pad = 1`` with
    padding that takes effect) iff ``b = 0`` (ONNX AveragePool-1, 7, 10, 11, 19, 22).
    """
    refusal = _refuse_spatial(op, placed)
    if refusal is not None:
        return refusal
    if op.attribute("count_include_pad", 0) and _pads(op) and not placed.affine.is_scaling:
        return op.refuse("shift", "averages zeros of its padding too, to which a shift would not be added")
    return Taken({0: placed})


def _pads(op: Operator) -> bool:
    """Whether a window may reach beyond x; where that depends on the size of x, yes."""
    if op.attribute("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER") or op.attribute("ceil_mode", 0):
        return True
    return any(pad != 0 for pad in op.attribute("pads") or ())


@pull("GlobalAveragePool")
def pull_global_average_pool(op: Operator, placed: Placed) -> Taken | Refusal:
    """Given: ``y = mean over space of x``. Result: the same map on x. Exact: always (ONNX GlobalAveragePool-1, 22)."""
    return _refuse_spatial(op, placed) or Taken({0: placed})


@pull("LpPool", "GlobalLpPool")
def pull_lp_pool(op: Operator, placed: Placed) -> Taken | Refusal:
    """A norm over space.

    Given: ``y = (sum over a window of |x|^p)^(1/p)``. Result: the same map on x.
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
    source = _source_axis(op, placed)
    return source if isinstance(source, Refusal) else Taken({0: placed.on(source)})


@pull("ReduceMax")
def pull_reduce_max(op: Operator, placed: Placed) -> Taken | Refusal:
    """A maximum over chosen axes.

    Given: ``y = max of x over axes``. Result: the same map on x, on the axis that it had there.
    Exact: iff ``a >= 0``, and as for `pull_reduce_mean` (ONNX ReduceMax-1, 11, 12, 13, 18, 20).
    """
    if not placed.affine.is_nonnegative:
        return op.refuse("negative-scale", "takes maxima, which a negative scale would turn into minima")
    source = _source_axis(op, placed)
    return source if isinstance(source, Refusal) else Taken({0: placed.on(source)})


@pull("ReduceSum")
def pull_reduce_sum(op: Operator, placed: Placed) -> Taken | Refusal:
    """A sum over chosen axes.

    Given: ``y = sum of x over axes``, n terms. Result: ``(a, b / n)`` on x.
    Exact: iff the channel axis is not among the axes (or the map is uniform), and b = 0 or n is static
    (ONNX ReduceSum-1, 11, 13).
    """
    source = _source_axis(op, placed)
    if isinstance(source, Refusal):
        return source
    if placed.affine.is_scaling:
        return Taken({0: placed.on(source)})
    count = _count(op)
    if count is None:
        return op.refuse("shift", "sums a number of elements that is not known, so the shift has no share for each")
    return Taken({0: Placed(Affine(placed.affine.scale, placed.affine.shift / count), placed.axis).on(source)})


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


def _source_axis(op: Operator, placed: Placed) -> int | Refusal:
    """The axis of the input that the affine's axis of the output was."""
    axes = _reduced_axes(op)
    if isinstance(axes, Refusal):
        return axes
    if placed.is_uniform:
        return 0
    if not axes and op.attribute("noop_with_empty_axes", 0):
        return placed.axis
    rank = op.rank(0)
    if rank is None:
        return op.refuse("unknown-shape", "reduces a value whose rank is not known")
    reduced = {axis % rank for axis in axes} or set(range(rank))
    kept = list(range(rank)) if op.attribute("keepdims", 1) else [k for k in range(rank) if k not in reduced]
    if placed.axis >= len(kept) or kept[placed.axis] in reduced:
        return op.refuse("axis", f"reduces over axis {placed.axis}, along which the affine differs")
    return kept[placed.axis]


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
