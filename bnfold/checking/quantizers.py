"""How much one step of a quantizer matters: the original with its activations moved by a hair.

A QuantizeLinear takes what differs by a rounding to two different integers where it lies at the border between them:
one whole step, however small the cause. Two graphs that are equal in real arithmetic then differ by what a few steps
do to the outputs, which nothing in the types of the graph tells. So it is measured: every activation gets a hair, a
64th of the step, on its way into its QuantizeLinear, once upwards and once downwards. That sends 1 in 64 of its
elements to another integer. A fold sends fewer there: its roundings are below a thousandth of a step, those of a bias
in int32 below a hundredth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

    from bnfold.runtime import ModelSource

HAIR = 2.0**-6
"""In steps of the quantizer."""


def nudged(model: ModelSource) -> tuple[bytes, ...]:
    """The model with its activations a hair higher, and a hair lower; none of a model that quantizes no activation.

    A model that does not fit into one message with its weights gives none either: the check is stricter then.
    """
    import onnx
    from google.protobuf.message import DecodeError, EncodeError

    try:
        proto = onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load_model(model)
        if not _quantizers(proto.graph):
            return ()
        return tuple(bytes(_moved(proto, by).SerializeToString()) for by in (HAIR, -HAIR))
    except (DecodeError, EncodeError, OSError, ValueError, onnx.checker.ValidationError):
        return ()


def _quantizers(graph: GraphProto) -> Mapping[int, int]:
    """Place of each QuantizeLinear of an activation in the graph, to the element type of its one scale."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    held = [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].HasField("t")]
    tensors |= {node.output[0]: node.attribute[0].t for node in held}
    scales = {name: tensor.data_type for name, tensor in tensors.items() if tuple(tensor.dims) in ((), (1,))}
    moving = {entry.name for entry in graph.input} - {tensor.name for tensor in graph.initializer}
    found: dict[int, int] = {}
    for place, node in enumerate(graph.node):
        if not moving.intersection(node.input):
            continue
        moving.update(node.output)
        if _is_quantizer(node) and node.input[0] in moving and node.input[1] in scales:
            found[place] = scales[node.input[1]]
    return found


def _is_quantizer(node: NodeProto) -> bool:
    return node.op_type == "QuantizeLinear" and node.domain in ("", "ai.onnx")


def _moved(model: ModelProto, by: float) -> ModelProto:
    """A copy in which `by` steps are added in front of each quantizer."""
    from onnx import ModelProto, helper

    places = _quantizers(model.graph)
    copy = ModelProto()
    copy.ParseFromString(model.SerializeToString())
    del copy.graph.node[:]
    for place, node in enumerate(model.graph.node):
        if place in places:
            hair, amount, moved = (f"{node.output[0]}/bnfold/{role}" for role in ("hair", "amount", "moved"))
            copy.graph.initializer.append(helper.make_tensor(hair, places[place], [], [by]))
            copy.graph.node.append(helper.make_node("Mul", [node.input[1], hair], [amount]))
            copy.graph.node.append(helper.make_node("Add", [node.input[0], amount], [moved]))
        copy.graph.node.append(node)
        if place in places:
            copy.graph.node[-1].input[0] = moved
    return copy
