"""How much work a graph is, before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from onnx import ModelProto

from bnfold.checking.statistics import Array
from bnfold.model.graph import Graph, Node, Value
from bnfold.model.shapes import Shapes


class Work(NamedTuple):
    """An estimate from below: operators behind a shape that can not be inferred are not counted.

    Attributes:
        products: Multiplications of Conv, ConvTranspose, Gemm and MatMul.
        elements: Elements of all tensors that nodes of the main graph make.
    """

    products: int
    elements: int


def work_of(model: ModelProto, feeds: Mapping[str, Array]) -> Work:
    """The work of one run on inputs of these shapes; weights that lie in other files need not be loaded."""
    sketch = ModelProto.FromString(model.SerializeToString())
    for entry in sketch.graph.input:
        if entry.name in feeds:
            shape = entry.type.tensor_type.shape
            shape.Clear()
            for size in feeds[entry.name].shape:
                shape.dim.add(dim_value=size)
    graph = Graph(sketch)
    shapes = Shapes(graph, freeze=True)
    products = sum(_products(node, shapes) for node in graph.nodes())
    made = [value for node in graph.main.nodes for value in node.outputs if value is not None]
    return Work(products, sum(_size(value, shapes) for value in made))


def _products(node: Node, shapes: Shapes) -> int:
    """Each element of the output, or of the input of a ConvTranspose, times what is added up for it."""
    if len(node.inputs) < 2 or not node.outputs:
        return 0
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    if node.op_type in ("Conv", "ConvTranspose"):
        return _size(y if node.op_type == "Conv" else x, shapes) * _size(w, shapes, first=1)
    if node.op_type in ("Gemm", "MatMul"):
        rows, columns = _last(x, shapes), _last(w, shapes)
        inner = rows if node.op_type == "MatMul" or not node.attribute("transA", 0) else _size(w, shapes) // columns
        return _size(y, shapes) * inner
    return 0


def _size(value: Value | None, shapes: Shapes, *, first: int = 0) -> int:
    """The elements along the axes from `first` on; 0 where they are not known."""
    shape = shapes.shape(value)
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return 0
    return prod(dim for dim in shape[first:] if isinstance(dim, int))


def _last(value: Value | None, shapes: Shapes) -> int:
    shape = shapes.shape(value)
    return shape[-1] if shape and isinstance(shape[-1], int) else 1
