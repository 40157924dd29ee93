"""Operators with several branches: Add, Sub, Sum, Concat, Split."""

from __future__ import annotations

from bnfold.affine import Affine
from bnfold.ops.registry import Maps, pull
from bnfold.ops.rule import Operator, Placed, Refusal, Rescale, Taken, along


@pull("Add", "Sub", "Sum")
def pull_sum(op: Operator, placed: Placed) -> Taken | Refusal:
    """A sum of branches.

    Given: ``y = u + v``. Result: ``(a, b)`` on u and ``(a, 0)`` on v, or the shift on v instead; for ``u - v`` the
    shift changes its sign there. A constant operand becomes ``a c + b`` itself and takes the shift.
    Exact: always; every branch must take its part (ONNX Add-1 to 14, Sub-1 to 14, Sum-1 to 13).
    """
    count = len(op.node.inputs)
    if op.node.since_version < 7 and op.node.op_type != "Sum" and op.attribute("broadcast", 0):
        return op.refuse("legacy-broadcast", "broadcasts by the rules before opset 7")
    parts = [_branch(op, index, placed) for index in range(count)]
    for part in parts:
        if isinstance(part, Refusal):
            return part
    constant = next((k for k in range(count) if op.constant(k) is not None), None)
    shifted = range(count) if constant is None else [constant]
    answer: Taken | None = None
    for index in reversed(shifted):
        answer = _with_shift_on(op, placed, index, answer)
    return answer or op.refuse("malformed", "has no inputs")


def _sign(op: Operator, index: int) -> float:
    return -1.0 if op.node.op_type == "Sub" and index == 1 else 1.0


def _with_shift_on(op: Operator, placed: Placed, shifted: int, otherwise: Taken | None) -> Taken:
    """The scale on every branch, the shift on that one."""
    moves: dict[int, Placed] = {}
    constants: dict[int, Rescale | None] = {}
    for index in range(len(op.node.inputs)):
        branch = placed if index == shifted else placed.scaling
        affine = Affine(branch.affine.scale, branch.affine.shift * _sign(op, index))
        if op.constant(index) is None:
            moves[index] = Placed.of(affine, placed.axis - _missing_axes(op, index, placed))
        else:
            constants[index] = _rescaled(op, Placed(affine, placed.axis))
    return Taken(moves, constants, otherwise=None if placed.affine.is_scaling else otherwise)


def _branch(op: Operator, index: int, placed: Placed) -> Refusal | None:
    """Whether the branch has the channels that the map speaks of."""
    if placed.is_uniform:
        return None
    rank = op.output_rank()
    if rank is None:
        return op.refuse("unknown-shape", "adds values whose shapes are not known")
    if op.constant(index) is not None:
        return None
    shape = op.shape(index)
    if shape is None:
        return op.refuse("unknown-shape", "adds a value whose shape is not known")
    axis = placed.axis - (rank - len(shape))
    if axis < 0 or shape[axis] != placed.affine.channels:
        return op.refuse("broadcast", "adds a value that is broadcast along the channels, or that has unknown ones")
    return None


def _missing_axes(op: Operator, index: int, placed: Placed) -> int:
    """How many leading axes the branch lacks; checked to be known by `_branch`."""
    rank, own = op.output_rank(), op.rank(index)
    return 0 if placed.is_uniform or rank is None or own is None else rank - own


def _rescaled(op: Operator, placed: Placed) -> Rescale:
    """A constant operand under the map: laid along the channel axis counted from the end, so that any rank fits."""
    if placed.is_uniform:
        return Rescale(placed.affine.scale.reshape(()), placed.affine.shift.reshape(()))
    rank = (op.output_rank() or 0) - placed.axis  # scale, shift: [C] -> [C, 1, ..., 1]
    return Rescale(along(placed.affine.scale, 0, rank), along(placed.affine.shift, 0, rank))


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
            rank = 0 if part.is_uniform else constant.rank
            scale, shift = (along(vector, part.axis, rank) for vector in (part.affine.scale, part.affine.shift))
            constants[index] = Rescale(scale, shift)
    return Taken(moves, constants)


def _concat_parts(op: Operator, placed: Placed) -> list[Placed] | Refusal:
    """The map of each branch."""
    count = len(op.node.inputs)
    if placed.is_uniform:
        return [placed] * count
    rank, axis = op.output_rank(), int(op.attribute("axis", 1))
    if axis < 0 and rank is None:
        return op.refuse("unknown-shape", "joins values whose rank is not known")
    if axis % (rank or axis + 1) != placed.axis:
        return [placed] * count
    sizes = _sizes(op, range(count), placed.axis)
    if sizes is None or sum(sizes) != placed.affine.channels:
        return op.refuse("unknown-shape", "joins values along the channels, and their numbers are not known")
    return [Placed.of(part, placed.axis) for part in _cut(placed.affine, sizes)]


def _cut(affine: Affine, sizes: list[int]) -> list[Affine]:
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return [affine.slice(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def _sizes(op: Operator, indices: range, axis: int) -> list[int] | None:
    """The sizes of inputs along an axis; None when one is not known."""
    sizes = [size for size in (op.dim(index, axis) for index in indices) if isinstance(size, int)]
    return sizes if len(sizes) == len(indices) else None


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
    affines: list[Affine] = []
    for index in range(len(op.node.outputs)):
        shape = op.output_shape(index)
        size = None if shape is None else shape[axis]
        if not isinstance(size, int):
            return op.refuse("unknown-shape", "splits channels into pieces whose sizes are not known")
        affines.append(pulled[index].affine.expand(size) if index in pulled else Affine.identity(size))
    return Taken({0: Placed.of(Affine.concat(affines), axis % rank)})
