"""A network that was computed with numpy alone, written with onnx.helper, folded: no torch, and no onnxruntime.

Run it: python examples/numpy_only.py [FILE]     (needs bnfold; writes the folded model to FILE, if one is named)

What a program in the manner of scikit-learn has in the end is a list of arrays. Here the layers are drawn at random and
the statistics are those of random inputs; the fold is compared with the arrays themselves.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import bnfold

Array = NDArray[np.float32]
EPSILON = 1e-5


class Layer(NamedTuple):
    """``relu((x @ weight + bias - mean) / sqrt(var + epsilon) * scale + shift)``."""

    weight: Array  # [I, O]
    bias: Array  # [O], as all that follow
    scale: Array
    shift: Array
    mean: Array
    var: Array

    def linear(self, x: Array) -> Array:
        """The layer up to its BatchNormalization: [N, I] -> [N, O]."""
        return x @ self.weight + self.bias

    def __call__(self, x: Array) -> Array:
        """All of the layer: [N, I] -> [N, O]."""
        normalized = (self.linear(x) - self.mean) / np.sqrt(self.var + EPSILON)
        made: Array = np.maximum(normalized * self.scale + self.shift, 0)
        return made


def fitted(sizes: list[int], x: Array) -> list[Layer]:
    """Layers of these sizes, each with the statistics of what comes to it."""
    rng, layers = np.random.default_rng(0), []
    for inputs, outputs in pairwise(sizes):
        drawn = (rng.normal(size=(inputs, outputs)) / inputs**0.5, *rng.normal(1, 0.3, size=(3, outputs)))
        weight, bias, scale, shift = (values.astype(np.float32) for values in drawn)
        y = x @ weight + bias
        layers.append(Layer(weight, bias, scale, shift, y.mean(axis=0), y.var(axis=0)))
        x = layers[-1](x)
    return layers


def as_onnx(layers: list[Layer]) -> ModelProto:
    """The same as a graph: Gemm, BatchNormalization and Relu for each layer."""
    nodes, weights, wire = [], [], "x"
    for number, layer in enumerate(layers):
        names = [f"{field}{number}" for field in Layer._fields]
        weights += [numpy_helper.from_array(values, name) for values, name in zip(layer, names, strict=True)]
        product, normalized, wire, before = f"gemm{number}", f"bn{number}", f"relu{number}", wire
        nodes += [
            helper.make_node("Gemm", [before, *names[:2]], [product], name=product),
            helper.make_node("BatchNormalization", [product, *names[2:]], [normalized], normalized, epsilon=EPSILON),
            helper.make_node("Relu", [normalized], [wire], name=wire),
        ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", layers[0].weight.shape[0]])
    y = helper.make_tensor_value_info(wire, TensorProto.FLOAT, ["N", layers[-1].weight.shape[1]])
    graph = helper.make_graph(nodes, "numpy_only", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def main(target: str | None = None) -> None:
    """Fit, write, fold, compare."""
    x = np.random.default_rng(1).normal(size=(256, 16)).astype(np.float32)
    layers = fitted([16, 32, 8], x)
    result = bnfold.fold(as_onnx(layers), strict=True)
    y = x
    for layer in layers:
        y = layer(y)
    (made,) = ReferenceEvaluator(result.model).run(None, {"x": x})
    off = float(np.abs(np.asarray(made) - y).max() / np.abs(y).max())
    for entry in result.folded:
        print(f"{entry.node} into {', '.join(entry.into)}")
    print(f"nodes: {len(as_onnx(layers).graph.node)} before, {len(result.model.graph.node)} after")
    print(f"off by {off:.0e} of the largest output")
    print(f"imported: onnxruntime {'onnxruntime' in sys.modules}, torch {'torch' in sys.modules}")
    if off > 1e-5:
        raise SystemExit("the fold computes something else than the arrays do")
    if target is not None:
        result.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:2])
