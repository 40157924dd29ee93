"""Two Transposes that undo each other, with only an affine between them: they go with it.

Given: ``x -> Transpose(p) -> affine -> Transpose(q) -> y`` with q the inverse of p, and the affine gone.
Result: ``x`` is ``y``, under y's name where that can be, so that what reads or shows it still finds it.

That is how a BatchNormalization stands behind an operator whose channels are last: exporters write it so, and
`bnfold.insert` does. What was there without an affine in between is none of a fold's business.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto

from bnfold.folding.options import Options
from bnfold.folding.plan import Plan
from bnfold.model.graph import ONNX_DOMAIN, Graph, Node, Value
from bnfold.model.patch import Patch, apply


def turned_back(plan: Plan, options: Options) -> frozenset[str]:
    """The outputs of Transposes that may have nothing left to undo once the plan is carried out."""
    found: set[str] = set()
    for source in plan.removed.values():
        producer = source.wire.producer
        if producer is None or not (_is_transpose(producer) or producer.address in plan.removed):
            continue
        for node, _ in source.output.readers:
            if _is_transpose(node) and options.refuse_change(node) is None:
                found.update(_names(plan, node.outputs[0]))
    return frozenset(found)


def _names(plan: Plan, value: Value | None) -> Iterator[str]:
    """What a value may be called once the plan is carried out: where an affine behind it goes, by the affine's name."""
    while value is not None:
        yield value.name
        behind = [plan.removed[node.address].output for node, _ in value.readers if node.address in plan.removed]
        value = behind[0] if len(behind) == 1 else None


def without_turns(model: ModelProto, names: frozenset[str]) -> ModelProto:
    """The model without those of the named Transposes that undo the one in front of them."""
    while names:
        graph, patch = Graph(model), Patch()
        taken: set[Value] = set()
        for node in graph.nodes():
            if node.proto.output and node.proto.output[0] in names and _undoes(node):
                _take_out(node, patch, taken)
        if not patch.removed:
            return model
        model = apply(patch, graph)
    return model


def _is_transpose(node: Node) -> bool:
    return node.op_type == "Transpose" and node.domain == ONNX_DOMAIN


def _undoes(node: Node) -> bool:
    """Whether a Transpose and the one in front of it, in the same scope, come to nothing."""
    first = node.inputs[0].producer if node.inputs[0] is not None else None
    if first is None or not _is_transpose(node) or not _is_transpose(first) or first.scope is not node.scope:
        return False
    there, back = _order(first), _order(node)
    if there is None or back is None:  # by default the axes are reversed
        return there is None and back is None
    return len(there) == len(back) and all(there[axis] == place for place, axis in enumerate(back))


def _order(node: Node) -> list[int] | None:
    order = node.attribute("perm")
    return None if order is None else [int(axis) for axis in order]


def _take_out(node: Node, patch: Patch, taken: set[Value]) -> None:
    """Let what is turned and turned back be read as it is; not where another pair has touched it just now."""
    turned, result = node.inputs[0], node.outputs[0]
    first = turned.producer if turned is not None else None
    wire = first.inputs[0] if first is not None else None
    if wire is None or result is None or taken & {wire, result}:
        return
    producer = wire.producer
    if producer is not None and not wire.is_output and producer.scope is node.scope:
        patch.produce_instead(producer, wire.output_index, result.name)
        for reader, index in wire.readers:
            patch.read_instead(reader, index, result.name)
    elif not result.is_output:
        for reader, index in result.readers:
            patch.read_instead(reader, index, wire.name)
    else:
        return
    patch.removed.add(node.address)
    taken |= {wire, result}
