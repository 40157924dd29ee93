"""Graphs that are none: cycles, names defined twice or never, operators and attributes that nobody knows."""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, helper
from support import graph_model, normal

from hostile.case import FOLDS, STAYS, conv_bn, hostile, tensor_of

TWICE = "is defined twice"


@hostile(STAYS)
def two_nodes_feed_each_other() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].input[0] = "y"
    return model


@hostile(STAYS)
def node_feeds_itself() -> ModelProto:
    model = conv_bn()
    model.graph.node[1].input[0] = "y"
    return model


@hostile(STAYS)
def parameters_depend_on_the_node_itself() -> ModelProto:
    model = conv_bn(more="k = Identity(y)")
    model.graph.node[1].input[1] = "k"
    return model


@hostile(STAYS)
def constants_are_a_cycle() -> ModelProto:
    model = conv_bn(more="p = Neg(q) q = Neg(p)")
    model.graph.node[0].input[1] = "p"
    return model


@hostile(TWICE)
def two_nodes_have_one_output() -> ModelProto:
    return conv_bn(more="y = Relu(c)")


@hostile(TWICE)
def output_is_an_input_too() -> ModelProto:
    model = conv_bn()
    model.graph.node[1].output[0] = "x"
    return model


@hostile(TWICE)
def output_is_an_initializer_too() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "W"
    return model


@hostile(TWICE)
def node_has_one_output_twice() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].output.append("c")
    return model


@hostile(TWICE)
def initializer_is_there_twice() -> ModelProto:
    model = conv_bn()
    copy = model.graph.initializer.add()
    copy.CopyFrom(tensor_of(model, "W"))
    copy.raw_data = bytes(len(copy.raw_data))
    return model


@hostile(TWICE)
def input_is_there_twice() -> ModelProto:
    model = conv_bn()
    model.graph.input.add().CopyFrom(model.graph.input[0])
    return model


@hostile(FOLDS)
def output_is_there_twice() -> ModelProto:
    model = conv_bn()
    model.graph.output.add().CopyFrom(model.graph.output[0])
    return model


@hostile(FOLDS)
def two_nodes_have_one_name() -> ModelProto:
    model = conv_bn()
    model.graph.node[1].name = "conv"
    return model


@hostile(FOLDS)
def input_is_undefined() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].input[0] = "nobody"
    return model


@hostile(STAYS)
def parameters_are_undefined() -> ModelProto:
    model = conv_bn()
    model.graph.node[1].input[4] = "nobody"
    return model


@hostile(FOLDS)
def output_is_undefined() -> ModelProto:
    model = conv_bn()
    model.graph.output.add().CopyFrom(helper.make_tensor_value_info("nobody", TensorProto.FLOAT, [1]))
    return model


@hostile(STAYS)
def normalization_has_no_inputs() -> ModelProto:
    model = conv_bn()
    del model.graph.node[1].input[:]
    return model


@hostile(STAYS)
def normalization_has_no_outputs() -> ModelProto:
    model = conv_bn()
    del model.graph.node[1].output[:]
    return model


@hostile(FOLDS)
def normalization_has_a_thousand_inputs() -> ModelProto:
    model = conv_bn()
    model.graph.node[1].input.extend(["x"] * 1000)
    return model


@hostile(STAYS)
def conv_has_no_inputs() -> ModelProto:
    model = conv_bn()
    del model.graph.node[0].input[:]
    return model


@hostile(STAYS)
def conv_has_no_outputs() -> ModelProto:
    model = conv_bn()
    del model.graph.node[0].output[:]
    return model


@hostile("attribute 'epsilon' of the wrong type")
def attribute_is_of_another_type() -> ModelProto:
    model = conv_bn()
    model.graph.node[1].attribute.append(helper.make_attribute("epsilon", "1e-5"))
    return model


@hostile(FOLDS)
def attribute_says_no_type() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].attribute.append(AttributeProto(name="group", i=2))
    return model


@hostile(FOLDS)
def attribute_is_there_twice() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].attribute.extend(helper.make_attribute("group", group) for group in (1, 3))
    return model


@hostile(FOLDS)
def attribute_is_of_no_known_type() -> bytes:
    model = conv_bn()
    model.graph.node[0].attribute.append(helper.make_attribute("kernel_shape", [3, 3]))
    return model.SerializeToString().replace(b"\xa0\x01\x07", b"\xa0\x01\x63")


@hostile(STAYS)
def opset_is_of_the_year_3000() -> ModelProto:
    return conv_bn(opset=3000)


@hostile(STAYS)
def opset_is_2_to_the_62() -> ModelProto:
    return conv_bn(opset=2**62)


@hostile(STAYS)
def opset_is_negative() -> ModelProto:
    model = conv_bn()
    model.opset_import[0].version = -1
    return model


@hostile(STAYS)
def opset_is_0() -> ModelProto:
    model = conv_bn()
    model.opset_import[0].version = 0
    return model


@hostile(FOLDS)
def opset_is_imported_a_thousand_times() -> ModelProto:
    model = conv_bn()
    model.opset_import.extend(OperatorSetIdProto(domain="", version=20) for _ in range(1000))
    return model


@hostile(STAYS)
def domain_that_nobody_knows() -> ModelProto:
    model = conv_bn()
    for node in model.graph.node:
        node.domain = "com.example.évil"
    return model


@hostile(STAYS)
def ir_version_of_the_year_3000() -> ModelProto:
    model = conv_bn()
    model.ir_version = 2**62
    model.graph.node[1].op_type = "BatchNormalisation"
    return model


@hostile("imports no opset")
def no_opset_is_imported() -> ModelProto:
    model = conv_bn()
    del model.opset_import[:]
    return model


@hostile("it has no graph")
def there_is_no_graph() -> ModelProto:
    model = conv_bn()
    model.ClearField("graph")
    return model


@hostile(STAYS)
def graph_is_empty() -> ModelProto:
    model = conv_bn()
    model.graph.CopyFrom(GraphProto())
    return model


@hostile(STAYS)
def node_is_empty() -> ModelProto:
    model = graph_model("(float[4] x) => (float[4] y) { y = Relu(x) }")
    model.graph.node.append(NodeProto())
    return model


@hostile(STAYS)
def everything_has_the_empty_name() -> ModelProto:
    model = conv_bn()
    for node in model.graph.node:
        node.name = ""
        node.input[:] = [""] * len(node.input)
        node.output[:] = [""] * len(node.output)
    return model


@hostile(FOLDS)
def tensors_without_a_name() -> ModelProto:
    model = conv_bn()
    model.graph.initializer.extend(TensorProto(data_type=1, dims=[1], float_data=[1.0]) for _ in range(3))
    return model


@hostile("is not an ONNX model")
def file_is_a_picture() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


@hostile("is empty")
def file_is_empty() -> bytes:
    return b""


@hostile("is not an ONNX model|imports no opset")
def file_is_cut_off() -> bytes:
    raw = conv_bn().SerializeToString()
    return raw[: len(raw) // 2]


@hostile("is not an ONNX model")
def file_is_zeros() -> bytes:
    return bytes(100_000)


@hostile("name that is no text")
def names_are_no_text() -> bytes:
    return conv_bn(name="NODE").SerializeToString().replace(b"NODE", b"\xff\xfe\xfd\xfc")


@hostile("name that is no text|damaged")
def value_names_are_no_text() -> bytes:
    model = conv_bn()
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "WIRE"
    return model.SerializeToString().replace(b"WIRE", b"\xff\xfe\xfd\xfc")


@hostile(STAYS)
def quantization_annotation_names_what_is_not_there() -> ModelProto:
    model = graph_model("(float[4] x) => (float[4] y) { y = Relu(x) }", k=normal(4))
    annotation = model.graph.quantization_annotation.add(tensor_name="nobody")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="nobody either")
    return model


@hostile(FOLDS)
def relu_behind_has_no_output() -> ModelProto:
    model = conv_bn()
    model.graph.node.append(NodeProto(op_type="Relu", input=["y"]))
    del model.graph.output[:]
    return model


@hostile(STAYS)
def relu_between_has_no_input() -> ModelProto:
    model = conv_bn()
    del model.graph.node[0].input[:]
    model.graph.node[0].op_type = "Relu"
    return model


@hostile(STAYS)
def constant_holds_nothing_and_castlike_reads_nothing() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].input[1] = "k"
    model.graph.node.insert(0, helper.make_node("CastLike", ["W"], ["k"]))
    model.graph.node[2].input[1] = "l"
    model.graph.node.insert(0, helper.make_node("Constant", [], ["l"]))
    return model


@hostile(STAYS)
def weight_is_a_scalar() -> ModelProto:
    model = conv_bn()
    tensor_of(model, "W").CopyFrom(TensorProto(name="W", data_type=1, float_data=[1.0]))
    return model


@hostile(STAYS)
def bias_is_of_another_length() -> ModelProto:
    model = conv_bn()
    model.graph.initializer.append(TensorProto(name="B", data_type=1, dims=[3], float_data=[1.0, 2.0, 3.0]))
    model.graph.node[0].input.append("B")
    return model


@hostile(FOLDS)
def input_that_may_be_fed_is_read_by_what_nobody_reads() -> ModelProto:
    """The Pad goes with what it feeds; a caller may feed its amounts all the same, so that they stay an input."""
    return graph_model(
        "(float[1,2,4,4] x, int64[8] pads) => (float[1,2,4,4] z) { u = Pad(x, pads) y = Add(u, k) z = Relu(x) }",
        pads=np.zeros(8, np.int64),
        k=np.float32(2),
    )


@hostile(STAYS)
def size_of_an_axis_is_no_text() -> bytes:
    model = graph_model("(float[NAME,4,3] x) => (float[A,B,C] y) { r = Relu(x) y = Mul(r, k) }", k=normal(4, 1))
    return model.SerializeToString().replace(b"NAME", b"\xff\xfe\xfd\xfc")


@hostile(FOLDS)
def starts_of_a_slice_are_2_to_the_31() -> ModelProto:
    """onnx's shape inference makes a list of as many axes."""
    model = conv_bn(more="u = Slice(y, z, e, a) w = Mul(u, s)")
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.INT64, [2**31]))
    return model


@hostile(STAYS)
def shape_of_a_reshape_has_2_to_the_31_axes() -> ModelProto:
    return graph_model(
        f"(float[4] x, int64[{2**31}] z) => (float[A] y) {{ u = Reshape(x, z) y = Mul(u, k) }}", k=normal(4)
    )


@hostile(STAYS)
def window_goes_over_2_to_the_32_places() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].CopyFrom(helper.make_node("BatchNormalization", ["x", *"tttt"], ["c"]))
    model.graph.node[1].CopyFrom(helper.make_node("Conv", ["c", "W"], ["y"], pads=[0, 0, 2**32, 0]))
    model.graph.initializer.append(TensorProto(name="t", data_type=1, dims=[3], float_data=[1.0, 2.0, 3.0]))
    return model
