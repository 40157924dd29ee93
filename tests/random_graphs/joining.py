"""Branches: sums, Concat, Split, and who else reads a wire."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from random_graphs.builder import Builder, Wire
from random_graphs.numbers import vector
from random_graphs.steps import some, step, taken


@step("residual", keeps=True)
def residual(b: Builder, wire: Wire) -> Wire:
    """Two branches that add up."""
    left = some(b, wire)
    right = wire if b.chance(0.4) else some(b, wire)
    inputs = [left.name, right.name]
    if b.chance(0.2):
        inputs.reverse()
    return b.add(str(b.pick("Add", "Sub", "Add", "Mul")), inputs, wire.shape, wire.kind)


@step("with itself", keeps=True)
def doubled(b: Builder, wire: Wire) -> Wire:
    """One value as both operands."""
    return b.add(str(b.pick("Add", "Add", "Mul")), [wire.name, wire.name], wire.shape, wire.kind)


@step("Sum", keeps=True)
def total(b: Builder, wire: Wire) -> Wire:
    """Of one to three branches, and of a constant at times."""
    names = [some(b, wire, 2).name for _ in range(b.number(1, 3))]
    if b.opset >= 8 and b.chance(0.4) and wire.rank >= 2:
        names.insert(b.number(0, len(names)), vector(b, wire.shape[1], *[1] * (wire.rank - 2), kind=wire.kind))
    return b.add("Sum", names, wire.shape, wire.kind)


@step("beside an operator", keeps=True)
def beside(b: Builder, wire: Wire) -> Wire:
    """A linear operator and affines of what it reads, added in some order."""
    linear = "Conv, same" if wire.rank >= 3 and b.chance(0.8) else "MatMul, same"
    order = [0, wire.rank - 1, *range(1, wire.rank - 1)]
    turns = wire.rank >= 3 and b.chance(0.25)
    read = b.add("Transpose", [wire.name], [wire.shape[k] for k in order], wire.kind, perm=order) if turns else wire
    branches = [taken(b, linear, read)]
    if turns:
        back = [order.index(k) for k in range(wire.rank)]
        branches[0] = b.add("Transpose", [branches[0].name], wire.shape, wire.kind, perm=back)
    if b.chance(0.4):
        branches[0] = taken(b, "BatchNormalization", branches[0])
    for _ in range(b.number(1, 2)):
        affine = b.pick("BatchNormalization", "BatchNormalization, of nothing special", "normalization written out")
        affine = b.pick(affine, "constant along an axis") if turns else affine
        branches.append(taken(b, str(affine), wire))
    if b.chance(0.3):
        branches.append(some(b, wire, 2))
    while len(branches) > 1:
        count = 3 if len(branches) > 2 and b.chance(0.2) else 2
        names = [branches.pop(b.number(0, len(branches) - 1)).name for _ in range(count)]
        operator = "Sum" if count > 2 else str(b.pick("Add", "Add", "Sub", "Sum"))
        branches.append(b.add(operator, names, wire.shape, wire.kind))
    return branches[0]


@step("broadcast branch", keeps=True)
def broadcast(b: Builder, wire: Wire) -> Wire:
    """A branch that is one number per channel, or one per place."""
    b.require(wire.rank >= 3)
    kept = str(b.pick("channels", "places"))
    axes = list(range(2, wire.rank)) if kept == "channels" else [1]
    shape = [1 if k in axes else n for k, n in enumerate(wire.shape)]
    inputs, attributes = [wire.name], {"axes": axes}
    if b.opset >= 18:
        inputs, attributes = [wire.name, b.integers(axes)], {}
    small = some(b, b.add("ReduceMean", inputs, shape, wire.kind, **attributes), 2)
    large = some(b, wire, 2)
    both = [large.name, small.name]
    if b.chance(0.3):
        both.reverse()
    return b.add(str(b.pick("Add", "Sub", "Mul")), both, wire.shape, wire.kind)


@step("Concat")
def concat(b: Builder, wire: Wire) -> Wire:
    """Along the channels or another axis; one part may be a constant."""
    b.require(wire.rank >= 2)
    axis = 1 if b.chance(0.6) else b.number(1 if b.whole.options.open_batch else 0, wire.rank - 1)
    parts = [some(b, wire) if b.chance(0.8) else wire for _ in range(b.number(1, 3))]
    names, size = [part.name for part in parts], len(parts) * wire.shape[axis]
    if not b.whole.options.open_batch and b.chance(0.15):
        names.insert(b.number(0, len(names)), vector(b, *wire.shape, kind=wire.kind))
        size += wire.shape[axis]
    shape = [size if k == axis else n for k, n in enumerate(wire.shape)]
    stated = axis - wire.rank if b.opset >= 11 and b.chance(0.3) else axis
    return b.add("Concat", names, shape, wire.kind, axis=stated)


def _split(b: Builder, wire: Wire, axis: int) -> list[Wire]:
    size = wire.shape[axis]
    b.require(size >= 2)
    first = b.number(1, size - 1)
    equal = size % 2 == 0 and b.chance(0.5)
    sizes = [size // 2] * 2 if equal else [first, size - first]
    shapes = [[s if k == axis else n for k, n in enumerate(wire.shape)] for s in sizes]
    stated = axis - wire.rank if b.opset >= 11 and b.chance(0.3) else axis
    attributes: dict[str, Any] = {"axis": stated}
    inputs = [wire.name]
    if b.opset >= 18 and equal and b.chance(0.6):
        attributes["num_outputs"] = 2
    elif not (equal and b.opset < 18 and b.chance(0.5)):
        inputs += [b.integers(sizes)] if b.opset >= 13 else []
        attributes |= {} if b.opset >= 13 else {"split": sizes}
    return b.add_many("Split", inputs, shapes, wire.kind, **attributes)


@step("Split")
def split(b: Builder, wire: Wire) -> Wire:
    """The pieces go on for themselves; one may be read by nobody."""
    axis = 1 if b.chance(0.7) else b.number(0, wire.rank - 1)
    b.require(axis < wire.rank and not (axis == 0 and b.whole.options.open_batch))
    pieces = _split(b, wire, axis)
    if b.chance(0.2):
        return some(b, b.pick(*pieces))
    pieces = [some(b, piece, 2) if b.chance(0.7) else piece for piece in pieces]
    if b.chance(0.3):
        pieces.reverse()
    return b.add("Concat", [piece.name for piece in pieces], wire.shape, wire.kind, axis=axis)


@step("extreme", keeps=True)
def extreme(b: Builder, wire: Wire) -> Wire:
    """The largest or smallest of branches, or their mean, and of a constant at times."""
    names = [some(b, wire, 2).name for _ in range(b.number(1, 2))]
    if b.opset >= 8 and b.chance(0.4) and wire.rank >= 2:
        names.append(vector(b, wire.shape[1], *[1] * (wire.rank - 2), kind=wire.kind))
    return b.add(str(b.pick("Max", "Min", "Mean")), names, wire.shape, wire.kind)


@step("Gather")
def gather(b: Builder, wire: Wire) -> Wire:
    """One place or several, of any axis but an open one; a constant, or read from a Shape at times."""
    b.require(wire.rank >= 2)
    axis = b.number(1 if b.whole.options.open_batch else 0, wire.rank - 1)
    size = wire.shape[axis]
    least = -size if b.opset >= 11 else 0
    count = b.pick(0, 1, 2, size)
    places = [b.number(least, size - 1) for _ in range(int(count) or 1)]
    names = b.integers(places)
    if not count:
        names = b.derived("Squeeze", [names], **({"axes": [0]} if b.opset < 13 else {}))
    shape = [*wire.shape[:axis], *([len(places)] if count else []), *wire.shape[axis + 1 :]]
    return b.add("Gather", [wire.name, names], shape, wire.kind, axis=axis)


@step("also an output", keeps=True)
def output(b: Builder, wire: Wire) -> Wire:
    b.require(b.outer is None and not b.in_function and all(wire.name != out.name for out in b.outputs))
    b.require(bool(b.nodes) and any(wire.name in node.output for node in b.nodes))
    b.outputs.append(wire)
    return wire


@step("a constant is an output", keeps=True)
def constant_output(b: Builder, wire: Wire) -> Wire:
    """A weight that somebody outside looks at."""
    b.require(b.outer is None and not b.in_function)
    taken_names = {out.name for out in b.outputs}
    known = [(key, name) for key, names in b.shared.items() for name in names if name not in taken_names]
    b.require(bool(known))
    (shape, kind, _), name = b.pick(*known)
    b.require(all(name != tensor for tensor in b.whole.overridable))
    b.outputs.append(Wire(name, shape, kind))
    return wire


@step("Shape read", keeps=True)
def shape_read(b: Builder, wire: Wire) -> Wire:
    """The shape of the wire is an output, or the target of a Reshape behind other steps."""
    b.require(not b.in_function)
    shape = b.add("Shape", [wire.name], [wire.rank], TensorProto.INT64)
    if b.outer is None and b.chance(0.5):
        b.outputs.append(shape)
        return wire
    return b.add("Reshape", [some(b, wire, 2).name, shape.name], wire.shape, wire.kind)


@step("side branch", keeps=True)
def side(b: Builder, wire: Wire) -> Wire:
    """Another reader whose result is an output of its own."""
    b.require(b.outer is None and not b.in_function)
    aside = taken(b, str(b.pick("Conv", "Gemm", "MatMul", "Relu", "barrier")), some(b, wire, 2))
    b.require(aside.name != wire.name and all(aside.name != out.name for out in b.outputs))
    b.outputs.append(aside)
    return wire
