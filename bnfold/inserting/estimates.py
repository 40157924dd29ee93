"""Measured statistics put into a BatchNormalization, and how far they are from those that it had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnfold.inserting.moments import Moments
from bnfold.inserting.normalizations import Normalization, Vector, skip
from bnfold.inserting.parting import add_own, is_own
from bnfold.inserting.sites import Skipped
from bnfold.inserting.training_forms import MEAN, VARIANCE, has_inference_form, is_training, turn
from bnfold.inserting.view import View
from bnfold.model.constant import Constant
from bnfold.model.graph import Node
from bnfold.model.names import Names
from bnfold.model.patch import Patch
from bnfold.model.tensors import round_to, type_name, with_values

_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Calibrated:
    """A BatchNormalization with new statistics, or in a new form.

    Attributes:
        node: its name, or operator and output where it has none.
        channels: how many it has; 0 where its statistics stayed and their number is not known.
        moved: the largest distance of a new mean from the old one, in old standard deviations sqrt(var + epsilon).
        smallest_ratio: the smallest ratio of a new variance to the old one, each with epsilon, as the node uses them.
        largest_ratio: the largest such ratio.
        dead: how many channels never change on the data.
        was_training: whether it was in training mode.
    """

    node: str
    channels: int
    moved: float = 0.0
    smallest_ratio: float = 1.0
    largest_ratio: float = 1.0
    dead: int = 0
    was_training: bool = False


def settle(view: View, patch: Patch, names: Names, found: Normalization, moments: Moments) -> Calibrated | Skipped:
    """Give a BatchNormalization the statistics of its input, rounded once to the types it has them in."""
    node = found.node
    rounded = [_rounded(moments.mean, found.mean), _rounded(moments.variance, found.variance)]
    if not all(np.isfinite(vector).all() for vector in rounded):
        kind = type_name(found.variance.elem_type)
        return skip(node, "overflow", f"has statistics on these data that are out of the range of {kind}")
    stored = [_stored(view, patch, names, node, *one) for one in zip((MEAN, VARIANCE), rounded, strict=True)]
    if not has_inference_form(node):
        turn(patch, names, node, *stored)
    else:
        for index, name in zip((MEAN, VARIANCE), stored, strict=True):
            if name != node.proto.input[index]:
                patch.read_instead(node, index, name)
    return _compared(found, *rounded, dead=moments.dead)


def _rounded(values: Vector, held: Constant) -> Vector:
    return round_to(values, held.elem_type).astype(np.float64)


def _stored(view: View, patch: Patch, names: Names, node: Node, index: int, values: Vector) -> str:
    """The name of the initializer that holds a statistic from now on: the old one where no one else uses it."""
    value, constant = node.inputs[index], view.constants.get(node.inputs[index])
    if value is None or constant is None:
        raise AssertionError(f"{node.label} has no constant at input {index}")
    if value.tensor is not None and is_own(value):
        patch.replace_constant(value, with_values(value.tensor, values))
        return value.name
    return add_own(patch, names, node, value, Constant.of(values, constant.elem_type))


def _compared(found: Normalization, mean: Vector, variance: Vector, *, dead: int) -> Calibrated:
    old = np.maximum(found.variance.wide + found.epsilon, _TINY)  # destroyed statistics may be below zero
    ratios = np.maximum(variance + found.epsilon, _TINY) / old
    distances = np.abs(mean - found.mean.wide) / np.sqrt(old)
    return Calibrated(
        found.node.label,
        found.channels,
        float(distances.max(initial=0.0)),
        float(ratios.min(initial=np.inf)),
        float(ratios.max(initial=0.0)),
        dead,
        is_training(found.node),
    )
