"""Operators that normalize by statistics of their input, when the input comes without its affine.

``n(x) = (x - mean) / sqrt(var + epsilon)`` over what is normalized together. A shift that is one number there goes away
with the mean. A scale is its sign and another epsilon: ``n(a x + b) = sign(a) (x - mean) / sqrt(var + epsilon / a^2)``;
and there is one epsilon for all.
"""

from __future__ import annotations

import numpy as np

from bnfold.ops.linear import float_constant, wrong_axis
from bnfold.ops.normalizing import first_axis, of_groups
from bnfold.ops.registry import push
from bnfold.ops.rule import Factor, Operator, Placed, Refusal, Taken, scaled

FLOAT32 = np.finfo(np.float32)
"""The type of attributes, and so of every epsilon."""


@push("InstanceNormalization")
def push_instance_normalization(op: Operator, placed: Placed) -> Taken | Refusal:
    """An InstanceNormalization whose input comes without its affine.

    Given: ``y = S * n(a x + b) + B``, ``S: [C]``; the affine over axis 1. Each channel is normalized by itself.
    Result: ``S' = sign(a) * S``, ``epsilon' = epsilon / a^2``; nothing for b.
    Exact: iff ``|a|`` is one number, not 0, or epsilon is 0 (ONNX InstanceNormalization-1, 6, 22).
    """
    if not placed.is_uniform and placed.axis != 1:
        return wrong_axis(op, placed)
    return _without(op, placed.affine.scale, np.sign(placed.affine.scale))


@push("GroupNormalization", since=18)
def push_group_normalization(op: Operator, placed: Placed) -> Taken | Refusal:
    """A GroupNormalization whose input comes without its affine.

    Given: ``y = S * n(a x + b) + B``, the affine over axis 1. The channels of a group are normalized together.
    Result: ``S' = sign(a) * S``, ``epsilon' = epsilon / a^2``; nothing for b.
    Exact: iff a and b are the same within each group, and ``|a|`` is one number, not 0, or epsilon is 0
    (ONNX GroupNormalization-18, 21).
    """
    groups = int(op.attribute("num_groups", 1))
    affine = of_groups(op, placed, groups)
    if isinstance(affine, Refusal):
        return affine
    signs = np.sign(affine.scale)
    if op.node.since_version >= 21 and not placed.is_uniform:
        signs = np.repeat(signs, placed.affine.channels // groups)  # [G] -> [C]
    return _without(op, affine.scale, signs[:1] if placed.is_uniform else signs)


@push("LayerNormalization")
def push_layer_normalization(op: Operator, placed: Placed) -> Taken | Refusal:
    """A LayerNormalization whose input comes without its affine.

    Given: ``Y = S * n(a X + b) + B``; the affine the same everywhere, or over an axis in front of those that are
    normalized together. Result: ``S' = sign(a) * S``, ``epsilon' = epsilon / a^2``; nothing for b.
    Exact: iff ``|a|`` is one number, not 0, or epsilon is 0, and the sign of a is one (ONNX LayerNormalization-17).
    """
    if op.uses_output(1) or op.uses_output(2):
        return op.refuse("statistics", "gives its statistics as outputs, and they are used")
    return _in_front(op, placed)


@push("RMSNormalization")
def push_rms_normalization(op: Operator, placed: Placed) -> Taken | Refusal:
    """An RMSNormalization whose input comes without its affine; it takes no mean away, and so no shift.

    Given: ``Y = S * a X / rms(a X)``; a the same everywhere, or over an axis in front of those that are normalized
    together. Result: ``S' = sign(a) * S``, ``epsilon' = epsilon / a^2``.
    Exact: iff b = 0, ``|a|`` is one number, not 0, or epsilon is 0, and the sign of a is one
    (ONNX RMSNormalization-23).
    """
    if not placed.affine.is_scaling:
        return op.refuse("shift", "takes no mean away, so that a shift would change what it divides by")
    return _in_front(op, placed)


def _in_front(op: Operator, placed: Placed) -> Taken | Refusal:
    """What is normalized from one axis on, with a map that is one for all that is normalized together."""
    signs = np.sign(placed.affine.scale)
    if not placed.is_uniform:
        first = first_axis(op)
        if isinstance(first, Refusal):
            return first
        if placed.axis >= first:
            return op.refuse("not-uniform", "normalizes all channels together, and the affine differs between them")
        if np.any(signs != signs[0]):
            return op.refuse("negative-scale", "has one scale for all rows, and the signs of the affine differ")
    return _without(op, placed.affine.scale, signs[:1])


def _without(op: Operator, scale: Factor, signs: Factor) -> Taken | Refusal:
    """The edits of a normalization in front of which a scale goes.

    Args:
        op: the normalization.
        scale: a, one number for each set that is normalized together, or one for all.
        signs: the factor for S.
    """
    size = np.abs(scale)
    if not np.all(size):
        return op.refuse("zero-scale", "would divide by nothing but its epsilon: a scale is zero")
    epsilon = float(op.attribute("epsilon", 1e-5))
    if epsilon and np.any(size != size[0]):
        return op.refuse("not-uniform", "has one epsilon for all channels, and the scales of the affine differ")
    if np.any(signs < 0):
        own = float_constant(op, 1, "scale")
        if isinstance(own, Refusal):
            return own
    constants = scaled(1, signs.reshape(()) if signs.size == 1 else signs)
    if not epsilon or size[0] == 1.0:
        return Taken(constants=constants)
    with np.errstate(over="ignore", under="ignore"):
        wanted = epsilon / size[0] / size[0]
    if not FLOAT32.tiny <= wanted <= FLOAT32.max:
        code = "overflow" if wanted > 1.0 else "underflow"
        return op.refuse(code, f"would need an epsilon of {wanted:.1e}, which float32 does not hold")
    return Taken(constants=constants, attributes={"epsilon": float(wanted)})
