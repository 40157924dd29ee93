"""What becomes of an initializer: a parameter that trains, a statistic, numbers, or a tensor that stays as it is.

1. It is read as mean or variance of BatchNormalizations alone: a **statistic**, a buffer that training updates.
2. It is of a floating type, and some operator that gradients go through computes with it: a **parameter**. What an
   operator only looks up (the bounds of a Clip, the value of a Pad, the scales of a Resize, the exponent of a Pow, the
   scale of a quantization) does not count, and a tensor of rank 0 in elementwise arithmetic is a part of the formula.
3. Anything else: a **constant**, a buffer; or plain **numbers**, neither parameter nor buffer, where it is a short
   vector of int64, or one that operators only look up.
"""

from __future__ import annotations

from enum import Enum
from math import prod

from onnx import TensorProto

from bnfold.model.graph import Node, Value
from bnfold.model.tensors import FLOATS
from bnfold.torch.registry import find

MOST_NUMBERS = 256
"""A vector of more elements is no list of sizes or axes, and lives where tensors live."""


class Role(Enum):
    """What becomes of an initializer; the numbers are those of the rules above."""

    STATISTIC = 1
    PARAMETER = 2
    CONSTANT = 3


def role_of(value: Value, tensor: TensorProto) -> Role:
    """The role of an initializer of the main graph."""
    readers = value.value_readers
    if readers and not value.is_output and _is_statistic(readers):
        return Role.STATISTIC
    if tensor.data_type in FLOATS and any(_trains(node, index, tensor) for node, index in readers):
        return Role.PARAMETER
    return Role.CONSTANT


def is_numbers(value: Value, shape: tuple[int, ...], elem_type: int) -> bool:
    """Whether a constant is held as plain numbers."""
    if len(shape) > 1 or prod(shape) > MOST_NUMBERS:
        return False
    if elem_type == TensorProto.INT64:
        return True
    return not value.is_output and all(index in find(node).numbers for node, index in value.value_readers)


def _is_statistic(readers: list[tuple[Node, int]]) -> bool:
    """Whether all readers take it for a mean, or all for a variance."""
    kinds = {(node.op_type, node.domain, index) for node, index in readers}
    return kinds in ({("BatchNormalization", "", 3)}, {("BatchNormalization", "", 4)})


def _trains(node: Node, index: int, tensor: TensorProto) -> bool:
    operator = find(node)
    if index in operator.numbers or index in operator.fixed or not operator.is_differentiable:
        return False
    return bool(tensor.dims) or not operator.pointwise
