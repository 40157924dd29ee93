"""The constants of a graph that hold the size of its batch, written so that they hold for every size.

An exporter that sees one batch of b samples writes b into the shapes that it gives to Reshape and Expand:

    Reshape to [b, ...]    becomes [0, ...], which copies the first axis of what is reshaped, where that is the batch
                           and the other axes keep their elements; else [-1, ...], where no other entry is -1
    Expand to [b, ...]     becomes [1, ...], where the first axis of what is expanded is the batch already

The batch is where shape inference finds its symbol. What is behind such a node is known only once that is settled, so
this is repeated until nothing is left to do. Whether it was right is shown by running the model.
"""

from __future__ import annotations

from math import prod

import numpy as np
from onnx import ModelProto, numpy_helper

from bnfold.inserting.view import View
from bnfold.model.container import Container
from bnfold.model.graph import ONNX_DOMAIN
from bnfold.model.names import Names
from bnfold.model.patch import Patch, apply
from bnfold.model.shapes import Shape
from bnfold.ops.rule import Operator

SHAPE_AS_INPUT = 5
"""Since this version Reshape takes its shape as an input."""

Entries = list[int]


def settle_constants(container: Container, model: ModelProto, size: int, symbol: str) -> ModelProto:
    """A copy of a model, or the model itself, in which no Reshape and no Expand holds the batch any more.

    Each node gets a constant of its own: others that read the old one keep it.

    Args:
        container: where its external weights lie.
        model: its inputs have the symbol as their first axis already.
        size: the batch that was frozen.
        symbol: the name of the axis.
    """
    while True:
        view = View(container, model)
        patch, names = Patch(), Names(view.graph)
        for node in view.graph.nodes():
            op = view.operator(node)
            entries = _settled(op, size, symbol)
            held = op.input(1)
            if entries is None or held is None:
                continue
            tensor = numpy_helper.from_array(np.array(entries, np.int64), names.fresh(f"{held.name}.batch"))
            patch.add_constant(node.scope, tensor)
            patch.read_instead(node, 1, tensor.name)
        if not patch.inputs:
            return model
        model = apply(patch, view.graph)


def shape_constant(op: Operator) -> Entries | None:
    """The shape that a Reshape or an Expand is given as a constant; `None` for any other node."""
    node = op.node
    if node.domain != ONNX_DOMAIN or node.op_type not in ("Reshape", "Expand") or node.since_version < SHAPE_AS_INPUT:
        return None
    constant = op.constant(1)
    if constant is None or constant.is_float or constant.rank != 1:
        return None
    return [int(entry) for entry in constant.wide]


def _settled(op: Operator, size: int, symbol: str) -> Entries | None:
    entries, data = shape_constant(op), op.shapes.shape(op.input(0))
    if not entries or entries[0] <= 0 or data is None or not any(dim is None or isinstance(dim, str) for dim in data):
        return None
    if op.node.op_type == "Expand":
        fits = entries[0] == size != 1 and data[0] == symbol and len(data) == len(entries)
        return [1, *entries[1:]] if fits else None
    if entries[0] == size and data[0] == symbol and not op.attribute("allowzero", 0) and _keeps_sample(entries, data):
        return [0, *entries[1:]]
    if -1 not in entries and entries[0] % size == 0:
        return [-1, *entries[1:]]
    return None


def _keeps_sample(entries: Entries, data: Shape) -> bool:
    """Whether what stands behind the first axis has as many elements before and after, as far as that is known."""
    rest = [dim for dim in data[1:] if isinstance(dim, int)]
    if len(rest) < len(data) - 1 or any(entry <= 0 for entry in entries[1:]):
        return True
    return prod(rest) == prod(entries[1:])
