"""Operators that are affines themselves and stay: a map that arrives at one becomes part of it.

BatchNormalization takes any map per channel into its scale and bias; Mul and Div take a scale into their constant, and
let a shift pass towards the outputs. Add and Sub, which take a shift, are sums: see `bnfold.ops.joining`.
"""

from __future__ import annotations

import numpy as np

from bnfold.affine import Affine
from bnfold.model.constants import Constant
from bnfold.ops.registry import pull, push
from bnfold.ops.rule import Operator, Placed, Refusal, Rescale, Taken, along, scaled


@pull("BatchNormalization")
def pull_batch_normalization(op: Operator, placed: Placed) -> Taken | Refusal:
    """A BatchNormalization with another affine behind it.

    Given: ``y = scale * (x - mean) / sqrt(var + epsilon) + B``, the affine over axis 1.
    Result: ``scale' = a * scale``, ``B' = a * B + b``. Exact: always (ONNX BatchNormalization-1 to 15).
    """
    parameters = _parameters(op, placed)
    if isinstance(parameters, Refusal):
        return parameters
    return Taken(constants={1: Rescale(placed.affine.scale), 2: Rescale(placed.affine.scale, placed.affine.shift)})


@push("BatchNormalization")
def push_batch_normalization(op: Operator, placed: Placed) -> Taken | Refusal:
    """A BatchNormalization with another affine in front of it.

    Given: ``y = scale * (a x + b - mean) / sqrt(var + epsilon) + B``, the affine over axis 1.
    Result: ``scale' = a * scale``, ``B' = B + scale / sqrt(var + epsilon) * (b - mean + a * mean)``, statistics as they
    are.
    Exact: always at inference (ONNX BatchNormalization-1 to 15).
    """
    parameters = _parameters(op, placed)
    if isinstance(parameters, Refusal):
        return parameters
    gamma, _, mean, variance = (parameter.wide for parameter in parameters)
    a, b = placed.affine.scale, placed.affine.shift
    shift = gamma / np.sqrt(variance + float(op.attribute("epsilon"))) * (b - mean + a * mean)  # [C]
    return Taken(constants={1: Rescale(a), 2: Rescale(np.ones(()), shift)})


def _parameters(op: Operator, placed: Placed) -> list[Constant] | Refusal:
    """The four parameters of a node at inference; a refusal where they are no constants, or the axis is another."""
    if refusal := refuse_mode(op):
        return refusal
    found = [op.constant(index) for index in (1, 2, 3, 4)]
    known = [parameter for parameter in found if parameter is not None and parameter.is_float]
    if len(known) != 4 or len({parameter.shape for parameter in known}) != 1 or known[0].rank != 1:
        return op.refuse("dynamic-parameter", "has parameters that are no four constant vectors of one length")
    if not placed.is_uniform and (placed.axis != 1 or placed.affine.channels != known[0].shape[0]):
        return op.refuse("axis", f"normalizes axis 1, and the affine lies on axis {placed.axis}")
    return known


def refuse_mode(op: Operator) -> Refusal | None:
    """Whether a BatchNormalization normalizes with statistics of the batch, or with none per channel."""
    version = op.node.since_version
    if version == 0:
        return op.refuse("opset", f"belongs to opset {op.node.opset}, which the installed onnx does not know")
    if op.node.refers_to_function_attributes:
        return op.refuse("function-attribute", "takes an attribute from the call of the function that it stands in")
    if version >= 14 and op.attribute("training_mode", 0):
        return op.refuse("training", "is in training mode: it normalizes with the statistics of each batch")
    if version < 7 and not op.attribute("is_test", 0):
        return op.refuse("training", "has is_test = 0: it normalizes with the statistics of each batch")
    if version < 9 and not op.attribute("spatial", 1):
        return op.refuse("spatial", "has spatial = 0: one mean per element, not per channel")
    if any(op.uses_output(index) for index in range(1, len(op.node.outputs))):
        return op.refuse("statistics", "gives its statistics as outputs, and they are used")
    if 7 <= version < 14 and len(op.node.outputs) > 1:
        return op.refuse("training", "lists outputs for its statistics, which means training mode before opset 14")
    return None


@pull("Mul", "Div", since=7)
def pull_factor(op: Operator, placed: Placed) -> Taken | Refusal:
    """A constant factor with a scale behind it.

    Given: ``y = x * c``, ``x / c`` or ``c / x``, c of any shape. Result: ``c' = a * c``, for ``x / c`` ``c' = c / a``.
    Exact: iff b = 0, and for ``x / c`` a is nowhere 0 (ONNX Mul-7, 13, 14, Div-7, 13, 14).
    """
    return _into_constant(op, placed)


@push("Mul", "Div", since=7)
def push_factor(op: Operator, placed: Placed) -> Taken | Refusal:
    """A constant factor with an affine in front of its first operand.

    Given: ``y = (a x + b) * c`` or ``(a x + b) / c``. Result: ``c' = a * c``, for Div ``c / a``; ``b * c``, for Div
    ``b / c``, is owed behind.
    Exact: the scale iff for Div a is nowhere 0; the shift iff b * c differs along one axis only (ONNX Mul-7, 13, 14,
    Div-7, 13, 14).
    """
    constant = op.constant(1)
    if constant is None:
        return op.refuse("barrier", "multiplies two values neither of which is a constant")
    rank, own = op.output_rank(), op.rank(0)
    if not placed.is_uniform and (rank is None or own is None):
        return op.refuse("unknown-shape", "multiplies a value whose rank is not known")
    behind = placed.on(placed.axis + (rank or 0) - (own or 0))
    scaling = _into_constant(op, behind.scaling)
    if isinstance(scaling, Refusal) or placed.affine.is_scaling:
        return scaling
    owed = _shift_times(op, behind, constant)
    return owed if isinstance(owed, Refusal) else Taken({0: owed}, scaling.constants)


def _shift_times(op: Operator, placed: Placed, constant: Constant) -> Placed | Refusal:
    """The shift times the factor: ``b * c``, where both lie along one axis of the output, or one of them along none."""
    rank, long = op.output_rank(), [k for k, size in enumerate(constant.shape) if size > 1]
    if rank is None and long:
        return op.refuse("unknown-shape", "multiplies a value whose rank is not known")
    axes = {(rank or 0) - constant.rank + k for k in long} | (set() if placed.is_uniform else {placed.axis})
    if len(axes) > 1:
        return op.refuse("axis", "multiplies with a constant that differs along another axis than the shift")
    factor = constant.wide.reshape(-1)
    if factor.size > 1 and placed.affine.channels not in (1, factor.size):
        return op.refuse("channels", f"has {factor.size} factors, and the affine {placed.affine.channels} channels")
    with np.errstate(all="ignore"):  # what is not finite is refused where it is owed
        shift = placed.affine.shift / factor if op.node.op_type == "Div" else placed.affine.shift * factor
    return Placed.of(Affine.of(1.0, shift), max(axes, default=0))


def _into_constant(op: Operator, placed: Placed) -> Taken | Refusal:
    index = next((k for k in (1, 0) if (c := op.constant(k)) is not None and c.is_float), None)
    if index is None:
        return op.refuse("barrier", "multiplies two values neither of which is a constant")
    if not placed.affine.is_scaling:
        return op.refuse("shift", "multiplies with a constant, which can take a scale and no shift")
    rank = op.output_rank()
    if rank is None and not placed.is_uniform:
        return op.refuse("unknown-shape", "multiplies a value whose rank is not known")
    divides = op.node.op_type == "Div" and index == 1
    if divides and not np.all(placed.affine.scale):
        return op.refuse("zero-scale", "divides by a constant, and a scale of zero has no inverse")
    scale = 1.0 / placed.affine.scale if divides else placed.affine.scale
    laid = scale.reshape(()) if placed.is_uniform else along(scale, 0, (rank or 0) - placed.axis)
    return Taken(constants=scaled(index, laid))
