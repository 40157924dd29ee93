"""The form with ``training_mode = 1``: statistics of the batch, and running statistics as further outputs.

    y, running_mean, running_var = BatchNormalization(x, scale, bias, mean, var)        (BatchNormalization-14)

Such a node has to have all three outputs: with one, onnxruntime 1.32 refuses the model. So in a body it has them too,
but only those of the main graph become outputs of the model.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto, NodeProto, TensorProto, helper

from bnfold.errors import UsageError
from bnfold.model.graph import Graph, Node
from bnfold.model.names import Names
from bnfold.model.patch import Patch, apply

EARLIEST_OPSET = 14
"""Before it, the number of outputs alone said whether a node is in training mode."""

REMARK = (
    "the inserted nodes are in training mode, which onnxruntime's CUDA provider refuses (onnxruntime#16867); what is "
    "checked against the original is the same model without it"
)

_RUNNING = ("running_mean", "running_var")


def refuse_too_old(graph: Graph, name: str) -> None:
    """Refuse a model that can not have the attribute.

    Raises:
        UsageError: the model imports an opset that is too old.
    """
    opset = graph.main.opsets.get("", 0)
    if opset < EARLIEST_OPSET:
        raise UsageError(
            f"{name} has opset {opset}, and training mode needs {EARLIEST_OPSET} or newer; give --convert-opset "
            f"{EARLIEST_OPSET} too, or leave --training-mode out"
        )


def training_form(model: ModelProto, inserted: Collection[str]) -> ModelProto:
    """A copy of a model in which some of its normalizations are in training mode.

    Args:
        model: not changed.
        inserted: the names of BatchNormalizations with one output, in the main graph and in bodies.
    """
    graph = Graph(model)
    patch, names = Patch(), Names(graph)
    outputs = []
    for node in graph.nodes():
        if node.proto.name not in inserted or node.op_type != "BatchNormalization":
            continue
        running = [names.fresh(f"{node.proto.name}.{role}") for role in _RUNNING]
        patch.insert_behind(node, _in_training_mode(node, running))
        patch.removed.add(node.address)
        if node.scope is graph.main:
            outputs += [helper.make_tensor_value_info(name, *_type_of(node, k)) for k, name in enumerate(running)]
    copy = apply(patch, graph)
    copy.graph.output.extend(outputs)
    return copy


def _in_training_mode(node: Node, running: list[str]) -> NodeProto:
    new = NodeProto.FromString(node.proto.SerializeToString())
    new.output.extend(running)
    new.attribute.append(helper.make_attribute("training_mode", 1))
    return new


def _type_of(node: Node, index: int) -> tuple[int, list[int]]:
    """The element type and shape of a running statistic: those of the mean or variance that it starts from."""
    value = node.inputs[3 + index]
    if value is None or not isinstance(value.tensor, TensorProto):
        raise AssertionError(f"the statistics of {node.label} are no initializers")
    return value.tensor.data_type, list(value.tensor.dims)
