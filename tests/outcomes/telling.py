"""A fold as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, TypeAlias

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper

import bnfold
from bnfold.folding.attempt import Attempt

WAYS: Mapping[str, Mapping[str, Any]] = {
    "speed": {},
    "no-batchnorm": {"prefer": "no-batchnorm"},
    "no residuals": {"residuals": False},
    "frozen": {"freeze_initializers": True},
    "one fold": {"max_folds": 1},
}
AT_LENGTH = ("speed", "no-batchnorm")
"""Ways that are told affine by affine; of the others the first line alone, with a digest of all that would follow."""
Settle: TypeAlias = Callable[..., Any]


def told(label: str, model: ModelProto) -> Iterator[str]:
    """What becomes of a model, and of the ways to ask for it those that come to something else than the first."""
    yield f"# {label}"
    usual: list[str] = []
    for way, options in WAYS.items():
        lines = outcome(model, options)
        if lines != usual:
            yield f"{way}: {lines[0]}"
            yield from (f"    {line}" for line in lines[1:] if way in AT_LENGTH)
        usual = usual or lines


def outcome(model: ModelProto, options: Mapping[str, Any]) -> list[str]:
    """First a line of all, then one for each affine that goes, stays, or stays in part."""
    with questions() as asked:
        result = bnfold.fold(model, **options)
    lines = list(affines(result))
    digest = sha256("\n".join([*lines, *structure(result.model), *sentences(result)]).encode()).hexdigest()[:8]
    left = Counter(node.op_type for node in result.model.graph.node)
    kinds = ", ".join(f"{count} {op_type}" for op_type, count in sorted(left.items()))
    return [f"{digest}, {asked['nodes']} asked in {len(result.rounds)} rounds, leaves {kinds}", *lines]


def affines(result: bnfold.FoldResult) -> Iterator[str]:
    """What becomes of each affine, and what that costs."""
    yield from (f"{gone.direction} {gone.node}: {', '.join(gone.into)}" for gone in result.folded)
    yield from (f"kept {kept.node}: {kept.code}" for kept in result.kept)
    for settled in result.settled:
        became = ", ".join((*settled.left, *settled.op_types, *settled.replaced, *settled.became))
        cost = f"{settled.nodes} nodes, {dict(sorted(settled.elements.items()))} elements, {settled.bytes} bytes"
        yield f"settled {', '.join(settled.affines)}: {became}; {cost}"


@contextmanager
def questions() -> Iterator[Counter[str]]:
    """Count how often the rules of an operator are asked."""
    found: Counter[str] = Counter()
    settle: Settle = Attempt._settle

    def counting(*arguments: Any) -> Any:
        found["nodes"] += 1
        return settle(*arguments)

    setattr(Attempt, "_settle", counting)  # noqa: B010 (a method, which may not be assigned to)
    try:
        yield found
    finally:
        setattr(Attempt, "_settle", settle)  # noqa: B010


def sentences(result: bnfold.FoldResult) -> Iterator[str]:
    """What a fold says for people."""
    yield from (f"{kept.node}: {kept.reason}" for kept in result.kept)
    yield from (settled.reason for settled in result.settled)
    yield from result.remarks
    for affine in bnfold.folding.inspection.inspection_of(result.plan):
        yield str(affine)


def structure(model: ModelProto) -> Iterator[str]:
    """Every graph and function without the numbers of its constants."""
    yield from _graph(model.graph)
    for function in model.functions:
        yield f"function {function.domain}.{function.name}"
        yield from (_node(node) for node in function.node)


def _graph(graph: GraphProto) -> Iterator[str]:
    yield f"{[value.name for value in graph.input]} -> {[value.name for value in graph.output]}"
    yield from (f"{tensor.name} {tensor.data_type} {list(tensor.dims)}" for tensor in graph.initializer)
    for node in graph.node:
        yield _node(node)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graph(attribute.g)


def _node(node: NodeProto) -> str:
    attributes = ", ".join(sorted(map(_attribute, node.attribute)))
    return f"{node.name} {node.domain}.{node.op_type} {list(node.input)} -> {list(node.output)} {attributes}"


def _attribute(attribute: AttributeProto) -> str:
    if attribute.type in (AttributeProto.GRAPH, AttributeProto.TENSOR, AttributeProto.SPARSE_TENSOR):
        return attribute.name
    if attribute.ref_attr_name:
        return f"{attribute.name} @{attribute.ref_attr_name}"
    value = helper.get_attribute_value(attribute)
    return f"{attribute.name} {f'{value:.5g}' if isinstance(value, float) else value}"
