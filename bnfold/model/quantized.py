"""Constants in integers behind DequantizeLinear: their values, and what they are made of.

``y = (x - zero_point) * scale``: one scale for the tensor, one per index of an axis (from opset 13 on), or one per
block of an axis (from opset 21 on). A weight that has such an origin can take a factor into its scales, and then its
integers stay as they are; so a constant remembers where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

from bnfold.model.graph import Node
from bnfold.model.tensors import Array
from bnfold.values import frozen

if TYPE_CHECKING:
    from bnfold.model.constant import Constant

Shape: TypeAlias = tuple[int, ...]

DEQUANTIZE = "DequantizeLinear"
CASTS = frozenset({"Cast", "CastLike"})
RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze"})

STORED = frozenset(
    number
    for name, number in TensorProto.DataType.items()
    if name in {"INT2", "UINT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32"}
    or name.startswith(("FLOAT4E", "FLOAT8E4", "FLOAT8E5"))
)
"""What DequantizeLinear takes, as far as the installed onnx knows it."""

ONE = ((), (1,))
"""Shapes of a single scale."""


@frozen
class Quantization:
    """The DequantizeLinear that a constant comes from.

    Attributes:
        node: the DequantizeLinear.
        integers: its first input, ``[*d]``.
        scale: ``[]`` or ``[1]`` for the tensor, ``[d_axis]`` per axis, ``[*d]`` with the axis in blocks.
        zero_point: of the scale's shape; None when there is none.
        axis: the axis of the integers along which the scales lie; None for one scale.
        block: how many elements along the axis share a scale; 0 where they do not lie in blocks.
        order: per axis of the constant, the axis of the integers that it is, and None for one of size 1 that may be
            none of them; None when the constant was computed in such a way that no scale can make it another.
    """

    node: Node
    integers: Constant
    scale: Constant
    zero_point: Constant | None
    axis: int | None
    block: int
    order: tuple[int | None, ...] | None

    @property
    def values(self) -> Array:
        """What the DequantizeLinear puts out, float64."""
        stored = self.integers.wide
        if self.zero_point is not None:
            stored = stored - self.spread(self.zero_point.wide)
        return np.asarray(stored * self.spread(self.scale.wide), np.float64)

    def spread(self, per_scale: Array) -> Array:
        """Numbers in the shape of the scale, laid out so that they broadcast against the integers."""
        if self.axis is None:
            return per_scale.reshape(())
        if not self.block:
            shape = [1] * self.integers.rank
            shape[self.axis] = per_scale.size
            return per_scale.reshape(shape)  # [d_axis] -> [1, ..., d_axis, ..., 1]
        repeated = np.repeat(per_scale, self.block, axis=self.axis)  # the last block may be a part of one
        kept = tuple(slice(size) if axis == self.axis else slice(None) for axis, size in enumerate(self.integers.shape))
        return repeated[kept]


def quantization_of(node: Node, operands: Sequence[Constant]) -> Quantization | None:
    """What a DequantizeLinear of constants is made of; None where it is malformed, or of types that bnfold lacks."""
    integers, scale, *rest = operands
    zero_point = rest[0] if rest else None
    if integers.elem_type not in STORED or not scale.is_float:
        return None
    if zero_point is not None and not _belong(zero_point, scale, integers):
        return None
    block = int(node.attribute("block_size", 0)) if node.since_version >= 21 else 0
    order = tuple(range(integers.rank))
    if not block and scale.shape in ONE:
        return Quantization(node, integers, scale, zero_point, None, 0, order)
    axis = int(node.attribute("axis", 1))
    if node.since_version < 13 or not -integers.rank <= axis < integers.rank:
        return None
    made = Quantization(node, integers, scale, zero_point, axis % integers.rank, block, order)
    return made if scale.shape == _shape_of_scales(made) else None


def _belong(zero_point: Constant, scale: Constant, integers: Constant) -> bool:
    """Whether there is a zero point per scale, of the integers' type."""
    fits = zero_point.shape == scale.shape or (zero_point.shape in ONE and scale.shape in ONE)
    return fits and zero_point.elem_type == integers.elem_type


def _shape_of_scales(of: Quantization) -> tuple[int, ...]:
    shape, axis = of.integers.shape, of.axis or 0
    if not of.block:
        return (shape[axis],)
    return tuple(-(-size // of.block) if k == axis else size for k, size in enumerate(shape))


def type_of(quantization: Quantization) -> int:
    """The element type that the DequantizeLinear puts out: that of its scale, unless it says another (opset 23)."""
    return int(quantization.node.attribute("output_dtype", 0)) or quantization.scale.elem_type


def largest_stored(quantization: Quantization) -> float:
    """A bound of ``|x - zero_point|``, from the type of the integers alone."""
    return 2.0 * float(np.abs(_range_of(quantization.integers.elem_type)).max())


def _range_of(elem_type: int) -> Array:
    """(smallest, largest) number of a type of STORED."""
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    info: Callable[[Any], Any] = ml_dtypes.finfo if _is_named_float(elem_type) else ml_dtypes.iinfo
    return np.array([info(dtype).min, info(dtype).max], np.float64)


def _is_named_float(elem_type: int) -> bool:
    return str(TensorProto.DataType.Name(elem_type)).startswith("FLOAT")


MOST_STEPS = 3
"""Behind more operators than this, the values of what comes from integers are held: computing them anew each time would
double with each operator that reads a value twice."""


def derived(node: Node, operands: Sequence[Constant], compute: Callable[[], Constant | None]) -> Constant | None:
    """A constant that is computed from others, which remembers a quantized one among them.

    Behind a Transpose or a Cast, or a Reshape that moves no more than axes of size 1, a factor still finds its scale.
    Behind any other operator none does; that the constant comes from integers is kept all the same, so that nobody
    takes it for an ordinary one. Its values are computed when they are asked for: they take many times the room of the
    integers.
    """
    made = compute()
    if made is None or made.quantization is not None or not made.is_float:
        return made
    found = next((operand.quantization for operand in operands if operand.quantization is not None), None)
    if found is None:
        return made
    order = _order_behind(node, found, operands[0].shape, made.shape) if operands[0].quantization is found else None
    made = replace(made, quantization=replace(found, order=order))
    steps = 1 + max(operand.steps for operand in operands)
    return made if steps > MOST_STEPS else replace(made, load=lambda: _values(compute()), is_held=False, steps=steps)


def _values(computed: Constant | None) -> Array:
    if computed is None:
        raise AssertionError("an operator that had a value has none any more")
    return computed.values


def _order_behind(node: Node, before: Quantization, given: Shape, made: Shape) -> tuple[int | None, ...] | None:
    if before.order is None or node.op_type in CASTS:
        return before.order
    if node.op_type in RESHAPES:
        return _reshaped(before.order, given, made)
    if node.op_type != "Transpose":
        return None
    permutation = node.attribute("perm") or range(len(before.order))[::-1]
    return tuple(before.order[axis] for axis in permutation)


def _reshaped(order: Sequence[int | None], given: Shape, made: Shape) -> tuple[int | None, ...] | None:
    """The axes behind an operator that takes out axes of size 1, or puts some in; None where it does more."""
    long = [axis for axis, size in zip(order, given, strict=True) if size != 1]
    if [size for size in given if size != 1] != [size for size in made if size != 1]:
        return None
    remaining = iter(long)
    return tuple(next(remaining) if size != 1 else None for size in made)


__all__ = ["DEQUANTIZE", "Quantization", "derived", "largest_stored", "quantization_of", "type_of"]
