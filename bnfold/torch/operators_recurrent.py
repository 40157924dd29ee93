"""RNN, GRU and LSTM, step by step as ONNX defines them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.values import Context

State: TypeAlias = tuple[Tensor, ...]
"""What goes from step to step, ``[N, H]`` each: the output first, an LSTM's cell second."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}


@dataclass(frozen=True)
class Weights:
    """Those of one direction: w [G*H, I], r [G*H, H], the biases [G*H] each, and an LSTM's peepholes [3*H]."""

    w: Tensor
    r: Tensor
    bias_w: Tensor
    bias_r: Tensor
    peepholes: Tensor | None = None


Functions: TypeAlias = list[Callable[[Tensor], Tensor]]
Cell: TypeAlias = Callable[[Tensor, State, Weights, Functions], State]


def _rnn_cell(x: Tensor, state: State, of: Weights, functions: Functions) -> State:
    """H = f(x W' + h R' + b)."""
    return (functions[0](x + state[0] @ of.r.t() + of.bias_r),)


def _gru_cell(resets_late: bool) -> Cell:
    def cell(x: Tensor, state: State, of: Weights, functions: Functions) -> State:
        """Gates in the order z, r, h; H = (1 - z) * h + z * H."""
        (h,) = state
        xz, xr, xh = x.chunk(3, -1)
        rz, rr, rh = of.r.chunk(3)
        bz, br, bh = of.bias_r.chunk(3)
        z = functions[0](xz + h @ rz.t() + bz)
        r = functions[0](xr + h @ rr.t() + br)
        inner = r * (h @ rh.t() + bh) if resets_late else (r * h) @ rh.t() + bh
        return ((1 - z) * functions[1](xh + inner) + z * h,)

    return cell


def _lstm_cell(x: Tensor, state: State, of: Weights, functions: Functions) -> State:
    """Gates in the order i, o, f, c; C = f * C + i * c, H = o * h(C)."""
    h, c = state
    i, o, f, g = (x + h @ of.r.t() + of.bias_r).chunk(4, -1)
    pi, po, pf = (0, 0, 0) if of.peepholes is None else of.peepholes.chunk(3)
    i, f = functions[0](i + pi * c), functions[0](f + pf * c)
    fresh = f * c + i * functions[1](g)
    return functions[0](o + po * fresh) * functions[2](fresh), fresh


@dataclass(frozen=True)
class Recurrence:
    """A recurrent node.

    Attributes:
        cell: one step.
        functions: per direction.
        is_reverse: per direction.
        batch_first: whether the batch is the first axis (layout 1).
        has_cell: whether a second state goes along.
    """

    cell: Cell
    functions: list[Functions]
    is_reverse: list[bool]
    batch_first: bool
    has_cell: bool

    def __call__(self, _: Context, x: Tensor, w: Tensor, r: Tensor, *more: Tensor | None) -> tuple[Tensor, ...]:
        """x: [T, N, I], w: [D, G*H, I], r: [D, G*H, H]; more: b [D, 2*G*H], lengths, states [D, N, H], peepholes."""
        bias, _lengths, h, c, peepholes = (*more, None, None, None, None, None)[:5]
        x = x.transpose(0, 1) if self.batch_first else x
        outputs, states = [], []
        for k, is_reverse in enumerate(self.is_reverse):
            of = self._weights(
                w[k], r[k], None if bias is None else bias[k], None if peepholes is None else peepholes[k]
            )
            start = self._start(x, of, k, (h, c) if self.has_cell else (h,))
            made, last = self._run(x.flip(0) if is_reverse else x, of, start, self.functions[k])
            outputs.append(made.flip(0) if is_reverse else made)
            states.append(last)
        y = torch.stack(outputs, 1)  # [T, D, N, H]
        last_states = tuple(torch.stack(parts) for parts in zip(*states, strict=True))  # [D, N, H] each
        if self.batch_first:
            return (y.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last_states))
        return (y, *last_states)

    def _weights(self, w: Tensor, r: Tensor, bias: Tensor | None, peepholes: Tensor | None) -> Weights:
        zeros = w.new_zeros(w.shape[0])
        bias_w, bias_r = (zeros, zeros) if bias is None else bias.chunk(2)
        return Weights(w, r, bias_w, bias_r, peepholes)

    def _start(self, x: Tensor, of: Weights, direction: int, given: tuple[Tensor | None, ...]) -> State:
        zeros = x.new_zeros(x.shape[1], of.r.shape[1])
        axis = 1 if self.batch_first else 0
        return tuple(zeros if state is None else state.select(axis, direction) for state in given)

    def _run(self, x: Tensor, of: Weights, state: State, functions: Functions) -> tuple[Tensor, State]:
        outputs = []
        for step in (x @ of.w.t() + of.bias_w).unbind(0):
            state = self.cell(step, state, of, functions)
            outputs.append(state[0])
        return torch.stack(outputs), state


def _recurrence(spec: Spec, cell: Cell, defaults: list[str], *, has_cell: bool = False) -> Recurrence:
    direction = spec.get("direction", "forward")
    reverse = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}.get(direction)
    if reverse is None:
        raise spec.refuse(f"has a direction '{direction}' that is unknown")
    said = [name.decode() for name in spec.get("activations") or ()]
    names = [name.lower() for name in said or defaults * len(reverse)]
    for name in ("activation_alpha", "activation_beta"):
        spec.refuse_unless(not spec.get(name), f"has an attribute '{name}' that has no translation to torch")
    known = len(names) == len(defaults) * len(reverse) and set(names) <= set(ACTIVATIONS)
    spec.refuse_unless(known, f"has activations {names} that have no translation to torch")
    spec.refuse_unless(spec.get("clip") is None, "has a clip, which has no translation to torch")
    spec.refuse_unless(not spec.has_input(4), "has lengths of sequences, which have no translation to torch")
    spec.get("hidden_size")  # the weights have it
    functions = [ACTIVATIONS[name] for name in names]
    per_direction = [functions[k * len(defaults) :][: len(defaults)] for k in range(len(reverse))]
    layout = spec.get("layout", 0) if spec.version >= 14 else 0
    return Recurrence(cell, per_direction, reverse, bool(layout), has_cell)


@operator("RNN", 7, 14, 22)
def _rnn(spec: Spec) -> Run:
    return _recurrence(spec, _rnn_cell, ["tanh"])


@operator("GRU", 7, 14, 22)
def _gru(spec: Spec) -> Run:
    return _recurrence(spec, _gru_cell(bool(spec.get("linear_before_reset", 0))), ["sigmoid", "tanh"])


@operator("LSTM", 7, 14, 22)
def _lstm(spec: Spec) -> Run:
    spec.refuse_unless(not spec.get("input_forget", 0), "couples its gates (input_forget), which has no translation")
    return _recurrence(spec, _lstm_cell, ["sigmoid", "tanh", "tanh"], has_cell=True)
