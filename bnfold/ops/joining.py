"""Operators with several branches: Add, Sub, Sum, Concat, Split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate, pairwise

import numpy as np

from bnfold.affine import Affine
from bnfold.model.constants import Constant
from bnfold.model.shapes import Dim
from bnfold.ops.registry import Maps, pull, push
from bnfold.ops.rule import Operator, Placed, Refusal, Rescale, Taken, along


@pull("Add", "Sub", "Sum")
def pull_sum(op: Operator, placed: Placed) -> Taken | Refusal:
    """A sum of branches.

    Given: ``y = u + v``. Result: ``(a, b)`` on u and ``(a, 0)`` on v, or the shift on v instead; for ``u - v`` the
    shift changes its sign there. A constant operand becomes ``a c + b`` itself and takes the shift.
    Exact: always; every branch must take its part (ONNX Add-1 to 14, Sub-1 to 14, Sum-1 to 13).
    """
    refusal = _refuse_legacy(op)
    if refusal is not None:
        return refusal
    count = len(op.node.inputs)
    parts = [branch_refusal(op, index, placed) for index in range(count)]
    for part in parts:
        if isinstance(part, Refusal):
            return part
    constant = next((k for k in range(count) if op.constant(k) is not None), None)
    if not count:
        return op.refuse("malformed", "has no inputs")
    return _with_shift_on(op, placed, range(count) if constant is None else range(constant, constant + 1))


def _refuse_legacy(op: Operator) -> Refusal | None:
    if op.node.since_version < 7 and op.node.op_type != "Sum" and op.attribute("broadcast", 0):
        return op.refuse("legacy-broadcast", "broadcasts by the rules before opset 7")
    return None


def _sign(op: Operator, index: int) -> float:
    return -1.0 if op.node.op_type == "Sub" and index == 1 else 1.0


def _with_shift_on(op: Operator, placed: Placed, shifted: range) -> Taken:
    """The scale on every branch, the shift on the first of those; otherwise on the next one."""
    moves: dict[int, Placed] = {}
    constants: dict[int, Rescale | None] = {}
    scaling, later = placed.scaling, None
    if len(shifted) > 1 and not placed.affine.is_scaling:
        later = partial(_with_shift_on, op, placed, shifted[1:])
    for index in range(len(op.node.inputs)):
        branch = placed if index == shifted[0] else scaling
        affine = Affine(branch.affine.scale, branch.affine.shift * _sign(op, index))
        if op.constant(index) is None:
            moves[index] = Placed.of(affine, placed.axis - missing_axes(op, index, placed))
        else:
            constants[index] = rescaled_operand(op, Placed(affine, placed.axis))
    return Taken(moves, constants, otherwise=later)


def branch_refusal(op: Operator, index: int, placed: Placed) -> Refusal | None:
    """Whether the branch has the channels that the map speaks of."""
    if placed.is_uniform:
        return None
    rank = op.output_rank()
    if rank is None:
        return op.refuse("unknown-shape", "has branches whose shapes are not known")
    if op.constant(index) is not None:
        return None
    shape = op.shape(index)
    if shape is None:
        return op.refuse("unknown-shape", "has a branch whose shape is not known")
    axis = placed.axis - (rank - len(shape))
    if axis < 0 or shape[axis] != placed.affine.channels:
        return op.refuse("broadcast", "has a branch that is broadcast along the channels, or that has unknown ones")
    return None


def missing_axes(op: Operator, index: int, placed: Placed) -> int:
    """How many leading axes the branch lacks; checked to be known by `branch_refusal`."""
    rank, own = op.output_rank(), op.rank(index)
    return 0 if placed.is_uniform or rank is None or own is None else rank - own


def rescaled_operand(op: Operator, placed: Placed) -> Rescale:
    """A constant operand under the map: laid along the channel axis counted from the end, so that any rank fits."""
    if placed.is_uniform:
        return Rescale(placed.affine.scale.reshape(()), placed.affine.shift.reshape(()))
    rank = (op.output_rank() or 0) - placed.axis  # scale, shift: [C] -> [C, 1, ..., 1]
    return Rescale(along(placed.affine.scale, 0, rank), along(placed.affine.shift, 0, rank))


@push.each("Add", "Sub", "Sum")
def push_sum(op: Operator, maps: Maps) -> Taken | Refusal:
    """A sum of branches.

    Given: ``y = sum of s_k (a x_k + b_k)``, s_k the sign of the branch, and B the sum of all ``s_k b_k``; the scale is
    the same on every branch that is no constant, 1 on one without a map. Result: ``(a, B)`` on y. A constant takes
    the shift: ``c' = (c + s B) / a``, other constants ``c / a``, and what is left on y is ``(a, 0)``.
    Exact: always; ``a != 0`` where there is a constant, and all maps lie on one axis of y, counted from the end as
    broadcasting does (ONNX Add-1 to 14, Sub-1 to 14, Sum-1 to 13).
    """
    refusal = _refuse_legacy(op)
    if refusal is not None:
        return refusal
    owed: dict[int, Placed] = {}
    for index, placed in maps.items():
        part = on_output(op, index, placed)
        if isinstance(part, Refusal):
            return part
        owed[index] = part
    constants = constant_branches(op, maps)
    scaling = next(iter(owed.values())).scaling
    has_others = len(owed) + len(constants) < len(op.node.inputs)
    scales = [placed.scaling for placed in owed.values()] + [_NOTHING_OWED] * has_others
    if not all(same_map(other, scaling) for other in scales):
        return op.refuse("one-branch", "adds branches that have not all the same scale")
    shift = _sum_of_shifts(op, owed)
    if isinstance(shift, Refusal):
        return shift
    return _push_to_constants(op, constants, scaling, shift) if constants else _one_map(op, scaling.then(shift))


_NOTHING_OWED = Placed.of(Affine.identity(), 0)


def on_output(op: Operator, index: int, placed: Placed) -> Placed | Refusal:
    """The map of a branch on the axis of the output that lines up with its own."""
    if placed.is_uniform:
        return placed
    rank, own = op.output_rank(), op.rank(index)
    if rank is None or own is None:
        return op.refuse("unknown-shape", "has branches whose shapes are not known")
    return placed.on(placed.axis + rank - own)


def constant_branches(op: Operator, maps: Maps) -> list[int]:
    """The branches that are constants, and come with no map."""
    if op.edits.constants:
        return [k for k in range(len(op.node.inputs)) if k not in maps and op.constant(k) is not None]
    return [k for k in op.constants.inputs_of(op.node) if k not in maps]


def same_map(one: Placed, other: Placed) -> bool:
    """Whether two maps are the same in their simplest form."""
    return Placed.of(one.affine, one.axis).same_as(Placed.of(other.affine, other.axis))


def _sum_of_shifts(op: Operator, owed: Maps) -> Placed | Refusal:
    """All shifts as one, with the sign of their branch."""
    total: Placed | None = _NOTHING_OWED
    for index, placed in owed.items():
        shift = placed.affine.shift * _sign(op, index)
        total = None if total is None else total.then(Placed.of(Affine(np.ones_like(shift), shift), placed.axis))
    return total or _refuse_axes(op)


def _one_map(op: Operator, owed: Placed | None) -> Taken | Refusal:
    return _refuse_axes(op) if owed is None else Taken({0: owed})


def _refuse_axes(op: Operator) -> Refusal:
    return op.refuse("axis", "adds branches whose affines lie on different axes")


def _push_to_constants(op: Operator, constants: list[int], scaling: Placed, shift: Placed) -> Taken | Refusal:
    """The scale on the output; every constant divided by it, the first one with the shift."""
    if np.any(scaling.affine.scale == 0.0):
        return op.refuse("zero-scale", "adds a constant, which behind a scale of zero would be lost")
    unscaling = Placed(inverse(scaling.affine), scaling.axis)
    first = constants[0]
    signed = Placed.of(Affine(shift.affine.scale, shift.affine.shift * _sign(op, first)), shift.axis).then(unscaling)
    if signed is None:
        return _refuse_axes(op)
    if scaling.affine.is_identity:
        return Taken(constants={} if signed.affine.is_identity else {first: rescaled_operand(op, signed)})
    return Taken({0: scaling}, {k: rescaled_operand(op, signed if k == first else unscaling) for k in constants})


def inverse(affine: Affine) -> Affine:
    """The map back; no scale is zero."""
    with np.errstate(over="ignore"):  # a constant that is not finite is refused
        return Affine(1.0 / affine.scale, -affine.shift / affine.scale)


@pull("Concat")
def pull_concat(op: Operator, placed: Placed) -> Taken | Refusal:
    """Branches side by side.

    Given: ``y = Concat(u, v, ...)``. Result: along the channels, each branch gets its slice of the map; along another
    axis, each gets the whole map. A constant branch becomes ``a c + b``.
    Exact: always; every branch must take its part, and along the channels their sizes are static (ONNX Concat-1 to 13).
    """
    parts = _concat_parts(op, placed)
    if isinstance(parts, Refusal):
        return parts
    moves: dict[int, Placed] = {}
    constants: dict[int, Rescale | None] = {}
    for index, part in enumerate(parts):
        constant = op.constant(index)
        if constant is None:
            moves[index] = part
        else:
            constants[index] = _laid_along(part, constant)
    return Taken(moves, constants)


@push.each("Concat")
def push_concat(op: Operator, maps: Maps) -> Taken | Refusal:
    """Branches side by side.

    Given: ``y = Concat(u, v, ...)``, some of them with a map. Result: where the map does not lie along the axis that is
    joined, and every branch that is no constant has the same, that map on y; a constant becomes ``(c - b) / a``.
    Else, along the channels, the maps one after the other, the identity for branches without one and for constants.
    Exact: always; along the channels the sizes are static where there is no map or a uniform one (ONNX Concat-1 to 13).
    """
    constants = constant_branches(op, maps)
    others = set(range(len(op.node.inputs))).difference(constants, maps)
    branches = [*maps.values(), *([_NOTHING_OWED] if others else [])]
    first = Placed.of(branches[0].affine, branches[0].axis)
    alike = all(same_map(first, placed) for placed in branches[1:])
    lost = bool(constants) and bool(np.any(first.affine.scale == 0.0))
    if first.is_uniform and alike and not lost:
        return _push_whole(op, constants, first)
    axis = _own_axis(op, op.output_rank(), 1)
    if isinstance(axis, Refusal):
        return axis
    if all(placed.is_uniform or placed.axis == axis for placed in branches):
        return _push_along_channels(op, maps, axis)
    if not alike:
        return op.refuse("one-branch", "joins branches along another axis than the channels, with different affines")
    if lost:
        return op.refuse("zero-scale", "joins a constant, which behind a scale of zero would be lost")
    return _push_whole(op, constants, first)


def _push_whole(op: Operator, constants: list[int], placed: Placed) -> Taken:
    """One map on all of the output, its inverse on the constants."""
    values = {k: op.constant(k) for k in constants}
    back = Placed(inverse(placed.affine), placed.axis) if constants else placed
    return Taken({0: placed}, {k: _laid_along(back, value) for k, value in values.items() if value is not None})


def _push_along_channels(op: Operator, maps: Maps, axis: int) -> Taken | Refusal:
    """The maps of all branches, one after the other."""
    sizes = op.shapes.known_sizes(op.node, axis) or _sizes_by(maps, op.shapes.sizes(op.node, axis))
    if sizes is None:
        return op.refuse("unknown-shape", "joins values along the channels, and their numbers are not known")
    affines = {index: placed.affine for index, placed in maps.items()}
    return Taken({0: Placed.of(Affine.side_by_side(affines, sizes), axis)})


def _sizes_by(maps: Maps, known: Sequence[Dim]) -> list[int] | None:
    """The sizes of branches, as far as the maps say what is not known; None where that leaves one open."""
    said = {index: placed.affine.channels for index, placed in maps.items() if not placed.is_uniform}
    found = [said.get(index, size) for index, size in enumerate(known)]
    sizes = [size for size in found if isinstance(size, int)]
    return sizes if len(sizes) == len(found) else None


def _laid_along(placed: Placed, constant: Constant) -> Rescale:
    """A constant branch under the map, which lies on its own axis."""
    rank = 0 if placed.is_uniform else constant.rank
    scale, shift = (along(vector, placed.axis, rank) for vector in (placed.affine.scale, placed.affine.shift))
    return Rescale(scale, shift)


def _own_axis(op: Operator, rank: int | None, default: int) -> int | Refusal:
    """The axis that the operator joins or splits, counted from the front."""
    axis = int(op.attribute("axis", default))
    if axis < 0 and rank is None:
        return op.refuse("unknown-shape", "joins or splits values whose rank is not known")
    return axis % (rank or axis + 1)


def _concat_parts(op: Operator, placed: Placed) -> list[Placed] | Refusal:
    """The map of each branch."""
    count = len(op.node.inputs)
    if placed.is_uniform:
        return [placed] * count
    axis = _own_axis(op, op.output_rank(), 1)
    if isinstance(axis, Refusal):
        return axis
    if axis != placed.axis:
        return [placed] * count
    sizes = op.shapes.known_sizes(op.node, axis)
    if sizes is None or sum(sizes) != placed.affine.channels:
        return op.refuse("unknown-shape", "joins values along the channels, and their numbers are not known")
    return [Placed.of(part, placed.axis) for part in _cut(placed.affine, sizes)]


def _cut(affine: Affine, sizes: Sequence[int]) -> list[Affine]:
    return [affine.slice(start, end) for start, end in pairwise(accumulate(sizes, initial=0))]


@pull.each("Split")
def pull_split(op: Operator, pulled: Maps) -> Taken | Refusal:
    """A value in pieces.

    Given: ``y_0, y_1, ... = Split(x)``, some of them with a map. Result: along the channels, the maps one after the
    other, the identity for pieces without one. Along another axis x has one map, so all pieces must have the same.
    Exact: along the channels always, their sizes being static (ONNX Split-1, 2, 11, 13, 18).
    """
    axes = {placed.axis for placed in pulled.values() if not placed.is_uniform}
    axis, rank = int(op.attribute("axis", 0)), op.rank(0)
    if rank is None:
        return op.refuse("unknown-shape", "splits a value whose rank is not known")
    if axes - {axis % rank}:
        return op.refuse("split", "splits another axis than the channels, and only some of its pieces have this map")
    sizes = op.shapes.known_sizes(op.node, axis % rank, of_outputs=True)
    if sizes is None:
        return op.refuse("unknown-shape", "splits channels into pieces whose sizes are not known")
    affines = {index: placed.affine for index, placed in pulled.items()}
    return Taken({0: Placed.of(Affine.side_by_side(affines, sizes), axis % rank)})


@push("Split")
def push_split(op: Operator, placed: Placed) -> Taken | Refusal:
    """A value in pieces.

    Given: ``y_0, y_1, ... = Split(x)``, x with a map. Result: along the channels, each piece gets its slice of the map;
    along another axis, each gets the whole map.
    Exact: always; along the channels the sizes are static (ONNX Split-1, 2, 11, 13, 18).
    """
    outputs = [index for index, value in enumerate(op.node.outputs) if value is not None]
    if placed.is_uniform:
        return Taken(dict.fromkeys(outputs, placed))
    axis = _own_axis(op, op.rank(0), 0)
    if isinstance(axis, Refusal):
        return axis
    if axis != placed.axis:
        return Taken(dict.fromkeys(outputs, placed))
    sizes = op.shapes.known_sizes(op.node, axis, of_outputs=True)
    if sizes is None or sum(sizes) != placed.affine.channels:
        return op.refuse("unknown-shape", "splits channels into pieces whose sizes are not known")
    parts = enumerate(_cut(placed.affine, sizes))
    return Taken({index: Placed.of(part, axis) for index, part in parts if not part.is_identity})
