"""Biases that can not be trained: a BatchNormalization behind them takes its mean out, and with it every constant."""

from __future__ import annotations

from onnx import ModelProto

from bnfold.model.graph import Graph, Node, Value

_LINEAR = {"Conv", "ConvTranspose", "Gemm"}


def normalized_biases(model: ModelProto) -> tuple[str, ...]:
    """The initializers that are biases right in front of BatchNormalizations, and nothing else.

    In training their gradient is zero but for rounding, and an optimizer that divides by its size (Adam) moves them
    nevertheless.
    """
    graph = Graph(model)
    found = [_bias_in_front(node) for node in graph.main.nodes if node.op_type == "BatchNormalization"]
    return tuple(dict.fromkeys(value.name for value in found if value is not None))


def _bias_in_front(normalization: Node) -> Value | None:
    value = normalization.inputs[0]
    linear = None if value is None else value.producer
    if value is None or linear is None or value.is_output or len(value.readers) != 1:
        return None
    if linear.op_type in _LINEAR:
        bias = linear.inputs[2] if len(linear.inputs) > 2 else None
        return bias if bias is not None and _is_only_a_bias(bias, normalization) else None
    if linear.op_type == "Add":
        return next((term for term in linear.inputs if term is not None and _is_only_a_bias(term, normalization)), None)
    return None


def _is_only_a_bias(value: Value, normalization: Node) -> bool:
    """One number per channel, read once: a vector, or one with an axis of size C and others of size 1."""
    if value.tensor is None or len(value.readers) != 1 or normalization.inputs[1] is None:
        return False
    scale = normalization.inputs[1].tensor
    dims = list(value.tensor.dims)
    return scale is not None and sorted(dims)[-1:] == list(scale.dims) and dims.count(1) >= len(dims) - 1
