"""Faults that show only at some sizes: of the batch, or of an open axis."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, NodeProto, ValueInfoProto, helper

from mutations.fault import Pair, copied, fault
from mutations.graphs import constant, float_inputs, float_outputs, insert_behind, numpy_type


def _open_axes(graph: GraphProto) -> tuple[ValueInfoProto, list[int]]:
    """The first float input, and which of its axes are open."""
    name = float_inputs(graph)[0]
    entry = next(entry for entry in graph.input if entry.name == name)
    return entry, [axis for axis, dim in enumerate(entry.type.tensor_type.shape.dim) if not dim.dim_value]


def _scaled_where(pair: Pair, axis: int, operator: str, size: int) -> Pair | None:
    """The first output times 1.01 where the size of an axis compares so; `None` where the axis is fixed."""
    after = copied(pair.after)
    outputs = float_outputs(after.graph)
    if not outputs or not float_inputs(after.graph) or axis not in _open_axes(after.graph)[1]:
        return None
    kind = helper.np_dtype_to_tensor_dtype(numpy_type(after.graph, outputs[0]))
    nodes: list[NodeProto] = [
        helper.make_node("Shape", [_open_axes(after.graph)[0].name], ["shape"]),
        constant("axis", np.asarray(axis, np.int64)),
        helper.make_node("Gather", ["shape", "axis"], ["found"]),
        helper.make_node("Cast", ["found"], ["size"], to=kind),
        constant("limit", np.asarray(size, numpy_type(after.graph, outputs[0]))),
        helper.make_node(operator, ["size", "limit"], ["holds"]),
        helper.make_node("Cast", ["holds"], ["one"], to=kind),
        constant("hundredth", np.asarray(0.01, numpy_type(after.graph, outputs[0]))),
        helper.make_node("Mul", ["one", "hundredth"], ["more"]),
        helper.make_node("Mul", ["in", "more"], ["error"]),
        helper.make_node("Add", ["in", "error"], ["out"]),
    ]
    insert_behind(after.graph, outputs[0], *nodes)
    return Pair(pair.before, after)


@fault("only for a batch above 1")
def batch_above_one(pair: Pair, place: float) -> Pair | None:
    return _scaled_where(pair, 0, "Greater", 1)


@fault("only for a batch of 1")
def batch_of_one(pair: Pair, place: float) -> Pair | None:
    return _scaled_where(pair, 0, "Less", 2)


@fault("only for images larger than 32")
def larger_images(pair: Pair, place: float) -> Pair | None:
    return _scaled_where(pair, 2, "Greater", 32)


@fault("only for images smaller than 32")
def smaller_images(pair: Pair, place: float) -> Pair | None:
    return _scaled_where(pair, 2, "Less", 32)


@fault("every entry of the batch gets the result of the first")
def first_of_the_batch(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    outputs = float_outputs(after.graph)
    if not outputs or not float_inputs(after.graph) or 0 not in _open_axes(after.graph)[1]:
        return None
    nodes = [
        constant("zero", np.asarray([0], np.int64)),
        helper.make_node("Gather", ["in", "zero"], ["first"], axis=0),
        helper.make_node("Shape", ["in"], ["shape"]),
        helper.make_node("Expand", ["first", "shape"], ["out"]),
    ]
    insert_behind(after.graph, outputs[0], *nodes)
    return Pair(pair.before, after)


@fault("a batch of 2 is baked in")
def baked_batch(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    outputs = float_outputs(after.graph)
    if not outputs or not float_inputs(after.graph) or 0 not in _open_axes(after.graph)[1]:
        return None
    rank = len(next(o for o in after.graph.output if o.name == outputs[0]).type.tensor_type.shape.dim)
    if not rank:
        return None
    shape = constant("shape", np.asarray([2] + [0] * (rank - 1), np.int64))
    insert_behind(after.graph, outputs[0], shape, helper.make_node("Reshape", ["in", "shape"], ["out"]))
    return Pair(pair.before, after)
