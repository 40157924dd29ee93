"""Operators that normalize by statistics of their input take the affine behind them into their own scale and bias.

InstanceNormalization, GroupNormalization and LayerNormalization compute ``y = S * n(x) + B``, RMSNormalization
``y = S * n(x)``. So ``a y + b = (a S) n(x) + (a B + b)``, whatever n is: exact wherever S and B have a number of their
own for each channel of the affine.
"""

from __future__ import annotations

import numpy as np

from bnfold.affine import Affine
from bnfold.model.broadcasting import broadcast
from bnfold.model.constants import Constant
from bnfold.ops.linear import float_constant, other_channels, over_axis_one, wrong_axis
from bnfold.ops.registry import pull
from bnfold.ops.rule import NOTHING, Factor, Operator, Placed, Refusal, Rescale, Taken, along, scaled


@pull("InstanceNormalization")
@pull("GroupNormalization", since=21)
def pull_per_channel(op: Operator, placed: Placed) -> Taken | Refusal:
    """A normalization with a scale and a bias per channel, and an affine at its output.

    Given: ``y = S * n(x) + B``, ``S, B: [C]``; the affine over axis 1.
    Result: ``S' = a * S``, ``B' = a * B + b``.
    Exact: always (ONNX InstanceNormalization-1, 6, 22, GroupNormalization-21).
    """
    scale = _vector(op)
    if isinstance(scale, Refusal):
        return scale
    affine = over_axis_one(op, placed, scale.shape[0])
    return affine if isinstance(affine, Refusal) else _taken(op, affine)


@pull("GroupNormalization", since=18)
def pull_per_group(op: Operator, placed: Placed) -> Taken | Refusal:
    """A normalization with a scale and a bias per group of channels, and an affine at its output.

    Given: ``y = S * n(x) + B``, ``S, B: [G]``, each for C/G channels; the affine over axis 1, C channels.
    Result: ``S' = a * S``, ``B' = a * B + b``, with one a and b per group.
    Exact: iff a and b are the same within each group (ONNX GroupNormalization-18).
    """
    scale = _vector(op)
    if isinstance(scale, Refusal):
        return scale
    affine = of_groups(op, placed, scale.shape[0])
    return affine if isinstance(affine, Refusal) else _taken(op, affine)


def _vector(op: Operator) -> Constant | Refusal:
    """The scale, one number per channel or group."""
    scale = float_constant(op, 1, "scale")
    if not isinstance(scale, Refusal) and scale.rank != 1:
        return op.refuse("malformed", f"has a scale of {scale.rank} axes")
    return scale


def of_groups(op: Operator, placed: Placed, groups: int) -> Affine | Refusal:
    """The map per group: ``[C] -> [G]``."""
    if placed.is_uniform:
        return placed.affine.expand(groups)
    if placed.axis != 1:
        return wrong_axis(op, placed)
    if groups < 1 or placed.affine.channels % groups:
        return op.refuse(
            "malformed", f"has {placed.affine.channels} channels, which do not divide into {groups} groups"
        )
    scale, shift = (vector.reshape(groups, -1) for vector in (placed.affine.scale, placed.affine.shift))  # [G, C/G]
    if not all(bool(np.all(rows == rows[:, :1])) for rows in (scale, shift)):
        return op.refuse("not-uniform", "treats the channels of a group as one, and the affine differs between them")
    return Affine(scale[:, 0], shift[:, 0])


def _taken(op: Operator, affine: Affine) -> Taken | Refusal:
    bias = float_constant(op, 2, "bias")
    if isinstance(bias, Refusal):
        return bias
    return Taken(constants={**scaled(1, affine.scale), 2: Rescale(affine.scale, affine.shift)})


@pull("LayerNormalization")
def pull_layer_normalization(op: Operator, placed: Placed) -> Taken | Refusal:
    """A LayerNormalization with an affine at its output.

    Given: ``Y = S * n(X) + B``, S and B broadcast against the axes from `axis` on, B may be absent; the affine over one
    of these axes, or the same everywhere.
    Result: ``S' = a * S``, ``B' = a * B + b``, in the shape that S (or B) and the affine broadcast to.
    Exact: always; an affine over another axis would need a scale that differs along it (ONNX LayerNormalization-17).
    """
    scale = _scale_along(op, placed)
    if isinstance(scale, Refusal):
        return scale
    factor, shift = (_laid(op, placed, vector) for vector in (placed.affine.scale, placed.affine.shift))
    if op.has(2):
        bias = float_constant(op, 2, "bias")
        if isinstance(bias, Refusal):
            return bias
        return Taken(constants={**scaled(1, factor), 2: Rescale(factor, shift)})
    if placed.affine.is_scaling:
        return Taken(constants=scaled(1, factor))
    made = np.broadcast_to(shift, broadcast(scale.shape, shift.shape))  # onnxruntime wants both in one shape
    return Taken(constants={**scaled(1, factor), 2: Rescale(np.zeros(()), made, of=NOTHING)})


@pull("RMSNormalization")
def pull_rms_normalization(op: Operator, placed: Placed) -> Taken | Refusal:
    """An RMSNormalization, which has no bias, with an affine at its output.

    Given: ``Y = S * X / rms(X)``, S as for `pull_layer_normalization`.
    Result: ``S' = a * S``; a shift becomes an Add behind it.
    Exact: always (ONNX RMSNormalization-23).
    """
    scale = _scale_along(op, placed)
    if isinstance(scale, Refusal):
        return scale
    behind = None if placed.affine.is_scaling else placed.shifting
    return Taken(constants=scaled(1, _laid(op, placed, placed.affine.scale)), behind=behind)


def _scale_along(op: Operator, placed: Placed) -> Constant | Refusal:
    """The scale, where the axis of the affine is one of its own."""
    scale = float_constant(op, 1, "scale")
    if isinstance(scale, Refusal) or placed.is_uniform:
        return scale
    first = first_axis(op)
    if isinstance(first, Refusal):
        return first
    if placed.axis < first:
        return wrong_axis(op, placed)
    own = placed.axis - (op.rank(0) or 0)  # counted from the end
    if scale.rank >= -own and scale.shape[own] not in (1, placed.affine.channels):
        return other_channels(op, placed, scale.shape[own])
    return scale


def first_axis(op: Operator) -> int | Refusal:
    """The first of the axes that are normalized together."""
    axis, rank = int(op.attribute("axis", -1)), op.rank(0)
    if rank is None:
        return op.refuse("unknown-shape", "has an input whose rank is not known, so the channel axis is not either")
    return axis + rank if axis < 0 else axis


def _laid(op: Operator, placed: Placed, vector: Factor) -> Factor:
    """A vector along the axis of the map: ``[C] -> [C, 1, ..., 1]``; one number for a uniform map."""
    return vector.reshape(()) if placed.is_uniform else along(vector, 0, (op.rank(0) or 0) - placed.axis)
