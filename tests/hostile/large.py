"""Models that are harmless but for their size: what they cost may grow with that, and no faster."""

from __future__ import annotations

from onnx import helper, numpy_helper
from support import graph_model, statistics

from hostile.case import conv_bn


def million_relus(count: int) -> bytes:
    """A Conv, a BatchNormalization and so many tiny nodes behind them."""
    model = conv_bn()
    model.graph.node[1].output[0] = "t0"
    for number in range(count):
        last = "y" if number == count - 1 else f"t{number + 1}"
        model.graph.node.append(helper.make_node("Relu", [f"t{number}"], [last]))
    return bytes(model.SerializeToString())


def row_of_normalizations(count: int) -> bytes:
    """So many BatchNormalizations, one behind the other, and a Sigmoid in front that lets none of them pass."""
    model = graph_model("(float[N,4,3,3] x) => (float[N,4,3,3] y) { t0 = Sigmoid(x) }")
    for key, values in zip("sbmv", statistics(4), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values, key))
    for number in range(count):
        last = "y" if number == count - 1 else f"t{number + 1}"
        model.graph.node.append(helper.make_node("BatchNormalization", [f"t{number}", *"sbmv"], [last]))
    return bytes(model.SerializeToString())
