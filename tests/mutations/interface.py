"""Inputs and outputs that are not what they were."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, TensorProto, helper

from mutations.fault import Pair, chosen, copied, fault
from mutations.graphs import constant, float_inputs, float_outputs, insert_behind


def _renamed(graph: GraphProto, old: str, new: str) -> None:
    for entry in (*graph.input, *graph.output):
        entry.name = new if entry.name == old else entry.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


@fault("a renamed output")
def renamed_output(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    name = chosen(float_outputs(after.graph), place)
    if name is None:
        return None
    _renamed(after.graph, name, f"{name}_")
    return Pair(pair.before, after)


@fault("a renamed input")
def renamed_input(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    name = chosen(float_inputs(after.graph), place)
    if name is None:
        return None
    _renamed(after.graph, name, f"{name}_")
    return Pair(pair.before, after)


@fault("a dropped output")
def dropped_output(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    if len(after.graph.output) < 2:
        return None
    del after.graph.output[round(place * (len(after.graph.output) - 1))]
    return Pair(pair.before, after)


@fault("one output more")
def added_output(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    first = after.graph.output[0]
    after.graph.node.append(helper.make_node("Identity", [first.name], [f"{first.name}/more"]))
    after.graph.output.append(
        helper.make_tensor_value_info(f"{first.name}/more", first.type.tensor_type.elem_type, None)
    )
    return Pair(pair.before, after)


@fault("two outputs in the other order")
def other_order(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    if len(after.graph.output) < 2:
        return None
    after.graph.output.reverse()
    return Pair(pair.before, after)


@fault("two outputs have each other's values")
def swapped_outputs(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    names = float_outputs(after.graph)
    if len(names) < 2:
        return None
    swapped = {names[0]: names[1], names[1]: names[0]}
    for node in after.graph.node:
        node.input[:] = [swapped.get(name, name) for name in node.input]
        node.output[:] = [swapped.get(name, name) for name in node.output]
    return Pair(pair.before, after)


@fault("an output of another type")
def other_type(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    name = chosen(float_outputs(after.graph), place)
    if name is None:
        return None
    _renamed(after.graph, name, f"{name}/narrow")
    after.graph.node.append(helper.make_node("Cast", [f"{name}/narrow"], [name], to=TensorProto.DOUBLE))
    entry = next(entry for entry in after.graph.output if entry.name == f"{name}/narrow")
    entry.CopyFrom(helper.make_tensor_value_info(name, TensorProto.DOUBLE, None))
    return Pair(pair.before, after)


@fault("an output of another shape")
def other_shape(pair: Pair, place: float) -> Pair | None:
    after = copied(pair.after)
    name = chosen(float_outputs(after.graph), place)
    if name is None:
        return None
    flat = constant("flat", np.asarray([-1], np.int64))
    insert_behind(after.graph, name, flat, helper.make_node("Reshape", ["in", "flat"], ["out"]))
    entry = next(entry for entry in after.graph.output if entry.name == name)
    entry.CopyFrom(helper.make_tensor_value_info(name, entry.type.tensor_type.elem_type, None))
    return Pair(pair.before, after)
