"""Operators that only put elements elsewhere, over arrays of any type: Concat, Slice, Split, Gather, Tile.

Each takes a node and its inputs by their index, None for one that is omitted. What does not fit raises one of numpy's
own errors, which the caller takes for what it is: the node computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from bnfold.model.graph import Node
from bnfold.model.tensors import Array

MAX_MADE = 2**26
"""A result of more elements than this is not made: half a gigabyte in float64. A few nodes, each doubling, could fill
any memory."""

Inputs = Sequence[Array | None]


def concat(node: Node, inputs: Inputs) -> Array | None:
    """Concat-1 (axis 1 by default), 4, 11, 13."""
    parts = [part for part in inputs if part is not None]
    axis = node.attribute("axis", 1 if node.since_version < 4 else None)
    if axis is None or not is_bounded(sum(part.size for part in parts)):
        return None
    return np.concatenate(parts, axis=int(axis))


def take_slice(node: Node, inputs: Inputs) -> Array | None:
    """Slice-1 (bounds are attributes), 10, 11, 13 (bounds are inputs; steps)."""
    data = _given(inputs, 0)
    if node.since_version < 10:
        starts, ends, axes = (node.attribute(name) for name in ("starts", "ends", "axes"))
        steps = None
    else:
        starts, ends, axes, steps = (_integers(inputs, index) for index in (1, 2, 3, 4))
    axes = range(len(starts)) if axes is None else [_axis(axis, data) for axis in axes]
    steps = [1] * len(starts) if steps is None else steps
    if len(set(axes)) != len(axes):
        return None
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return data[tuple(index)]


def gather(node: Node, inputs: Inputs) -> Array | None:
    """Gather-1 (no negative indices), 11, 13."""
    data, indices = _given(inputs, 0), _given(inputs, 1)
    axis = _axis(int(node.attribute("axis", 0)), data)
    if not np.issubdtype(indices.dtype, np.integer) or (node.since_version < 11 and np.any(indices < 0)):
        return None
    others = prod(size for k, size in enumerate(data.shape) if k != axis)
    return np.take(data, indices, axis=axis) if is_bounded(others * indices.size) else None


def tile(node: Node, inputs: Inputs) -> Array | None:
    """Tile-1 (so many tiles along one axis), 6, 13 (repeats of every axis)."""
    data, repeats = _given(inputs, 0), _integers(inputs, 1) or []
    if node.since_version < 6:
        (axis,), (tiles,) = _integers(inputs, 2) or [], repeats
        repeats = [tiles if k == _axis(axis, data) else 1 for k in range(data.ndim)]
    if len(repeats) != data.ndim or min(repeats, default=1) < 0 or not is_bounded(data.size * prod(repeats)):
        return None
    return np.tile(data, repeats)


def split(node: Node, inputs: Inputs, number: int) -> Array | None:
    """Output `number` of Split-1, 2, 11 (sizes are an attribute), 13 (an input), 18 (or a number of equal parts)."""
    data = _given(inputs, 0)
    axis, count = _axis(int(node.attribute("axis", 0)), data), len(node.outputs)
    sizes = node.attribute("split") or _integers(inputs, 1)
    if sizes is None:
        sizes = _equal_parts(data.shape[axis], count, last_smaller=node.since_version >= 18)
    if sizes is None or len(sizes) != count or sum(sizes) != data.shape[axis] or min(sizes) < 0:
        return None
    start = sum(sizes[:number])
    return data[(slice(None),) * axis + (slice(start, start + sizes[number]),)]


def _equal_parts(size: int, count: int, *, last_smaller: bool) -> list[int] | None:
    part = -(-size // count) if last_smaller else size // count
    last = size - part * (count - 1)
    return None if last < 0 or (last != part and not last_smaller) else [part] * (count - 1) + [last]


def is_bounded(elements: int) -> bool:
    """Whether a result of so many elements may be made."""
    return elements <= MAX_MADE


def _given(inputs: Inputs, index: int) -> Array:
    found = inputs[index]
    if found is None:
        raise ValueError(f"input {index} is omitted")
    return found


def _integers(inputs: Inputs, index: int) -> list[int] | None:
    """The numbers of a list that is an input; None where it is omitted."""
    found = inputs[index] if index < len(inputs) else None
    return None if found is None else [int(number) for number in found.reshape(-1)]


def _axis(axis: int, data: Array) -> int:
    """The axis counted from the front."""
    if not -data.ndim <= axis < data.ndim:
        raise IndexError(f"no axis {axis}")
    return axis % data.ndim
