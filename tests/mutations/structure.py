"""Wrong attributes, and nodes that are missing, doubled or in another place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, NodeProto, helper

from mutations.fault import Pair, Plant, chosen, copied, fault
from mutations.graphs import attribute, constant, constants, copy_of, opset, set_attribute

Edit = Callable[[NodeProto], bool]
"""Changes a node; says whether it did."""


def _node(name: str, *operators: str) -> Callable[[Edit], Plant]:
    """Enter an edit of one node of some operators, the first it can change from a place on."""

    def entered(edit: Edit) -> Plant:
        @fault(name)
        def plant(pair: Pair, place: float) -> Pair | None:
            usable = [
                i for i, node in enumerate(pair.after.graph.node) if node.op_type in operators and edit(copy_of(node))
            ]
            index = chosen(usable, place)
            if index is None:
                return None
            after = copied(pair.after)
            edit(after.graph.node[index])
            return Pair(pair.before, after)

        return plant

    return entered


@_node("a Relu is left out", "Relu")
def no_relu(node: NodeProto) -> bool:
    node.op_type = "Identity"
    return True


@_node("an Add takes only one side", "Add", "Sum")
def one_side(node: NodeProto) -> bool:
    node.op_type = "Identity"
    del node.input[1:]
    return True


@_node("a Concat in the other order", "Concat")
def other_order(node: NodeProto) -> bool:
    names = list(node.input)
    node.input[:] = names[::-1]
    return names != names[::-1]


@_node("a MaxPool is an AveragePool", "MaxPool")
def other_pooling(node: NodeProto) -> bool:
    node.op_type = "AveragePool"
    return not {entry.name for entry in node.attribute} & {"dilations", "storage_order"}


@_node("a Softmax over another axis", "Softmax", "LogSoftmax")
def other_axis(node: NodeProto) -> bool:
    set_attribute(node, "axis", 0)
    return True


@_node("a Conv pads the other side", "Conv", "MaxPool")
def other_side(node: NodeProto) -> bool:
    pads = list(attribute(node, "pads", []))
    half = len(pads) // 2
    if not any(pads[:half]):
        return False
    wrong = [begin - 1 if begin and not i else begin for i, begin in enumerate(pads[:half])]
    moved = [end + begin - other for begin, other, end in zip(pads[:half], wrong, pads[half:], strict=True)]
    set_attribute(node, "pads", wrong + moved)
    return wrong != pads[:half]


def _padded(name: str, mode: str, value: float) -> Plant:
    """Enter a fault of the border alone: a Conv whose zeros are made by a Pad that pads with something else."""

    @fault(name)
    def plant(pair: Pair, place: float) -> Pair | None:
        after = copied(pair.after)
        index = chosen([i for i, node in enumerate(after.graph.node) if _pads(node)], place)
        if index is None or opset(after) < 11:
            return None
        _pad_before(after, index, mode, value)
        return Pair(pair.before, after)

    return plant


def _pads(node: NodeProto) -> list[int]:
    """The padding of a Conv that says it in numbers."""
    pads = list(attribute(node, "pads", [])) if node.op_type == "Conv" else []
    return pads if any(pads) else []


def _pad_before(model: ModelProto, index: int, mode: str, value: float) -> None:
    node = model.graph.node[index]
    weights = constants(model.graph).get(node.input[1])
    pads, data = _pads(node), node.input[0]
    half = len(pads) // 2
    wide = [0, 0, *pads[:half], 0, 0, *pads[half:]]
    kind = np.float32 if weights is None else helper.tensor_dtype_to_np_dtype(weights.data_type)
    names = [f"{node.output[0]}/{part}" for part in ("pads", "value", "padded")]
    inserted = [
        constant(names[0], np.asarray(wide, np.int64)),
        constant(names[1], np.asarray(value, kind)),
        helper.make_node("Pad", [data, *names[:2]], [names[2]], mode=mode),
    ]
    set_attribute(node, "pads", [0] * len(pads))
    node.input[0] = names[2]
    nodes = [copy_of(each) for each in model.graph.node]
    nodes[index:index] = inserted
    del model.graph.node[:]
    model.graph.node.extend(nodes)


border_of_edges = _padded("only at the border: edges in place of zeros", "edge", 0.0)
border_of_a_shift = _padded("only at the border: a shift of 1e-2 in place of zeros", "constant", 0.01)
