"""How an operand is laid over another one: numpy's rule, and the explicit one of ONNX before opset 7."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnfold.model.graph import Node

ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Pow"})


def aligned_shape(node: Node, operand: Sequence[int], rank: int) -> tuple[int, ...] | None:
    """The second operand's shape, written so that numpy's rule lays it where the operator does.

    Before opset 7 a second operand broadcasts only with ``broadcast = 1``, and then its first axis stands at `axis`
    of the first operand, else its last axes stand at the last ones (ONNX Add-1, Add-6). Without ``broadcast`` both
    shapes are equal. From opset 7 on the rule is numpy's. None: the two do not fit.

    Args:
        node: Add, Sub, Mul, Div or Pow.
        operand: shape of the second operand.
        rank: rank of the first.
    """
    shape = tuple(operand)
    if node.since_version >= 7:
        return shape
    if not node.attribute("broadcast", 0):
        return shape if len(shape) == rank else None
    if not node.has_attribute("axis"):
        return shape
    axis = int(node.attribute("axis"))
    trailing = rank - (axis + rank if axis < 0 else axis) - len(shape)
    return None if trailing < 0 else shape + (1,) * trailing


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that arrays of those shapes broadcast to.

    Raises:
        ValueError: they do not.
    """
    first, *others = dict.fromkeys(shapes)
    if not others:
        return first
    if len(others) == 1:  # what most operands are like: numpy makes arrays to find out
        (other,) = others
        if () in (first, other):
            return first or other
        if len(first) == len(other) and all(b in (1, a) for a, b in zip(first, other, strict=True)):
            return first
    return np.broadcast_shapes(first, *others)
