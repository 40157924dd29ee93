"""Operators that normalize by statistics of their input."""

from __future__ import annotations

from math import prod

from random_graphs.builder import Builder, Wire
from random_graphs.numbers import vector
from random_graphs.steps import step


def _epsilon(b: Builder) -> dict[str, float]:
    """Large enough that a channel of equal numbers is no noise made large."""
    return {"epsilon": float(b.pick(0.1, 0.5, 1e-2))}


@step("InstanceNormalization", keeps=True)
def instance(b: Builder, wire: Wire) -> Wire:
    """A scale and a bias per channel."""
    b.require(wire.rank >= 3 and prod(wire.shape[2:]) > 1)
    numbers = [vector(b, wire.shape[1], kind=wire.kind) for _ in range(2)]
    return b.add("InstanceNormalization", [wire.name, *numbers], wire.shape, wire.kind, **_epsilon(b))


@step("GroupNormalization", keeps=True)
def group(b: Builder, wire: Wire) -> Wire:
    """Per group before opset 21, per channel from then on."""
    b.require(b.opset >= 18 and wire.rank >= 3 and prod(wire.shape[2:]) > 1)
    channels = wire.shape[1]
    groups = int(b.pick(*(g for g in range(1, channels + 1) if channels % g == 0)))
    numbers = [vector(b, channels if b.opset >= 21 else groups, kind=wire.kind) for _ in range(2)]
    return b.add("GroupNormalization", [wire.name, *numbers], wire.shape, wire.kind, num_groups=groups, **_epsilon(b))


@step("LayerNormalization", keeps=True)
def layer(b: Builder, wire: Wire) -> Wire:
    """Over the last axes; the scale over all of them or some, the bias of its shape or absent."""
    b.require(b.opset >= 17)
    axis, shape = _last_axes(b, wire)
    numbers = [vector(b, *shape, kind=wire.kind) for _ in range(b.number(1, 2))]
    return b.add("LayerNormalization", [wire.name, *numbers], wire.shape, wire.kind, axis=axis, **_epsilon(b))


@step("RMSNormalization", keeps=True)
def root_mean_square(b: Builder, wire: Wire) -> Wire:
    """The same without a mean and without a bias."""
    b.require(b.opset >= 23)
    axis, shape = _last_axes(b, wire)
    scale = vector(b, *shape, kind=wire.kind)
    return b.add("RMSNormalization", [wire.name, scale], wire.shape, wire.kind, axis=axis, **_epsilon(b))


def _last_axes(b: Builder, wire: Wire) -> tuple[int, tuple[int, ...]]:
    """(the first axis that is normalized, the shape of the scale)."""
    b.require(wire.rank >= 2 and wire.shape[-1] > 1)
    axis = b.number(1, wire.rank - 1)
    b.require(prod(wire.shape[axis:]) <= 200)
    return (axis if b.chance(0.5) else axis - wire.rank), wire.shape[axis:]
