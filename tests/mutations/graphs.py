"""Constants and nodes of a graph, as the faults need them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array: TypeAlias = npt.NDArray[Any]

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """The tensors that an edit can change: initializers, and those that Constant nodes hold."""
    held = {
        n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.attribute[0].HasField("t")
    }
    return held | {tensor.name: tensor for tensor in graph.initializer}


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute."""
    values = [helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name]
    return values[0] if values else default


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Set an attribute, whether or not it is there."""
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def store(tensor: TensorProto, values: Array) -> None:
    """Put other values into a tensor, in its own type."""
    before = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values).astype(before.dtype).reshape(before.shape), tensor.name))


def insert_behind(graph: GraphProto, name: str, *nodes: NodeProto) -> None:
    """Insert nodes that read a value as "in" and write "out", which everything else then reads as that value."""
    index = next(index for index, node in enumerate(graph.node) if name in node.output)
    hidden = f"{name}/right"
    producer = graph.node[index]
    producer.output[:] = [hidden if output == name else output for output in producer.output]
    _splice(graph, index + 1, nodes, {"in": hidden, "out": name})


def insert_at_input(graph: GraphProto, name: str, *nodes: NodeProto) -> None:
    """The same where the value is an input of the graph."""
    shown = f"{name}/wrong"
    for node in graph.node:
        node.input[:] = [shown if each == name else each for each in node.input]
    _splice(graph, 0, nodes, {"in": name, "out": shown})


def _splice(graph: GraphProto, index: int, nodes: tuple[NodeProto, ...], names: dict[str, str]) -> None:
    inner = {name for node in nodes for name in node.output} - {"out"}
    names = names | {name: f"{names['out']}/{name}" for name in inner}
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    rest = [*graph.node[:index], *nodes, *graph.node[index:]]
    kept = [copy_of(node) for node in rest]
    del graph.node[:]
    graph.node.extend(kept)


def copy_of(node: NodeProto) -> NodeProto:
    """A node that does not go away with the graph that it is in."""
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def constant(name: str, values: npt.ArrayLike) -> NodeProto:
    """A Constant node."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(values)))


def opset(model: ModelProto) -> int:
    """The version of the standard operators that a model uses."""
    return max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def float_outputs(graph: GraphProto) -> list[str]:
    """The outputs that are floats and that a node writes."""
    written = {name for node in graph.node for name in node.output}
    return [o.name for o in graph.output if o.type.tensor_type.elem_type in FLOATS and o.name in written]


def float_inputs(graph: GraphProto) -> list[str]:
    """The inputs that are floats and have no initializer."""
    given = {tensor.name for tensor in graph.initializer}
    return [i.name for i in graph.input if i.type.tensor_type.elem_type in FLOATS and i.name not in given]


def numpy_type(graph: GraphProto, name: str) -> np.dtype[Any]:
    """The element type of an input or output."""
    entry = next(entry for entry in (*graph.input, *graph.output) if entry.name == name)
    return helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
