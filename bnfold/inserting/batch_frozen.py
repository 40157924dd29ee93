"""The batch that was frozen when a model was exported: the first axis of its inputs, where that is a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx import ModelProto, ValueInfoProto

from bnfold.model.shapes import Shape

SYMBOL = "batch"


@dataclass(frozen=True)
class Frozen:
    """A batch with a size that can not be changed.

    Attributes:
        size: how many samples.
        inputs: the inputs whose first axis it is.
        symbol: what the axis will be called.
    """

    size: int
    inputs: frozenset[str]
    symbol: str


def find_frozen(model: ModelProto) -> Frozen | None:
    """The batch of a model: the first axis of its first input that has two axes or more, else of one that has one.

    Inputs with another first axis have no batch. `None` where there is no such input, or its first axis is open.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    held |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    ranked = [entry for entry in model.graph.input if entry.name not in held and dims_of(entry)]
    first = next((entry for entry in ranked if len(dims_of(entry)) > 1), ranked[0] if ranked else None)
    size = 0 if first is None else dims_of(first)[0].dim_value
    if size <= 0:
        return None
    inputs = frozenset(entry.name for entry in ranked if dims_of(entry)[0].dim_value == size)
    return Frozen(size, inputs, _unused(model))


def dims_of(entry: ValueInfoProto) -> Any:  # noqa: ANN401 (protobuf's repeated field)
    """The axes that a tensor is declared to have; none where its rank is open, or it is no tensor."""
    return entry.type.tensor_type.shape.dim


def _unused(model: ModelProto) -> str:
    """A name that no axis of the model has."""
    entries = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    taken = {dim.dim_param for entry in entries for dim in dims_of(entry)}
    candidates = (SYMBOL, *(f"{SYMBOL}_{number}" for number in range(1, len(taken) + 2)))
    return next(name for name in candidates if name not in taken)


def batch_axis_of(shape: Shape | None, symbol: str) -> int | None:
    """Where an output has the batch; the first axis where inference leaves that open, `None` where there is none."""
    if shape is not None and symbol in shape:
        return shape.index(symbol)
    return None if shape is not None and (not shape or isinstance(shape[0], int)) else 0
