"""A block in a body of If or Loop, in a function of the model, or twice with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from onnx import TensorProto, helper
from random_graphs.bodies import DOMAIN, graph_of, made_here
from random_graphs.builder import Wire

from random_networks.layers import Net

Block: TypeAlias = Callable[[Net, Wire], Wire]


def wrapped(net: Net, wire: Wire, block: Block) -> Wire:
    """In one of these ways."""
    ways: tuple[Callable[[Net, Wire, Block], Wire], ...] = (in_if, in_loop, in_function, in_function, twice)
    way: Callable[[Net, Wire, Block], Wire] = net.b.pick(*ways)
    return way(net, wire, block)


def in_if(net: Net, wire: Wire, block: Block) -> Wire:
    """One of two blocks, as an input says."""
    b = net.b
    b.require(b.opset >= 9 and not b.in_function and wire.kind != TensorProto.BFLOAT16)
    if not b.whole.conditions:
        b.whole.conditions.append(b.whole.name("cond"))
    graphs, shapes = [], []
    for name in ("then", "else"):
        inner = net.inside()
        result = made_here(inner.b, block(inner, wire))
        shapes.append(result.shape)
        graphs.append(graph_of(inner.b, b.whole.name(name), [], [result]))
    b.require(shapes[0] == shapes[1])
    condition = b.whole.conditions[0]
    return b.add("If", [condition], shapes[0], wire.kind, then_branch=graphs[0], else_branch=graphs[1])


def in_loop(net: Net, wire: Wire, block: Block) -> Wire:
    """Two turns of a block, whose result goes into the next turn."""
    b = net.b
    b.require(b.opset >= 11 and not b.in_function)
    trips, go = b.stored(np.asarray(2, np.int64)), b.stored(np.asarray(True))
    inner = net.inside()
    turn = Wire(b.whole.name("i"), (), TensorProto.INT64)
    going = Wire(b.whole.name("g"), (), TensorProto.BOOL)
    carried = Wire(b.whole.name("h"), wire.shape, wire.kind)
    result = made_here(inner.b, block(inner, carried))
    b.require(result.shape == wire.shape)
    go_on = inner.b.unary("Identity", going)
    body = graph_of(inner.b, b.whole.name("body"), [turn, going, carried], [go_on, result])
    return b.add("Loop", [trips, go, wire.name], wire.shape, wire.kind, body=body)


def in_function(net: Net, wire: Wire, block: Block) -> Wire:
    """A function of the model, called once, or twice where it keeps the shape."""
    b = net.b
    b.require(b.opset >= 9 and not b.in_function)
    inner = net.inside(in_function=True)
    argument = Wire(b.whole.name("a"), wire.shape, wire.kind)
    result = made_here(inner.b, block(inner, argument))
    b.require(all(not node.domain for node in inner.b.nodes))
    name = f"block{len(b.whole.functions)}"
    imports = [helper.make_opsetid("", b.opset)]
    b.whole.functions.append(helper.make_function(DOMAIN, name, [argument.name], [result.name], inner.b.nodes, imports))
    calls = 2 if result.shape == wire.shape and b.chance(0.5) else 1
    for _ in range(calls):
        (wire,) = b.add_many(name, [wire.name], [result.shape], wire.kind, domain=DOMAIN)
    return wire


def twice(net: Net, wire: Wire, block: Block) -> Wire:
    """Once more with the same weights, on its own result."""
    first = len(net.b.nodes)
    result = block(net, wire)
    net.b.require(result.shape == wire.shape)
    return net.renamed(first, wire, result, result)
