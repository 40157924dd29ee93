"""Operators that work on each element alone, and barriers that do not magnify."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from random_graphs.builder import Builder, Wire
from random_graphs.numbers import constant, laid, vector
from random_graphs.steps import step


@step("Relu", keeps=True)
def relu(b: Builder, wire: Wire) -> Wire:
    return b.unary("Relu", wire)


@step("LeakyRelu", keeps=True)
def leaky(b: Builder, wire: Wire) -> Wire:
    return b.unary("LeakyRelu", wire, alpha=float(b.pick(0.1, 0.5, -0.25)))


@step("PRelu", keeps=True)
def prelu(b: Builder, wire: Wire) -> Wire:
    b.require(wire.rank >= 2)
    shape = b.pick([], [1], laid(wire.shape[1], 1, wire.rank)[1:], [wire.shape[-1]])
    return b.add("PRelu", [wire.name, vector(b, *shape, kind=wire.kind)], wire.shape, wire.kind)


@step("Clip", keeps=True)
def clip(b: Builder, wire: Wire) -> Wire:
    """Both bounds, one of them, or none."""
    bounds = [float(b.rng.uniform(-1.5, -0.2)), float(b.rng.uniform(0.2, 1.5))]
    stated = [b.chance(0.8), b.chance(0.8)]
    if b.opset < 11:
        attributes = {k: v for k, v, given in zip(("min", "max"), bounds, stated, strict=True) if given}
        return b.unary("Clip", wire, **attributes)
    names = [constant(b, np.asarray(v), wire.kind) if given else "" for v, given in zip(bounds, stated, strict=True)]
    while names and not names[-1]:
        names.pop()
    return b.add("Clip", [wire.name, *names], wire.shape, wire.kind)


@step("Cast")
def cast(b: Builder, wire: Wire) -> Wire:
    """To another floating point type, or the same."""
    b.require(b.opset >= 9)
    kinds = [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16]
    kind = int(b.pick(*kinds, TensorProto.FLOAT))
    return b.add("Cast", [wire.name], wire.shape, kind, to=kind)


@step("Cast, there and back", keeps=True)
def cast_and_back(b: Builder, wire: Wire) -> Wire:
    b.require(b.opset >= 9 and wire.kind in (TensorProto.FLOAT, TensorProto.FLOAT16))
    other = TensorProto.FLOAT16 if wire.kind == TensorProto.FLOAT else TensorProto.FLOAT
    there = b.add("Cast", [wire.name], wire.shape, other, to=other)
    inside = b.add("Mul", [there.name, vector(b, kind=other)], wire.shape, other) if b.chance(0.5) else there
    return b.add("Cast", [inside.name], wire.shape, wire.kind, to=wire.kind)


@step("Dropout", keeps=True)
def dropout(b: Builder, wire: Wire) -> Wire:
    if b.opset < 12 or not b.chance(0.3):
        return b.unary("Dropout", wire)
    ratio, training = b.stored(np.asarray(0.5, np.float32)), b.stored(np.asarray(False))
    return b.add("Dropout", [wire.name, ratio, training], wire.shape, wire.kind)


@step("Identity", keeps=True)
def identity(b: Builder, wire: Wire) -> Wire:
    return b.unary("Identity", wire)


@step("Neg", keeps=True)
def negation(b: Builder, wire: Wire) -> Wire:
    return b.unary("Neg", wire)


@step("barrier", keeps=True)
def barrier(b: Builder, wire: Wire) -> Wire:
    """No rule, and no number becomes much larger."""
    return b.unary(str(b.pick("Abs", "Sigmoid", "Tanh")), wire)


@step("read twice", keeps=True)
def read_twice(b: Builder, wire: Wire) -> Wire:
    gate = b.unary("Sigmoid", wire)
    return b.add("Mul", [wire.name, gate.name], wire.shape, wire.kind)
