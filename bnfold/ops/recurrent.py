"""LSTM, GRU and RNN whose input comes without its affine: the weights of the input take it in.

Each computes its gates from ``x W + W_B`` and what it remembers, so ``(a x + b) W + W_B = x (a W) + (b W + W_B)``. What
comes out has been through the gates, so that no map at the output is pulled.
"""

from __future__ import annotations

import numpy as np

from bnfold.ops.linear import float_constant, other_channels, refuse_integers, wrong_axis
from bnfold.ops.registry import push
from bnfold.ops.rule import NOTHING, Operator, Placed, Refusal, Rescale, Taken, along, scaled

WEIGHT, BIAS = 1, 3
ONE = np.ones(())


@push("LSTM", "GRU", "RNN", since=7)
def push_recurrent(op: Operator, placed: Placed) -> Taken | Refusal:
    """A recurrent network with an affine at its input.

    Given: gates of ``x W^T + W_B + h R^T + R_B``, ``x: [T, N, I]`` or ``[N, T, I]``, ``W: [D, G, I]``, ``B: [D, 2G]``,
    first W_B and then R_B, or none; the affine over axis 2. Result: ``W' = W ⊙ a`` along I, ``W_B' = W_B + W b``.
    Exact: always; padding behind the length of a sequence is not looked at (ONNX LSTM-7, 14, 22, GRU-7, 14, 22,
    RNN-7, 14, 22).
    """
    weight = refuse_integers(op, WEIGHT) or float_constant(op, WEIGHT, "weight")
    if isinstance(weight, Refusal):
        return weight
    if weight.rank != 3:
        return op.refuse("malformed", f"has a weight of {weight.rank} axes")
    if not placed.is_uniform and placed.axis != 2:
        return wrong_axis(op, placed)
    if placed.affine.channels not in (1, weight.shape[2]):
        return other_channels(op, placed, weight.shape[2])
    affine = placed.affine.expand(weight.shape[2])
    constants = scaled(WEIGHT, along(affine.scale, 2, 3))
    if affine.is_scaling:
        return Taken(constants=constants)
    shift = weight.wide @ affine.shift  # [D, G, I] @ [I] -> [D, G]
    offset = np.concatenate([shift, np.zeros_like(shift)], axis=1)  # [D, 2G]
    if not op.has(BIAS):
        return Taken(constants={**constants, BIAS: Rescale(np.zeros(()), offset, of=NOTHING)})
    bias = float_constant(op, BIAS, "bias")
    return bias if isinstance(bias, Refusal) else Taken(constants={**constants, BIAS: Rescale(ONE, offset)})
