"""Recurrent networks, which take an affine at their input."""

from __future__ import annotations

from random_graphs.builder import Builder, Wire
from random_graphs.numbers import vector, weight
from random_graphs.steps import step

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@step("recurrent")
def recurrent(b: Builder, wire: Wire) -> Wire:
    """One direction, the outputs of all steps: [T, N, I] -> [T, 1, N, H]."""
    b.require(wire.rank == 3 and b.opset >= 7)
    operator, hidden = str(b.pick(*GATES)), b.number(1, 3)
    rows = GATES[operator] * hidden
    inputs = [
        wire.name,
        weight(b, 1, rows, wire.shape[2], terms=wire.shape[2], kind=wire.kind),
        weight(b, 1, rows, hidden, terms=hidden, kind=wire.kind),
    ]
    inputs += [vector(b, 1, 2 * rows, kind=wire.kind)] if b.chance(0.6) else []
    shape = (wire.shape[0], 1, wire.shape[1], hidden)
    return b.add(operator, inputs, shape, wire.kind, hidden_size=hidden)
