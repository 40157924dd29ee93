"""The forms of a model that are timed: the original, what each tool makes of it, and the bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

import bnfold

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
ORIGINAL, AGAIN, BNFOLD, FROZEN, BOUND = "original", "again", "bnfold", "bnfold-frozen", "bound"
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})


def forms_of(path: Path, peers: Path | None) -> dict[str, ModelProto]:
    """The original, the original again, bnfold's result, the other tools' as far as they lie there, and the bound.

    Where a caller may override weights, bnfold leaves them alone, and so does onnxruntime; there the result with
    `freeze_initializers` is among the forms, since other tools freeze without being asked.

    Raises:
        BnfoldError: bnfold can not fold the model.
    """
    original = onnx.load(path)
    files = sorted(peers.glob(f"{path.stem}.*.onnx")) if peers is not None else []
    others = {made.name.removeprefix(f"{path.stem}.").removesuffix(".onnx"): onnx.load(made) for made in files}
    own = {BNFOLD: bnfold.fold(path).model}
    if overridable(original):
        own[FROZEN] = bnfold.fold(path, freeze_initializers=True).model
    return {ORIGINAL: original, AGAIN: original, **own, **others, BOUND: bound(original)}


def overridable(model: ModelProto) -> set[str]:
    """Initializers that a caller may override: those that are inputs as well.

    Up to IR version 3 every initializer had to be an input, and is none that a caller gives.
    """
    inputs = {entry.name for entry in model.graph.input} if model.ir_version > 3 else set()
    return {tensor.name for tensor in model.graph.initializer if tensor.name in inputs}


def bound(model: ModelProto) -> ModelProto:
    """The model with every affine cut out: what reads one reads what stands in front of it."""
    cut = ModelProto()
    cut.CopyFrom(model)
    gone = {node.output[0]: value for node, value in affines(cut)}
    kept = [node for node in cut.graph.node if not any(output in gone for output in node.output)]
    for node in kept:
        node.input[:] = [_in_front(name, gone) for name in node.input]
    del cut.graph.node[:]
    cut.graph.node.extend(kept)
    return cut


def _in_front(name: str, gone: Mapping[str, str]) -> str:
    while name in gone:
        name = gone[name]
    return name


def affines(model: ModelProto) -> Iterator[tuple[NodeProto, str]]:
    """BatchNormalizations and arithmetic with a constant vector, each with the value that it maps.

    Not what gives an output of the graph, and not the Add behind a MatMul, or a Cast of it, which is that layer's bias.
    Arithmetic with a single number is left out: it usually belongs to an activation that an exporter has written out,
    as GELU.
    """
    constants = dict(_constants(model))
    outputs = {entry.name for entry in model.graph.output}
    products = _products(model)
    for node in model.graph.node:
        if not node.output or node.output[0] in outputs:
            continue
        if node.op_type == "BatchNormalization":
            yield node, node.input[0]
        elif node.op_type in ARITHMETIC:
            mapped = [name for name in node.input if name not in constants]
            numbers = [constants[name] for name in node.input if name in constants]
            is_bias = node.op_type == "Add" and mapped and mapped[0] in products
            if len(mapped) == 1 and numbers[0] > 1 and not is_bias:
                yield node, mapped[0]


def _products(model: ModelProto) -> set[str]:
    """What MatMuls compute, and the same in other types."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "MatMul" or (node.op_type == "Cast" and node.input[0] in found):
            found.add(node.output[0])
    return found


def _constants(model: ModelProto) -> Iterator[tuple[str, int]]:
    """Constants of floats, with the count of their numbers; those that a Reshape has laid out among them."""
    found: dict[str, int] = {}
    weights = overridable(model)
    for tensor in model.graph.initializer:
        if tensor.data_type in FLOATS and tensor.name not in weights:
            found[tensor.name] = prod(tensor.dims)
    for node in model.graph.node:
        values = [attribute.t for attribute in node.attribute if attribute.type == AttributeProto.TENSOR]
        if node.op_type == "Constant" and any(value.data_type in FLOATS for value in values):
            found[node.output[0]] = prod(values[0].dims)
        elif node.op_type in ("Reshape", "Unsqueeze", "Squeeze", "Identity") and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    yield from found.items()


def operators(model: ModelProto) -> list[str]:
    """Nodes that compute something."""
    return [node.op_type for node in model.graph.node if node.op_type != "Constant"]
