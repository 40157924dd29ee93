"""How the windows of convolutions and pooling lie over their input, and which of their taps see a real element of it.

A tap that lies beyond the input sees a zero of the padding. A shift in front is missing there, so what a convolution
makes of a shift ``b`` at an output position is ``sum over t of T[position, t] W[t] b``, with T the table of the taps
that see something. Where all positions see the same taps, that is one number per output channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from bnfold.ops.rule import Operator

Table: TypeAlias = npt.NDArray[np.float64]

MOST_ENTRIES = 2**24
"""How large a table may be; a larger one is as good as one of unknown size. The taps of a window that the size of the
input and a few numbers make are as many as somebody wants."""

STATIC_SPACE = "give the model a static height and width, so that its padding can be worked out"
"""What unblocks a refusal for padding where `has_static_space` is false."""


class _Axis(NamedTuple):
    """One axis of space: how many elements, and how the windows lie along it."""

    size: int | None
    taps: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    auto_pad: str
    ceil: bool

    @property
    def reach(self) -> int:
        """From the first tap of a window to behind its last one."""
        return self.dilation * (self.taps - 1) + 1

    @property
    def is_same(self) -> bool:
        return self.auto_pad in ("SAME_UPPER", "SAME_LOWER")


def has_static_space(op: Operator) -> bool:
    """Whether every size of the input from axis 2 on is static."""
    shape = op.shape(0)
    return shape is not None and all(isinstance(size, int) for size in shape[2:])


def padding(op: Operator, kernel: Sequence[int]) -> tuple[tuple[int, int] | None, ...] | None:
    """Per axis of space how far beyond the input, at its begin and its end, the windows reach.

    That may be less than the node states: the last window may stop short of the padding. Given: a Conv or a pooling
    operator, with ``auto_pad``, ``ceil_mode``, strides, dilations. Result: None for an axis where it depends on a size
    that is not static; None for all where the attributes do not fit each other.
    """
    axes = _axes(op, kernel)
    return None if axes is None else tuple(_padding(axis) for axis in axes)


def tap_table(op: Operator, kernel: Sequence[int]) -> tuple[Table, ...] | None:
    """Per axis of space, which taps see a real element: ``[output position, tap]`` of zeros and ones.

    Given: a Conv, ``T[o, t] = 1`` iff ``0 <= o * stride + t * dilation - begin < size``; or a ConvTranspose, iff
    ``o + begin - t * dilation`` is ``i * stride`` for an ``0 <= i < size``. The table of a window is the outer product
    of those of its axes. Result: None where a size is not static, or the attributes do not fit each other.
    """
    axes = _axes(op, kernel)
    if axes is None:
        return None
    transposed = op.node.op_type == "ConvTranspose"
    tables = [_transposed_table(op, k, axis) if transposed else _table(axis) for k, axis in enumerate(axes)]
    known = tuple(table for table in tables if table is not None)
    return known if len(known) == len(axes) else None


def common_taps(op: Operator, kernel: Sequence[int]) -> tuple[Table, ...] | None:
    """Per axis of space, which taps see a real element, ``[tap]``, if that is the same at every output position.

    Then a shift in front is one number per output channel behind. Most often these are all taps; of a 3x3 window
    padded by 1 over an input of 1x1 it is the one in the middle. Result: None where positions differ, or may differ
    as a size is not static.
    """
    axes = _axes(op, kernel)
    if axes is None:
        return None
    transposed = op.node.op_type == "ConvTranspose"
    found: list[Table] = []
    for k, axis in enumerate(axes):
        row = _common_transposed(op, k, axis) if transposed else _common(axis)
        if row is None:
            return None
        found.append(row)
    return tuple(found)


def own_taps(op: Operator, kernel: Sequence[int]) -> tuple[int, ...] | None:
    """Per axis of space, the tap with which each output position sees the element at its own place.

    Given: a Conv or ConvTranspose of stride 1 whose output is as large as its input, whatever that size is: the tap t
    with ``t * dilation = begin``. Result: None where there is none, or the attributes do not fit each other.
    """
    axes = _axes(op, kernel)
    if axes is None or op.attribute("output_shape") or any(op.attribute("output_padding") or ()):
        return None
    transposed = op.node.op_type == "ConvTranspose"
    found = [_own_tap(axis, transposed) for axis in axes]
    taps = tuple(tap for tap in found if tap is not None)
    return taps if len(taps) == len(axes) else None


def _own_tap(axis: _Axis, transposed: bool) -> int | None:
    if axis.stride != 1 or (axis.is_same and transposed):
        return None
    begin, end = axis.pads
    if axis.is_same:
        begin, end = (axis.reach - 1) // 2, axis.reach // 2
        begin, end = (begin, end) if axis.auto_pad == "SAME_UPPER" else (end, begin)
    tap, rest = divmod(begin, axis.dilation)
    keeps_size = begin + end == axis.reach - 1
    return tap if keeps_size and not rest and 0 <= tap < axis.taps else None


@lru_cache(maxsize=256)  # the axes of a network are mostly alike
def _common(axis: _Axis) -> Table | None:
    table = _table(axis)
    return _row(axis, table, is_cut_off=table is None and _padding(axis) == (0, 0))


def _common_transposed(op: Operator, k: int, axis: _Axis) -> Table | None:
    table = _transposed_table(op, k, axis)
    return _row(axis, table, is_cut_off=table is None and _is_cut_off(op, k, axis))


def _row(axis: _Axis, table: Table | None, *, is_cut_off: bool) -> Table | None:
    """The row that all positions have; of a table that is not known, all taps where no position misses any."""
    if table is None:
        table = np.ones((1 if is_cut_off else 0, axis.taps))
    if not len(table) or np.any(table != table[0]):
        return None
    row: Table = table[0].copy()  # the table may be large
    row.flags.writeable = False  # many operators share it
    return row


def _axes(op: Operator, kernel: Sequence[int]) -> list[_Axis] | None:
    rank, auto_pad = len(kernel), op.attribute("auto_pad", "NOTSET")
    strides, dilations = (list(op.attribute(name) or [1] * rank) for name in ("strides", "dilations"))
    pads, shape = list(op.attribute("pads") or [0] * (2 * rank)), op.shape(0)
    if (len(strides), len(dilations), len(pads)) != (rank, rank, 2 * rank):
        return None
    if min([*kernel, *strides, *dilations], default=1) < 1 or (shape is not None and len(shape) != rank + 2):
        return None
    if any(len(op.attribute(name) or kernel) != rank for name in ("output_padding", "output_shape")):
        return None
    if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        return None
    sizes = [size if isinstance(size, int) else None for size in shape[2:]] if shape else [None] * rank
    ceil = bool(op.attribute("ceil_mode", 0))
    stated = [(0, 0)] * rank if auto_pad == "VALID" else list(zip(pads[:rank], pads[rank:], strict=True))
    return [
        _Axis(size, taps, stride, dilation, pad, auto_pad, ceil)
        for size, taps, stride, dilation, pad in zip(sizes, kernel, strides, dilations, stated, strict=True)
    ]


def _placed(axis: _Axis, size: int) -> tuple[int, int]:
    """(how many windows, how far the first one begins before the input)."""
    if axis.is_same:
        count = -(-size // axis.stride)
        total = max((count - 1) * axis.stride + axis.reach - size, 0)
        return count, total // 2 if axis.auto_pad == "SAME_UPPER" else total - total // 2
    room = size + sum(axis.pads) - axis.reach
    # A window that would begin behind the input is left out from opset 22 on only; here it counts as one that pads.
    return (-(-room // axis.stride) if axis.ceil else room // axis.stride) + 1, axis.pads[0]


def _padding(axis: _Axis) -> tuple[int, int] | None:
    if axis.size is None:
        never = axis.reach == 1 if axis.is_same else max(axis.pads) <= 0 and (axis.stride == 1 or not axis.ceil)
        return (0, 0) if never else None
    count, begin = _placed(axis, axis.size)
    if count < 1:
        return None
    return max(begin, 0), max((count - 1) * axis.stride - begin + axis.reach - axis.size, 0)


def _table(axis: _Axis) -> Table | None:
    if axis.size is None:
        return None
    count, begin = _placed(axis, axis.size)
    # [o, 1] + [t] -> [o, t]
    if count * axis.taps > MOST_ENTRIES:
        return None
    at = np.arange(max(count, 0))[:, None] * axis.stride + np.arange(axis.taps) * axis.dilation - begin
    return np.asarray((at >= 0) & (at < axis.size), np.float64)


def _transposed_table(op: Operator, k: int, axis: _Axis) -> Table | None:
    if axis.size is None:
        return None
    whole = axis.stride * (axis.size - 1) + _entry(op, "output_padding", k) + axis.reach
    count, begin = whole - sum(axis.pads), axis.pads[0]
    if op.attribute("output_shape") or axis.is_same:
        count = _entry(op, "output_shape", k) or axis.size * axis.stride
        total = max(whole - count, 0)
        if _is_ambiguous(op, axis, whole - count):
            return None
        begin = total // 2 if axis.auto_pad == "SAME_UPPER" else total - total // 2
    # [o, 1] - [t] -> [o, t]
    if count * axis.taps > MOST_ENTRIES:
        return None
    at = np.arange(max(count, 0))[:, None] + begin - np.arange(axis.taps) * axis.dilation
    return np.asarray((at >= 0) & (at <= axis.stride * (axis.size - 1)) & (at % axis.stride == 0), np.float64)


def _is_ambiguous(op: Operator, axis: _Axis, total: int) -> bool:
    """Whether not all agree what a ConvTranspose with this total padding computes.

    Where SAME would pad by less than nothing, onnxruntime gives fewer elements than the specification. Which end gets
    the odd one is said one way by ConvTranspose-1 and the other way by ConvTranspose-11.
    """
    if total < 0 and axis.is_same and not op.attribute("output_shape"):
        return True
    return total > 0 and total % 2 == 1 and int(op.node.since_version) < 11


def _entry(op: Operator, name: str, k: int) -> int:
    """The number that an optional list has for an axis of space; 0 where there is no list."""
    numbers = op.attribute(name)
    return int(numbers[k]) if numbers else 0


def _is_cut_off(op: Operator, k: int, axis: _Axis) -> bool:
    """Whether a ConvTranspose, whatever the size of its input, leaves out every position that sees not all taps."""
    if axis.is_same or op.attribute("output_shape") or _entry(op, "output_padding", k):
        return False
    return axis.stride == 1 and min(axis.pads) >= axis.reach - 1
