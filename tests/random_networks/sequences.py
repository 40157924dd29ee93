"""Blocks on `[N, C, T]`: recurrent layers, and convolutions along time."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from random_graphs.builder import Wire
from random_graphs.numbers import constant

from random_networks.images import residual
from random_networks.layers import Net

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(net: Net, wire: Wire) -> Wire:
    """A recurrent layer between Transposes, normalized over its hidden channels; or a block of convolutions."""
    b = net.b
    if b.chance(0.5):
        return residual(net, wire)
    b.require(wire.rank == 3 and wire.kind in (TensorProto.FLOAT, TensorProto.DOUBLE))
    op_type, hidden = str(b.pick(*GATES)), int(b.pick(4, 6))
    n, channels, steps = wire.shape
    gates = GATES[op_type] * hidden
    spread = 1 / np.sqrt(hidden)
    shapes = ((1, gates, channels), (1, gates, hidden), (1, 2 * gates))
    names = [constant(b, b.rng.uniform(-spread, spread, shape), wire.kind) for shape in shapes]
    along = net.transposed(wire, (2, 0, 1))
    made = b.add(op_type, [along.name, *names], (steps, 1, n, hidden), wire.kind, hidden_size=hidden)
    back = net.transposed(_squeezed(net, made), (1, 2, 0))
    return net.norm(back) if b.chance(0.8) else back


def _squeezed(net: Net, wire: Wire) -> Wire:
    """Without the axis of the directions."""
    shape = (wire.shape[0], *wire.shape[2:])
    if net.b.opset >= 13:
        return net.b.add("Squeeze", [wire.name, net.integers([1])], shape, wire.kind)
    return net.b.add("Squeeze", [wire.name], shape, wire.kind, axes=[1])
