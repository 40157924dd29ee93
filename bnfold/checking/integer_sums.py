"""Operators that are computed in integers, and what half a step of their sums does.

Where x and W come from a DequantizeLinear each, runtimes add up integers, in steps of ``s_x * s_W``. The bias has to be
a whole number of them, so that a shift that is moved into one is rounded, by half a step at most. What that does to an
output is measured on the original: every such sum gets half a step more, and in another run half a step less. Of scales
per channel the largest counts, which is what the largest difference of an output comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnfold.checking.subject import Subject

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

_SUMS = ("Conv", "ConvTranspose", "Gemm")
"""Operators that have a bias."""

_ELEMENTS_STAY = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""What may stand between a weight's DequantizeLinear and the operator."""


@dataclass(frozen=True)
class Sum:
    """An operator that is computed in integers.

    Attributes:
        node: The operator, in the graph.
        step: The largest step of its sums.
        elem_type: The element type of its outputs.
    """

    node: NodeProto
    step: float
    elem_type: int


def has_new_biases(before: Subject, after: Subject) -> bool:
    """Whether the other model has biases in int32 that the original does not have, and that may be rounded."""
    made = _biases(after)
    return bool(made) and not made <= _biases(before)


def sums_in_integers(graph: GraphProto) -> Iterator[Sum]:
    """The operators of the graph whose bias runtimes need in int32, as far as their scales are constants."""
    constants = constants_of(graph)
    producers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type not in _SUMS or node.domain not in ("", "ai.onnx"):
            continue
        scales = [constants[name] for name in _scales(node, producers) if name in constants]
        if len(scales) == 2:
            yield Sum(node, _largest(scales[0]) * _largest(scales[1]), scales[0].data_type)


def _largest(tensor: TensorProto) -> float:
    from onnx import numpy_helper

    return float(np.abs(numpy_helper.to_array(tensor).astype(np.float64)).max(initial=0.0))


def constants_of(graph: GraphProto) -> dict[str, TensorProto]:
    """The initializers of a graph, and what its Constant nodes hold as a tensor."""
    nodes = [node for node in graph.node if node.op_type == "Constant"]
    held = {node.output[0]: attribute.t for node in nodes for attribute in node.attribute if attribute.HasField("t")}
    return {tensor.name: tensor for tensor in graph.initializer} | held


def _scales(node: NodeProto, producers: Mapping[str, NodeProto]) -> Iterator[str]:
    """The scales of x and W, as far as they come in integers."""
    for index in (0, 1):
        origin = producers.get(node.input[index])
        while index and origin is not None and origin.op_type in _ELEMENTS_STAY:
            origin = producers.get(origin.input[0])
        if origin is not None and origin.op_type == "DequantizeLinear":
            yield origin.input[1]


def _biases(model: Subject) -> set[bytes]:
    """The int32 constants that the model dequantizes; its weights are not loaded where there are none, or too many."""
    from onnx import TensorProto, numpy_helper

    graph = model.proto.graph
    dequantized = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    found = [name for name, tensor in constants_of(graph).items() if tensor.data_type == TensorProto.INT32]
    names = dequantized.intersection(found) if model.fits_into_one_message else set[str]()
    loaded = constants_of(model.loaded().graph) if names else {}
    return {numpy_helper.to_array(loaded[name]).tobytes() for name in names}
