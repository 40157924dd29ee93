"""Constants in every form, and the arithmetic that makes them affines."""

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from corpus.case import Family
from corpus.network import drawn

constants = Family("constants")

CONV = "c = Conv<pads = [1,1,1,1]>(x, @W[4,3,3,3])"
IS_ONE = "scale (x - mean) / sqrt(var + epsilon) + bias is an affine per channel"

LINE = "[" + ", ".join(repr(float(value)) for value in drawn("line", 4)) + "]"
SPELLED: dict[str, tuple[str, dict[str, Any]]] = {
    "Constant, value": (f"k = Constant<value = float[4,1,1] {{{LINE[1:-1]}}}>()", {}),
    "Constant, value_float": ("k = Constant<value_float = 1.5>()", {}),
    "Constant, value_floats": (f"l = Constant<value_floats = {LINE}>() k = Reshape(l, n)", {"n": [4, 1, 1]}),
    "Expand": ("k = Expand(@l[], n)", {"n": [4, 1, 1]}),
    "ConstantOfShape": ("k = ConstantOfShape<value = float[1] {1.5}>(n)", {"n": [4, 1, 1]}),
    "Identity": ("k = Identity(@l[4,1,1])", {}),
    "Cast from double": ("k = Cast<to = 1>(l)", {"l": drawn("l", 4, 1, 1, dtype=np.float64)}),
    "Cast from half precision": ("k = Cast<to = 1>(l)", {"l": drawn("l", 4, 1, 1, dtype=np.float16)}),
    "Cast from integers": ("k = Cast<to = 1>(l)", {"l": np.arange(1, 5).reshape(4, 1, 1)}),
    "Unsqueeze": ("k = Unsqueeze(@l[4], n)", {"n": [1, 2]}),
    "Transpose": ("k = Transpose(@l[1,1,4])", {}),
    "Squeeze": ("k = Squeeze(@l[1,1,4,1,1], n)", {"n": [0, 1]}),
    "Concat": ("k = Concat<axis = 0>(@l[1,1,1], @o[3,1,1])", {}),
    "Slice": ("k = Slice(@l[9,1,1], s, e)", {"s": [2], "e": [6]}),
    "Gather": ("k = Gather(@l[9,1,1], i)", {"i": [0, 8, 3, 3]}),
    "Exp": ("k = Exp(@l[4,1,1])", {}),
}
for name, (nodes, tensors) in SPELLED.items():
    constants.pull(
        f"a constant by {name}",
        f"{nodes} {CONV} y = Mul(c, k)",
        "a constant expression is a constant",
        constants=tensors,
        exact_reference="value_" not in nodes,
    )


def as_numbers(model: ModelProto) -> None:
    """The field for floats in place of the bytes."""
    for tensor in model.graph.initializer:
        values = np.frombuffer(tensor.raw_data, np.float32).tolist()
        tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.FLOAT, tensor.dims, values))


def in_nodes(model: ModelProto) -> None:
    """Every initializer as a Constant node."""
    tensors = list(model.graph.initializer)
    del model.graph.initializer[:]
    for place, tensor in enumerate(tensors):
        model.graph.node.insert(place, helper.make_node("Constant", [], [tensor.name], value=tensor))


def listed(model: ModelProto) -> None:
    """Every initializer among the inputs too."""
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def sparse(model: ModelProto) -> None:
    """`k` as a sparse tensor of a Constant node."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "k")
    values = helper.make_tensor("", TensorProto.FLOAT, [2], [2.0, -3.0])
    indices = helper.make_tensor("", TensorProto.INT64, [2], [1, 3])
    held = helper.make_sparse_tensor(values, indices, [4, 1, 1])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], sparse_value=held))
    model.graph.initializer.remove(tensor)


constants.pull("constants as lists of numbers", f"{CONV} y = bn(c, 4)", IS_ONE, edit=as_numbers)
constants.pull("constants as nodes", f"{CONV} y = bn(c, 4)", IS_ONE, edit=in_nodes)
constants.pull(
    "initializers listed as inputs, IR version 3",
    f"{CONV} y = bn(c, 4)",
    "below IR version 4 they are constants",
    edit=listed,
    ir=3,
    opset=8,
    exact_reference=False,
    pitfalls=(18,),
)
constants.pull(
    "initializers listed as inputs, frozen",
    f"{CONV} y = bn(c, 4)",
    "the user says that nobody overrides them",
    edit=listed,
    freeze=True,
    exact_reference=False,
    pitfalls=(18,),
)
constants.pull(
    "a sparse Constant",
    f"{CONV} m = Add(c, @k[4,1,1]) y = Relu(m)",
    "a sparse tensor is a constant",
    edit=sparse,
    exact_reference=False,
)

SHAPES = {"a scalar": "[]", "[1]": "[1]", "[C,1,1]": "[4,1,1]", "[1,C,1,1]": "[1,4,1,1]", "[1,1,1,1]": "[1,1,1,1]"}
ARITHMETIC = ["Mul(c, {})", "Mul({}, c)", "Add({}, c)", "Sub(c, {})", "Sub({}, c)", "Div(c, {})"]
for shape, dims in SHAPES.items():
    for node in ARITHMETIC:
        constants.pull(
            f"{node.format('k')}, k: {shape}",
            f"{CONV} y = {node.format('@k' + dims)}",
            "an affine per channel; k - x has the scale -1",
        )
constants.pull("opset 7", f"{CONV} m = Mul(c, @k[4,1,1]) y = Div(m, @+d[4,1,1])", "an affine per channel", opset=7)
