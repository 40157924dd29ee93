"""Find the affines of a graph: BatchNormalization of every opset, and constant Mul, Add, Sub, Div.

A BatchNormalization that an exporter wrote as Sub, Sqrt, Div, Mul, Add is a chain of such nodes, whose operands are
constant expressions: nothing more has to be recognised.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from bnfold.affine import Affine
from bnfold.model.broadcasting import aligned_shape
from bnfold.model.constants import Constant
from bnfold.model.graph import ONNX_DOMAIN, Node, Value
from bnfold.model.tensors import type_name
from bnfold.ops.affines import refuse_mode
from bnfold.ops.rule import Operator, Placed, Refusal
from bnfold.values import frozen

BATCH_NORMALIZATION = "BatchNormalization"
ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div"})

UNRESOLVED = 4
"""Unit roundoffs by which a scale of 1 can miss it: sum, root, reciprocal and product of the operator round once."""

ROUNDOFF = {kind: float(np.finfo(kind).eps) / 2 for kind in (np.float32, np.float64)}
"""The unit roundoff of a type."""


@frozen
class Source:
    """A node that is an affine.

    Attributes:
        node: the node.
        wire: the value that it maps.
        placed: the map, over an axis of that value; one channel if it is uniform.
        channels: how many channels the node states.
    """

    node: Node
    wire: Value
    placed: Placed
    channels: int

    @property
    def output(self) -> Value:
        """The mapped value."""
        (value, *_) = (v for v in self.node.outputs if v is not None)
        return value

    @property
    def edge(self) -> tuple[Node, int]:
        """The node, and the index of the input at which it reads the wire."""
        return self.node, next(index for index, value in enumerate(self.node.inputs) if value is self.wire)

    @property
    def is_normalization(self) -> bool:
        """Whether the node is a BatchNormalization."""
        return is_normalization(self.node)


def is_normalization(node: Node) -> bool:
    """Whether the node is ONNX's BatchNormalization."""
    return node.op_type == BATCH_NORMALIZATION and node.domain == ONNX_DOMAIN


def may_be_source(node: Node) -> bool:
    """Whether the node is of an operator that can be an affine."""
    return node.domain == ONNX_DOMAIN and (node.op_type == BATCH_NORMALIZATION or node.op_type in ELEMENTWISE)


def source_of(op: Operator) -> Source | Refusal | None:
    """The affine that a node is; a refusal for a BatchNormalization that is none; None for every other node."""
    if not any(op.node.outputs[:1]):
        return None  # nothing reads it
    if is_normalization(op.node):
        return _batch_normalization(op)
    if op.node.domain == ONNX_DOMAIN and op.node.op_type in ELEMENTWISE and op.node.since_version > 0:
        return _elementwise(op)
    return None


def _batch_normalization(op: Operator) -> Source | Refusal:
    """A BatchNormalization at inference.

    Given: ``y = scale * (x - mean) / sqrt(var + epsilon) + B``, parameters ``[C]`` over axis 1.
    Result: ``a = scale / sqrt(var + epsilon)``, ``b = B - mean * a`` (ONNX BatchNormalization-1, 6, 7, 9, 14, 15).
    Where no ``a`` is further from 1 than the operator's own arithmetic rounds, ``a = 1``: ``scale`` is that root as the
    type holds it (`bnfold.inserting.parameters`), and ``b`` is 0 where bias and mean are the same numbers.
    """
    refusal = refuse_mode(op)
    if refusal is not None:
        return refusal
    parameters: list[Constant] = []
    for index, role in enumerate(("scale", "bias", "mean", "variance"), start=1):
        parameter = _parameter(op, index, role)
        if isinstance(parameter, Refusal):
            return parameter
        parameters.append(parameter)
    if len({parameter.shape for parameter in parameters}) != 1 or parameters[0].rank != 1:
        return op.refuse("malformed", "has parameters that are not four vectors of one length")
    wire = op.input(0)
    if wire is None or not parameters[0].shape[0]:
        return op.refuse("malformed", "has no input, or no channels")
    channels, size = parameters[0].shape[0], op.shapes.channels(wire)
    if isinstance(size, int) and size != channels:
        return op.refuse("malformed", f"has parameters of {channels} channels for a value of {size}")
    epsilon, is_double = float(op.attribute("epsilon")), parameters[0].elem_type == TensorProto.DOUBLE
    affine = _normalizing(*(parameter.wide for parameter in parameters), epsilon=epsilon, is_double=is_double)
    if not affine.is_finite:
        return op.refuse(
            "not-finite", "has parameters that are not finite, or a variance + epsilon that is not above 0"
        )
    return Source(op.node, wire, Placed.of(affine, 1), channels)


def _normalizing(
    scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, variance: np.ndarray, *, epsilon: float, is_double: bool
) -> Affine:
    # Narrower types than float32 are computed in float32, or are so coarse that a scale that is not 1 would count as 1.
    roundoff = ROUNDOFF[np.float64 if is_double else np.float32]
    with np.errstate(all="ignore"):  # what is not finite is refused by the caller
        a = scale / np.sqrt(variance + epsilon)
        if _is_one(a[0], roundoff) and np.all(_is_one(a, roundoff)):
            a = np.ones_like(a)
        return Affine(a, bias - mean * a)


def _is_one(scale: np.ndarray, roundoff: float) -> np.ndarray:
    """Where a scale is as near to 1 as the operator's own arithmetic rounds."""
    near: np.ndarray = np.abs(scale - 1) <= UNRESOLVED * roundoff
    return near


def _parameter(op: Operator, index: int, role: str) -> Constant | Refusal:
    constant = op.constant(index)
    if constant is not None and constant.is_float:
        return constant
    value = op.input(index)
    if value is None:
        return op.refuse("malformed", f"has no {role}")
    if constant is None and op.constants.graph.is_overridable(value):
        return op.refuse_overridable(value, role)
    if constant is None:
        return op.refuse("dynamic-parameter", f"has a {role} '{value.name}' that is computed when the model runs")
    return op.refuse("type", f"has a {role} of type {type_name(constant.elem_type)}")


def _elementwise(op: Operator) -> Source | None:
    """A constant Mul, Add, Sub or Div along one axis.

    Given: ``x * c``, ``x + c``, ``x - c``, ``c - x``, ``x / c``, either operand order where the operator has one, with
    c a scalar or of one axis longer than 1 that is an axis of x. Result: the map that it is. ``c / x`` is none.
    """
    known = [op.constant(0), op.constant(1)]
    if (known[0] is None) == (known[1] is None):
        return None
    index = 0 if known[0] is None else 1  # where x is
    constant, wire = known[1 - index], op.input(index)
    if constant is None or wire is None or not constant.is_float:
        return None
    axis = _channel_axis(op, constant, index)
    if axis is None:
        return None
    affine = _affine_of(op.node.op_type, constant.wide.reshape(-1), constant_first=index == 1)
    if affine is None or not affine.is_finite:
        return None
    return Source(op.node, wire, Placed.of(affine, axis), affine.channels)


def _affine_of(op_type: str, c: np.ndarray, *, constant_first: bool) -> Affine | None:
    if op_type == "Mul":
        return Affine.of(c)
    if op_type == "Add":
        return Affine.of(1.0, c)
    if op_type == "Sub":
        return Affine.of(-1.0, c) if constant_first else Affine.of(1.0, -c)
    if constant_first:
        return None
    with np.errstate(all="ignore"):  # a division by zero is not finite, and no affine
        return Affine.of(1.0 / c)


def _channel_axis(op: Operator, constant: Constant, index: int) -> int | None:
    """The axis of x along which the constant lies; None where the node changes x's shape, or no one axis is meant."""
    shape = op.shapes.shape(op.input(index))
    if constant.rank == 0:
        return 0
    if shape is None:
        return None
    laid = constant.shape
    if op.node.since_version < 7:
        # Before opset 7 only the second operand broadcasts, and never beyond the first.
        aligned = aligned_shape(op.node, constant.shape, len(shape)) if index == 0 else None
        if aligned is None:
            return None
        laid = aligned
    if len(laid) > len(shape) or 0 in laid:
        return None
    long = [k for k, size in enumerate(laid) if size > 1]
    if len(long) > 1:
        return None
    if not long:
        return 0
    axis = len(shape) - len(laid) + long[0]
    # A size that is not known may be 1 when the model runs, and then the node makes the value larger.
    return axis if shape[axis] == laid[long[0]] else None
