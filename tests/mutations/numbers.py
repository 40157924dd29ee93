"""Faults that show only at some numbers: negative ones, large ones, infinities and NaN."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, NodeProto, helper

from mutations.fault import Pair, chosen, copied, fault
from mutations.graphs import constant, float_inputs, float_outputs, insert_at_input, insert_behind, numpy_type, opset


@fault("only for negative inputs")
def negative_inputs(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    name = chosen(float_inputs(after.graph), place)
    if name is None:
        return None
    insert_at_input(after.graph, name, helper.make_node("LeakyRelu", ["in"], ["out"], alpha=1.01))
    return Pair(pair.before, after)


@fault("only for inputs beyond 4")
def large_inputs(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    name = chosen(float_inputs(after.graph), place)
    if name is None:
        return None
    limit = constant("limit", np.asarray(4, numpy_type(after.graph, name)))
    insert_at_input(after.graph, name, limit, helper.make_node("Min", ["in", "limit"], ["out"]))
    return Pair(pair.before, after)


@fault("a Relu lets a hundredth of the negative through")
def leaking(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    node = chosen([node for node in after.graph.node if node.op_type == "Relu"], place)
    if node is None:
        return None
    node.op_type = "LeakyRelu"
    node.attribute.append(helper.make_attribute("alpha", 0.01))
    return Pair(pair.before, after)


def _where_large(pair: Pair, place: float, before: float | None, after: float) -> Pair | None:
    """Both models with values of their own in place of what is above the mean of an output; `None`: the right ones."""
    name = chosen(float_outputs(pair.after.graph), place)
    if name is None or opset(pair.after) < 9:
        return None
    wrong = copied(pair.after)
    insert_behind(wrong.graph, name, *_replacing(wrong.graph, name, after))
    if before is None:
        return Pair(pair.before, wrong)
    right = copied(pair.before)
    insert_behind(right.graph, name, *_replacing(right.graph, name, before))
    return Pair(right, wrong)


def _replacing(graph: GraphProto, name: str, value: float) -> list[NodeProto]:
    return [
        constant("value", np.asarray(value, numpy_type(graph, name))),
        helper.make_node("ReduceMean", ["in"], ["mean"]),
        helper.make_node("Greater", ["in", "mean"], ["large"]),
        helper.make_node("Where", ["large", "value", "in"], ["out"]),
    ]


@fault("NaN against infinity")
def nan_for_infinity(pair: Pair, place: float) -> Pair | None:
    return _where_large(pair, place, np.inf, np.nan)


@fault("the other infinity")
def other_infinity(pair: Pair, place: float) -> Pair | None:
    return _where_large(pair, place, np.inf, -np.inf)


@fault("a finite number against infinity")
def finite_for_infinity(pair: Pair, place: float) -> Pair | None:
    return _where_large(pair, place, np.inf, 3e38)


@fault("NaN against numbers")
def nan_for_numbers(pair: Pair, place: float) -> Pair | None:
    return _where_large(pair, place, None, np.nan)


@fault("an output is constant")
def constant_output(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    name = chosen(float_outputs(after.graph), place)
    if name is None:
        return None
    zero = constant("zero", np.asarray(0, numpy_type(after.graph, name)))
    insert_behind(after.graph, name, zero, helper.make_node("Mul", ["in", "zero"], ["out"]))
    return Pair(pair.before, after)
