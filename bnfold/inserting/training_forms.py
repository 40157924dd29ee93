"""BatchNormalization in training mode: how each opset writes it, and the inference node that takes its place.

    opset >= 14   training_mode = 1; further outputs are the new running mean and variance
    opset 7..13   further outputs are listed: running mean and variance, then mean and variance saved for the gradient
    opset < 7     is_test = 0, which is the default; further outputs as in opset 7

(BatchNormalization-1, 6, 7, 9, 14, 15.) A node at inference has one output.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto, helper

from bnfold.inserting.view import View
from bnfold.model.graph import ONNX_DOMAIN, Node, Value
from bnfold.model.names import Names
from bnfold.model.patch import Patch

MEAN, VARIANCE = 3, 4
"""The inputs that hold the statistics."""

TRAINING_ATTRIBUTE = 14
"""The opset from which on an attribute asks for training mode."""
LISTED_OUTPUTS = 7
"""The opset from which on, up to the one above, outputs that are listed mean training mode."""


def is_normalization(node: Node) -> bool:
    """Whether a node is ONNX's BatchNormalization, and no function of the model by that name."""
    shadowed = (node.domain, node.op_type) in node.scope.shadowed
    return node.op_type == "BatchNormalization" and node.domain == ONNX_DOMAIN and not shadowed


def is_training(node: Node) -> bool:
    """Whether a BatchNormalization normalizes with the statistics of each batch."""
    if node.since_version >= TRAINING_ATTRIBUTE:
        return bool(node.attribute("training_mode", 0))
    if node.since_version >= LISTED_OUTPUTS:
        return len(node.outputs) > 1
    return not node.attribute("is_test", 0)


def has_inference_form(node: Node) -> bool:
    """Whether a BatchNormalization is an inference node as its opset writes them."""
    return not is_training(node) and len(node.outputs) == 1


def turn(patch: Patch, names: Names, node: Node, mean: str, variance: str) -> None:
    """Put an inference node in the place of a BatchNormalization.

    What reads one of its further outputs, under its name, gets the statistics that the new node has. (onnxruntime
    gives 1 / sqrt(variance + epsilon) as the saved variance, which ONNX does not say.)

    Args:
        patch: gets the edits.
        names: gives the new nodes their names.
        node: the node, in the form of any opset.
        mean: the name of the mean from now on.
        variance: the name of the variance from now on.
    """
    patch.removed.add(node.address)
    patch.insert_in_front(node, _at_inference(node, mean, variance))
    for index, value in enumerate(node.outputs[1:]):
        if value is not None and (value.readers or value.is_output):
            patch.insert_in_front(node, _copying(names, value, variance if index % 2 else mean))


def _at_inference(node: Node, mean: str, variance: str) -> NodeProto:
    new = NodeProto.FromString(node.proto.SerializeToString())
    new.input[MEAN], new.input[VARIANCE] = mean, variance
    del new.output[1:]
    kept = [attribute for attribute in node.proto.attribute if attribute.name not in {"training_mode", "is_test"}]
    del new.attribute[:]
    new.attribute.extend(kept)
    if node.since_version < LISTED_OUTPUTS:
        new.attribute.append(helper.make_attribute("is_test", 1))
    return new


def _copying(names: Names, output: Value, statistic: str) -> NodeProto:
    return helper.make_node("Identity", [statistic], [output.name], name=names.fresh(f"{output.name}.identity"))


def random_nodes(view: View) -> Iterator[Node]:
    """The Dropout nodes that drop at random: from opset 12 on by an input, before opset 7 by an attribute."""
    for node in view.graph.nodes():
        if node.op_type != "Dropout" or node.domain != ONNX_DOMAIN:
            continue
        if node.since_version < LISTED_OUTPUTS:
            drops = not node.attribute("is_test", 0)
        else:
            asked = view.operator(node).constant(2)
            drops = asked is not None and bool(asked.values.any())
        if drops:
            yield node
