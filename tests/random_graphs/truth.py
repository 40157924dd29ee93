"""A fast evaluation in float64: onnx.reference, where it is slow or lacks an operator with one of our own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper
from support import Array, Feeds, widened

from bnfold.checking.reference_operators import Evaluator
from bnfold.model.graph import scope_protos

NARROW = ".float32"
"""The ending of the name of a value that is float32 in a graph in float64."""


def in_double(model: ModelProto) -> ModelProto:
    """The graph in float64 throughout, but for the factors of a Resize, which are float32 whatever it resizes."""
    wide = widened(model)
    factors = {name for scope in scope_protos(model) for node in scope.node for name in _factors(node)}
    for before, scope in zip(scope_protos(model), scope_protos(wide), strict=True):
        for tensor, now in zip(getattr(before, "initializer", ()), getattr(scope, "initializer", ()), strict=True):
            if tensor.name in factors:
                now.CopyFrom(tensor)
        _cast_what_is_dequantized(scope)
    return wide


def _cast_what_is_dequantized(scope: GraphProto | FunctionProto) -> None:
    """A DequantizeLinear gives float32, whatever the graph around it: a Cast behind it makes that float64."""
    nodes: list[NodeProto] = []
    for node in scope.node:
        kept = NodeProto()
        kept.CopyFrom(node)
        nodes.append(kept)
        if node.op_type != "DequantizeLinear" or kept.output[0].endswith(NARROW):
            continue
        kept.output[0] += NARROW
        nodes.append(helper.make_node("Cast", [kept.output[0]], [node.output[0]], to=TensorProto.DOUBLE))
    del scope.node[:]
    scope.node.extend(nodes)


def _factors(node: NodeProto) -> list[str]:
    return list(node.input[1:3]) if node.op_type in ("Resize", "Upsample", "Dropout") else []


def evaluated(model: ModelProto, feeds: Feeds) -> list[Array]:
    """The outputs, in the types that the model has."""
    return all_evaluated(model, [feeds])[0]


def all_evaluated(model: ModelProto, sets: Sequence[Feeds]) -> list[list[Array]]:
    """The outputs for each set of inputs."""
    with np.errstate(all="ignore"):
        evaluator = Evaluator(sorted_model(model))
        return [[np.asarray(value) for value in evaluator.run(None, dict(feeds))] for feeds in sets]


def sorted_model(model: ModelProto) -> ModelProto:
    """The nodes of the main graph in an order in which they can be run: the model itself, if they are."""
    given = {t.name for t in model.graph.initializer} | {entry.name for entry in model.graph.input} | {""}
    return model if _is_sorted(model, given) else _sorted(model, given)


def _is_sorted(model: ModelProto, given: set[str]) -> bool:
    made = set(given)
    for node in model.graph.node:
        if not _read(node) <= made:
            return False
        made.update(node.output)
    return True


def _sorted(model: ModelProto, given: set[str]) -> ModelProto:
    made = set(given)
    waiting, ordered = list(model.graph.node), list[NodeProto]()
    while waiting:
        ready = [node for node in waiting if _read(node) <= made | set(node.output)]
        if not ready:
            raise ValueError("the graph has a cycle, or reads a value that nothing makes")
        waiting = [node for node in waiting if node not in ready]
        ordered += ready
        made |= {name for node in ready for name in node.output}
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(ordered)
    return result


def _read(node: NodeProto) -> set[str]:
    """What a node reads, its bodies included, as far as they do not make it themselves."""
    names = set(node.input)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
        for graph in graphs:
            inner = {name for n in graph.node for name in _read(n)} | {out.name for out in graph.output}
            own = {name for n in graph.node for name in n.output} | {t.name for t in graph.initializer}
            names |= inner - own - {entry.name for entry in graph.input}
    return names
