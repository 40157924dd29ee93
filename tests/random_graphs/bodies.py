"""Bodies of If, Loop and Scan, and model-local functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from random_graphs.builder import Builder, Wire
from random_graphs.numbers import positive, vector, weight
from random_graphs.steps import some, step, taken

DOMAIN = "own"


def graph_of(b: Builder, name: str, inputs: Sequence[Wire], outputs: Sequence[Wire]) -> GraphProto:
    return helper.make_graph(
        b.nodes,
        name,
        [_entry(b, wire) for wire in inputs],
        [_entry(b, wire) for wire in outputs],
        b.initializers,
    )


def _entry(b: Builder, wire: Wire) -> ValueInfoProto:
    """Nothing is said of shapes in which a size is open, scalars apart."""
    shape = None if b.whole.options.open_batch and wire.rank else wire.shape
    return helper.make_tensor_value_info(wire.name, wire.kind, shape)


def made_here(b: Builder, wire: Wire, inputs: Sequence[Wire] = ()) -> Wire:
    """A value that a node of this body makes: an output of a body can not be what it captures or takes."""
    made = {name for node in b.nodes for name in node.output}
    return wire if wire.name in made else b.unary("Identity", wire)


@step("If", keeps=True)
def if_(b: Builder, wire: Wire) -> Wire:
    """Both branches capture the wire; weights inside or captured."""
    b.require(b.opset >= 9 and not b.in_function and b.whole.options.kind != TensorProto.BFLOAT16)
    if not b.whole.conditions or b.chance(0.3):
        b.whole.conditions.append(b.whole.name("cond"))
    condition = str(b.pick(*b.whole.conditions))
    graphs = []
    for name in ("then", "else"):
        body = b.body()
        result = made_here(body, some(body, wire))
        graphs.append(graph_of(body, b.whole.name(name), [], [result]))
    return b.add("If", [condition], wire.shape, wire.kind, then_branch=graphs[0], else_branch=graphs[1])


@step("Loop", keeps=True)
def loop(b: Builder, wire: Wire) -> Wire:
    """Two turns; the wire is carried around."""
    b.require(b.opset >= 11 and not b.in_function)
    trips, go = b.stored(np.asarray(2, np.int64)), b.stored(np.asarray(True))
    body = b.body()
    turn = Wire(b.whole.name("i"), (), TensorProto.INT64)
    going = Wire(b.whole.name("g"), (), TensorProto.BOOL)
    carried = Wire(b.whole.name("h"), wire.shape, wire.kind)
    inside = some(body, carried)
    if b.chance(0.5):  # what goes around stays small
        inside = body.unary("Sigmoid", inside)
    if b.chance(0.3):
        inside = body.add("Add", [inside.name, wire.name], wire.shape, wire.kind)
    result = made_here(body, inside)
    go_on = body.unary("Identity", going)
    graph = graph_of(body, b.whole.name("body"), [turn, going, carried], [go_on, result])
    return b.add("Loop", [trips, go, wire.name], wire.shape, wire.kind, body=graph)


@step("Scan")
def scan(b: Builder, wire: Wire) -> Wire:
    """Over the first axis: one turn for each of its places."""
    b.require(b.opset >= 9 and not b.in_function and wire.rank >= 3)
    body = b.body()
    element = Wire(b.whole.name("e"), wire.shape[1:], wire.kind)
    inside = element
    for _ in range(b.number(1, 3)):
        inside = taken(body, str(b.pick("Gemm", "Conv", "MatMul", "BatchNormalization", "Relu", "Transpose")), inside)
    result = made_here(body, some(body, inside, 2))
    graph = graph_of(body, b.whole.name("body"), [element], [result])
    shape = (wire.shape[0], *result.shape)
    return b.add("Scan", [wire.name], shape, wire.kind, body=graph, num_scan_inputs=1)


@step("function", keeps=True)
def function(b: Builder, wire: Wire) -> Wire:
    """Constants inside; called once, or twice in a row."""
    b.require(b.opset >= 9 and not b.in_function)
    body = b.body(in_function=True)
    argument = Wire(b.whole.name("a"), wire.shape, wire.kind)
    inside = some(body, argument, 4)
    b.require(inside.name != argument.name)
    name = f"layer{len(b.whole.functions)}"
    opsets = [helper.make_opsetid("", b.opset)]
    inner = [node for node in body.nodes if node.domain]
    opsets += [helper.make_opsetid(DOMAIN, 1)] if inner else []
    made = helper.make_function(DOMAIN, name, [argument.name], [inside.name], body.nodes, opsets)
    b.whole.functions.append(made)
    for _ in range(b.number(1, 2)):
        (wire,) = b.add_many(name, [wire.name], [wire.shape], wire.kind, domain=DOMAIN)
    return wire


@step("function of weights")
def function_of_weights(b: Builder, wire: Wire) -> Wire:
    """A convolution and its normalization, whose parameters are arguments; each call has weights of its own."""
    b.require(b.opset >= 9 and not b.in_function and 3 <= wire.rank <= 5)
    channels, space = wire.shape[1], [1] * (wire.rank - 2)
    names = [b.whole.name(stem) for stem in ("x", "W", "s", "b", "m", "v")]
    inner, outer = b.whole.name("c"), b.whole.name("y")
    nodes = [
        helper.make_node("Conv", names[:2], [inner]),
        helper.make_node("BatchNormalization", [inner, *names[2:]], [outer]),
    ]
    name = f"layer{len(b.whole.functions)}"
    made = helper.make_function(DOMAIN, name, names, [outer], nodes, [helper.make_opsetid("", b.opset)])
    b.whole.functions.append(made)
    for _ in range(b.number(1, 2)):
        parameters = [weight(b, channels, channels, *space, terms=channels, kind=wire.kind)]
        parameters += [make(b, channels, kind=wire.kind) for make in (vector, vector, vector, positive)]
        (wire,) = b.add_many(name, [wire.name, *parameters], [wire.shape], wire.kind, domain=DOMAIN)
    return wire
