"""How large and how small the constants of an operator are, before and after: where a narrow type gets tight.

float16: what is over 65504 becomes infinite; what is under 2^-14 loses digits, and under 2^-25 it becomes 0 (IEEE 754
binary16). int8 with one scale for the tensor: the largest magnitude is 127 steps, and a channel whose largest is a
hundredth of that has one step left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bnfold.model.constant import Constant
from bnfold.model.graph import Node
from bnfold.model.stored import blocks
from bnfold.model.tensors import Array
from bnfold.report.html.pairing import Pairing

HALF_LARGEST, HALF_NORMAL, HALF_GONE = 65504.0, 2.0**-14, 2.0**-25
STEPS = 127
FEW_STEPS = 16
"""Under so many int8 steps for the weakest channel, a tensor counts as tight."""

MANY_SUBNORMAL = 0.01
"""From this share of weights under float16's smallest normal number on, a tensor counts as tight."""


@dataclass(frozen=True)
class Extent:
    """What the values of one constant span.

    Attributes:
        largest: the largest magnitude.
        smallest: the smallest one that is not 0; 0 where all are.
        over: how many are over float16's largest number.
        subnormal: the share of those that are not 0 which is under float16's smallest normal number.
        vanishing: the share of them that float16 makes 0.
        steps: how many of 127 int8 steps the weakest channel has with one scale for all; NaN where there are no
            channels to be compared.
    """

    largest: float
    smallest: float
    over: int
    subnormal: float
    vanishing: float
    steps: float

    @property
    def complaints(self) -> tuple[str, ...]:
        """Where a narrow type gets tight, a word each."""
        found = []
        if self.over:
            found.append("float16 overflows")
        if self.subnormal > MANY_SUBNORMAL:
            found.append("float16 loses digits")
        if self.steps < FEW_STEPS:
            found.append("int8 needs scales per channel")
        return tuple(found)


@dataclass(frozen=True)
class Moved:
    """One constant of an operator that has changed.

    Attributes:
        node: the operator.
        role: what the constant is there: "weight", "bias", or "input 3".
        shape: its shape afterwards.
        before: what it spanned; None where there was none.
        after: what it spans; None where there is none any more.
    """

    node: Node
    role: str
    shape: tuple[int, ...]
    before: Extent | None
    after: Extent | None

    @property
    def news(self) -> tuple[str, ...]:
        """The complaints that there were none of before."""
        old = () if self.before is None else self.before.complaints
        return tuple(text for text in (() if self.after is None else self.after.complaints) if text not in old)


def moved_constants(pairing: Pairing) -> Iterator[Moved]:
    """Every floating point constant of every operator that has changed, with what it spanned and spans.

    Raises:
        ExternalDataError, ModelError: one can not be read.
    """
    for node, partner in pairing.changed:
        ours, theirs = dict(pairing.before.weights(node)), dict(pairing.after.weights(partner))
        for index in sorted(ours.keys() | theirs.keys()):
            old, new = ours.get(index), theirs.get(index)
            if not all(constant is None or constant.is_float for constant in (old, new)):
                continue
            shape = (new or old or Constant.of(np.zeros(0), 0)).shape
            extents = (None if constant is None else extent_of(constant, partner, index) for constant in (old, new))
            yield Moved(partner, role_of(partner, index), shape, *extents)


def role_of(node: Node, index: int) -> str:
    """What an input is to its operator, in a word."""
    if node.op_type == "BatchNormalization":
        return ("input", "scale", "bias", "mean", "variance")[index] if index < 5 else f"input {index}"
    if node.op_type in {"Conv", "ConvTranspose", "Gemm"}:
        return ("input", "weight", "bias")[index] if index < 3 else f"input {index}"
    return "weight" if node.op_type == "MatMul" else f"input {index}"


def extent_of(constant: Constant, node: Node, index: int) -> Extent:
    """What a constant spans, read block by block where it lies in a file.

    Raises:
        ExternalDataError, ModelError: it can not be read.
    """
    axis = _channel_axis(constant, node, index)
    largest, smallest, over, under, gone, count = 0.0, np.inf, 0, 0, 0, 0
    per_channel = np.zeros(constant.shape[axis] if axis is not None else 0)
    for values, part in _pieces(constant):
        size = np.abs(values.astype(np.float64))
        filled = size[size > 0]
        if filled.size:
            largest, smallest = max(largest, float(filled.max())), min(smallest, float(filled.min()))
        over += int(np.count_nonzero(size > HALF_LARGEST))
        under += int(np.count_nonzero(filled < HALF_NORMAL))
        gone += int(np.count_nonzero(filled <= HALF_GONE))
        count += filled.size
        if axis is not None and size.size:
            others = tuple(k for k in range(size.ndim) if k != axis)
            np.maximum(per_channel[part[axis]], size.max(axis=others), out=per_channel[part[axis]])
    alive = per_channel[per_channel > 0]
    steps = STEPS * float(alive.min() / alive.max()) if alive.size > 1 else float("nan")
    return Extent(largest, float(smallest) if count else 0.0, over, under / max(count, 1), gone / max(count, 1), steps)


def _pieces(constant: Constant) -> Iterator[tuple[Array, tuple[slice, ...]]]:
    stored = constant.locate()
    if stored is not None:
        yield from ((stored.read(block), block.part) for block in blocks(stored.shape))
        return
    values = np.asarray(constant.values)
    parts = [block.part for block in blocks(values.shape)] if values.ndim else [()]
    yield from ((values[part], part) for part in parts)  # what is computed with float64 takes room for a block


def _channel_axis(constant: Constant, node: Node, index: int) -> int | None:
    """The axis of the output channels of a weight; None for what is no weight of a linear operator."""
    rank = constant.rank
    if node.op_type == "Conv" and index == 1 and rank > 2:
        return 0
    if node.op_type == "ConvTranspose" and index == 1 and rank > 2:
        return 1
    if node.op_type == "Gemm" and index == 1 and rank == 2:
        return 0 if node.attribute("transB", 0) else 1
    return rank - 1 if node.op_type == "MatMul" and index == 1 and rank > 1 else None
