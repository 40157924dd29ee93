"""The affines: BatchNormalization, constant Mul, Add, Sub and Div in every shape, and normalizations written out."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from random_graphs.builder import Builder, Wire
from random_graphs.numbers import constant, laid, positive, vector
from random_graphs.steps import step, taken

ARITHMETIC = ("Mul", "Add", "Sub", "Div")


@step("BatchNormalization", keeps=True)
def normalization(b: Builder, wire: Wire) -> Wire:
    """Of any numbers."""
    return _normalization(
        b,
        wire,
        str(b.pick("usual", "usual", "positive", "scale", "zeros", "uniform", "narrow", "var", "identity", "extreme")),
    )


@step("BatchNormalization, a positive scale alone", keeps=True)
def scaling(b: Builder, wire: Wire) -> Wire:
    """One that passes a rectifier."""
    return _normalization(b, wire, "scale")


@step("BatchNormalization, of nothing special", keeps=True)
def usual(b: Builder, wire: Wire) -> Wire:
    return _normalization(b, wire, "usual")


def _normalization(b: Builder, wire: Wire, numbers: str) -> Wire:
    b.require(wire.rank >= 2)
    channels = wire.shape[1]
    mixed = b.opset >= 15 and wire.kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16) and b.chance(0.5)
    kinds = [wire.kind, TensorProto.FLOAT if mixed else wire.kind]
    parameters = _parameters(b, channels, numbers, kinds)
    epsilon = float(b.pick(1e-5, 1e-3, 0.1)) if b.chance(0.5) or numbers == "narrow" else None
    epsilon = 0.0 if numbers == "identity" else epsilon
    momentum = 0.9 if b.chance(0.3) else None
    stated = {"training_mode": 0} if b.opset >= 14 and b.chance(0.2) else {}
    inputs = [wire.name, *parameters]
    return b.add("BatchNormalization", inputs, wire.shape, wire.kind, epsilon=epsilon, momentum=momentum, **stated)


def _parameters(b: Builder, channels: int, numbers: str, kinds: list[int]) -> list[str]:
    """(scale, bias, mean, var)."""
    kind, statistics = kinds
    if numbers == "scale":
        none = constant(b, np.zeros(channels), kind)
        mean = none if kind == statistics else constant(b, np.zeros(channels), statistics)
        return [positive(b, channels, kind=kind), none, mean, positive(b, channels, kind=statistics)]
    if numbers == "var" and kind == statistics:
        both = positive(b, channels, kind=kind)
        return [both, vector(b, channels, kind=kind), vector(b, channels, kind=kind), both]
    if numbers == "identity":
        return [
            constant(b, np.full(channels, v), k)
            for v, k in zip((1.0, 0.0, 0.0, 1.0), kinds[:1] * 2 + kinds[1:] * 2, strict=True)
        ]
    make = positive if numbers == "positive" else vector
    scale = make(b, channels, kind=kind)
    if numbers == "zeros":
        chosen = np.where(b.rng.random(channels) < 0.3, 0.0, b.rng.uniform(0.5, 1.5, channels))
        scale = constant(b, chosen, kind)
    if numbers == "uniform":
        full = [np.full(channels, float(b.rng.uniform(0.5, 1.5))) for _ in range(4)]
        return [constant(b, v, k) for v, k in zip(full, (kind, kind, statistics, statistics), strict=True)]
    if numbers == "extreme":
        scale = constant(b, 10.0 ** b.rng.uniform(-3.0, 3.0, channels), kind)
    variance = positive(b, channels, kind=statistics)
    if numbers == "narrow":
        variance = constant(b, b.rng.uniform(0.0, 1e-4, channels), statistics)
    return [scale, vector(b, channels, kind=kind), vector(b, channels, kind=statistics), variance]


@step("constant along an axis", keeps=True)
def along_axis(b: Builder, wire: Wire) -> Wire:
    """Along the channels mostly, and the last axis often, which may have as many places."""
    b.require(wire.rank >= 1)
    axis = int(b.pick(min(1, wire.rank - 1), min(1, wire.rank - 1), wire.rank - 1, b.number(0, wire.rank - 1)))
    return constant_operand(b, wire, str(b.pick(*ARITHMETIC)), axis)


@step("positive constant", keeps=True)
def positive_constant(b: Builder, wire: Wire) -> Wire:
    """A factor that passes a rectifier."""
    b.require(wire.rank >= 2)
    name = positive(b, *laid(wire.shape[1], 1, wire.rank)[b.number(0, 1) :], kind=wire.kind)
    return b.add(str(b.pick("Mul", "Div")), [wire.name, name], wire.shape, wire.kind)


def constant_operand(b: Builder, wire: Wire, op_type: str, axis: int) -> Wire:
    """A constant along one axis, in either order, with or without the leading ones."""
    size = wire.shape[axis]
    if b.whole.options.open_batch and axis == 0 and b.chance(0.7):
        size = 1  # a constant as long as an open batch is rare, if it is written for one size
    full = laid(size, axis, wire.rank)
    shape = full[b.number(0, axis) :]
    if op_type != "Div" and b.chance(0.1):
        return _operate(b, wire, op_type, _telling_nothing(b, op_type, shape, wire.kind), wire.shape)
    return _operate(b, wire, op_type, vector(b, *shape, kind=wire.kind), wire.shape)


def _telling_nothing(b: Builder, op_type: str, shape: list[int], kind: int) -> str:
    """A factor of one or an addend of zero, or a factor that is zero in some places."""
    if op_type == "Mul" and b.chance(0.5):
        return constant(b, np.where(b.rng.random(shape) < 0.3, 0.0, b.rng.uniform(0.5, 1.5, shape)), kind)
    return constant(b, np.full(shape, 1.0 if op_type == "Mul" else 0.0), kind)


def _operate(b: Builder, wire: Wire, op_type: str, name: str, shape: tuple[int, ...]) -> Wire:
    inputs = [wire.name, name]
    if op_type != "Div" and b.chance(0.35):
        inputs.reverse()
    return b.add(op_type, inputs, shape, wire.kind)


@step("scalar constant", keeps=True)
def scalar(b: Builder, wire: Wire) -> Wire:
    shape = [1] * b.number(0, wire.rank)
    return _operate(b, wire, str(b.pick(*ARITHMETIC)), vector(b, *shape, kind=wire.kind), wire.shape)


@step("full constant", keeps=True)
def full(b: Builder, wire: Wire) -> Wire:
    """As large as the wire, or along two axes: no map per channel, unless all its numbers are one."""
    b.require(wire.rank >= 2)
    shape = [size if b.chance(0.6) else 1 for size in wire.shape]
    return _operate(b, wire, str(b.pick(*ARITHMETIC)), vector(b, *shape, kind=wire.kind), wire.shape)


@step("constant of higher rank")
def higher(b: Builder, wire: Wire) -> Wire:
    """Leading ones that the wire has not: the rank grows."""
    b.require(1 <= wire.rank <= 4)
    axis = b.number(0, wire.rank - 1)
    size = 1 if b.whole.options.open_batch and axis == 0 else wire.shape[axis]
    shape = [1, *laid(size, axis, wire.rank)]
    return _operate(b, wire, str(b.pick(*ARITHMETIC)), vector(b, *shape, kind=wire.kind), (1, *wire.shape))


@step("constant of another size")
def wider(b: Builder, wire: Wire) -> Wire:
    """An axis of size 1 grows to the size of the constant."""
    single = [k for k, size in enumerate(wire.shape) if size == 1]
    b.require(bool(single))
    axis = int(b.pick(*single))
    shape = laid(b.number(2, 3), axis, wire.rank)
    result = tuple(max(a, c) for a, c in zip(wire.shape, shape, strict=True))
    return _operate(b, wire, str(b.pick(*ARITHMETIC)), vector(b, *shape, kind=wire.kind), result)


@step("normalization written out", keeps=True)
def written_out(b: Builder, wire: Wire) -> Wire:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias``, the root in the graph."""
    b.require(wire.rank >= 2)
    axis = b.number(1, wire.rank - 1)
    shape = laid(wire.shape[axis], axis, wire.rank)[axis if b.chance(0.5) else 0 :]
    mean, scale, bias = (vector(b, *shape, kind=wire.kind) for _ in range(3))
    epsilon = constant(b, np.asarray(0.001), wire.kind)
    root = b.derived("Sqrt", [b.derived("Add", [positive(b, *shape, kind=wire.kind), epsilon])])
    centred = b.add("Sub", [wire.name, mean], wire.shape, wire.kind)
    if b.chance(0.5):
        factor = b.derived("Div", [scale, root])
        scaled = b.add("Mul", [centred.name, factor], wire.shape, wire.kind)
    else:
        divided = b.add("Div", [centred.name, root], wire.shape, wire.kind)
        scaled = b.add("Mul", [divided.name, scale], wire.shape, wire.kind)
    return b.add("Add", [bias, scaled.name] if b.chance(0.3) else [scaled.name, bias], wire.shape, wire.kind)


@step("Conv or Gemm, then BatchNormalization")
def layer(b: Builder, wire: Wire) -> Wire:
    """What networks are made of."""
    before = taken(b, "Conv" if wire.rank >= 3 else "Gemm", wire)
    return taken(b, "BatchNormalization", before)
