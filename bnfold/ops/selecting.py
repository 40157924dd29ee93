"""Gather: elements of a value, or rows of a table, by their places."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bnfold.affine import Affine
from bnfold.ops.registry import pull, push
from bnfold.ops.rule import Operator, Placed, Refusal, Rescale, Taken, along


@pull("Gather")
def pull_gather(op: Operator, placed: Placed) -> Taken | Refusal:
    """Elements by their places.

    Given: ``y = Gather(x, places)`` along an axis of x, for which y has the axes of the places. Result: the same map on
    x, on the axis that the map's is of x; along the places themselves, the map of each on the channel that it names,
    the identity on the others. A constant x, as a table of embeddings, becomes ``a x + b``.
    Exact: always; along the places they are one constant list, in which a channel that is named twice has one map
    (ONNX Gather-1, 11, 13).
    """
    moved = placed if placed.is_uniform else _in_front(op, placed)
    if isinstance(moved, Refusal):
        return moved
    table = op.constant(0)
    if table is None:
        return Taken({0: moved})
    if not table.is_float or table.quantization is not None:
        return op.refuse("quantized", "reads from a table of integers")
    rank = 0 if moved.is_uniform else table.rank
    scale, shift = (along(vector, moved.axis, rank) for vector in (moved.affine.scale, moved.affine.shift))
    return Taken(constants={0: Rescale(scale, shift)})


def _in_front(op: Operator, placed: Placed) -> Placed | Refusal:
    """The map of the output, on the input."""
    axes = _axes(op)
    if isinstance(axes, Refusal):
        return axes
    axis, count = axes
    if placed.axis < axis:
        return placed
    if placed.axis >= axis + count:
        return placed.on(placed.axis - count + 1)
    size = op.dim(0, axis)
    if not isinstance(size, int):
        return op.refuse("unknown-shape", "takes some of the channels of a value, and their number is not known")
    places = _places(op, size)
    if isinstance(places, Refusal):
        return places
    if places.shape != (placed.affine.channels,):
        return op.refuse("axis", "lays the channels out along several axes, and the affine lies along one")
    scale, shift = np.ones(size), np.zeros(size)
    scale[places], shift[places] = placed.affine.scale, placed.affine.shift
    if np.any(scale[places] != placed.affine.scale) or np.any(shift[places] != placed.affine.shift):
        return op.refuse("several-readers", "reads one channel several times, for channels with different maps")
    return Placed.of(Affine(scale, shift), axis)


@push("Gather")
def push_gather(op: Operator, placed: Placed) -> Taken | Refusal:
    """Elements by their places.

    Given: ``y = Gather(x, places)`` along an axis of x, x with a map. Result: the same map on y, on the axis that is
    that one there; along the axis of the places, the maps of the channels that they name.
    Exact: always; along the axis of the places they are constant (ONNX Gather-1, 11, 13).
    """
    if placed.is_uniform:
        return Taken({0: placed})
    axes = _axes(op)
    if isinstance(axes, Refusal):
        return axes
    axis, count = axes
    if placed.axis != axis:
        return Taken({0: placed if placed.axis < axis else placed.on(placed.axis + count - 1)})
    places = _places(op, placed.affine.channels)
    if isinstance(places, Refusal):
        return places
    named = placed.affine.take(places.reshape(-1))
    return Taken({0: Placed.over(named, range(axis, axis + count), places.shape)} if named.channels else {})


def _axes(op: Operator) -> tuple[int, int] | Refusal:
    """(the axis of the input along which elements are taken, how many axes of the output are for it)."""
    rank, count = op.rank(0), op.rank(1)
    if not rank or count is None:
        return op.refuse("unknown-shape", "takes elements of a value, or by places, whose rank is not known")
    return int(op.attribute("axis", 0)) % rank, count


def _places(op: Operator, size: int) -> npt.NDArray[np.int64] | Refusal:
    """The places, counted from the front."""
    constant = op.constant(1)
    if constant is None:
        return op.refuse("dynamic-slice", "takes channels by places that are no constants")
    places = constant.values.astype(np.int64)
    if np.any((places < -size) | (places >= size)):
        return op.refuse("malformed", f"takes a channel beyond the {size} that there are")
    found: npt.NDArray[np.int64] = places % size
    return found
