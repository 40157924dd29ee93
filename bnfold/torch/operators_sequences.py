"""Sequences of tensors, which torch's exporter makes of chunk and split: lists, inside of the graph alone."""

from __future__ import annotations

import torch
from torch import Tensor

from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.values import Context, Host, integers, number, sizes


@operator("SplitToSequence", 11, 24, numbers=(1,))
def _split_to_sequence(spec: Spec) -> Run:
    """Pieces of the given sizes, or of one size and a rest; without any, single elements."""
    axis, keeps = spec.get("axis", 0), bool(spec.get("keepdims", 1))

    def run(_: Context, x: Tensor, split: Tensor | Host | None = None) -> list[Tensor]:
        if split is None:
            return list(torch.split(x, 1, axis)) if keeps else list(x.unbind(axis))
        is_scalar = split.is_scalar if isinstance(split, Host) else split.ndim == 0
        return list(torch.split(x, int(number(split)) if is_scalar else integers(split), axis))

    return run


@operator("SequenceConstruct", 11)
def _sequence_construct(_: Spec) -> Run:
    return lambda _, *xs: list(xs)


@operator("SequenceAt", 11, numbers=(1,))
def _sequence_at(_: Spec) -> Run:
    return lambda _, xs, place: xs[int(number(place))]


@operator("SequenceLength", 11, is_differentiable=False)
def _sequence_length(_: Spec) -> Run:
    return lambda _, xs: sizes([len(xs)])._replace(is_scalar=True)


@operator("ConcatFromSequence", 11)
def _concat_from_sequence(spec: Spec) -> Run:
    axis, is_new = spec.get("axis"), bool(spec.get("new_axis", 0))
    return lambda _, xs: torch.stack(xs, axis) if is_new else torch.cat(xs, axis)
