"""Scopes: what bodies of control flow capture, what functions hide, what is seen from outside."""

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from support import (
    Array,
    check_fold,
    graph_model,
    normal,
    passes_checker,
    refusal,
    run_ort,
    statistics,
)

import bnfold
from bnfold.model.graph import Graph
from bnfold.model.order import ranks

PARAMETERS: dict[str, Array] = dict(zip(("s", "b", "m", "v"), statistics(4), strict=True))


def tensors(**more: Array) -> list[TensorProto]:
    constants = {"W": normal(4, 3, 3, 3), **PARAMETERS, **more}
    return [numpy_helper.from_array(values, name) for name, values in constants.items()]


def conv_bn(interface: str, more: str = "") -> ModelProto:
    """x -> Conv -> c -> BatchNormalization -> y, and more."""
    model = graph_model(f"{interface} {{ c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) {more} }}")
    model.graph.initializer.extend(tensors())
    return model


def conv_bn_nodes(x: str, y: str) -> list[NodeProto]:
    """Conv and BatchNormalization of the names that every scope here uses."""
    return [
        helper.make_node("Conv", [x, "W"], ["c"], name=f"conv to {y}"),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], [y], name=f"bn to {y}"),
    ]


def image(name: str, channels: int = 4) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", channels, "H", "W"])


def model_of(nodes: list[NodeProto], initializer: list[TensorProto], functions: list[onnx.FunctionProto]) -> ModelProto:
    """x [2, 3, 5, 5] and a flag to y."""
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 5, 5]),
        helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [image("y")], initializer)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets, functions=functions)


def assert_same_for_both_flags(model: ModelProto, folded: ModelProto) -> None:
    assert passes_checker(folded)
    for flag in (True, False):
        feeds = {"x": normal(2, 3, 5, 5), "flag": np.array(flag)}
        (before,), (after,) = run_ort(model, feeds), run_ort(folded, feeds)
        np.testing.assert_allclose(after, before, atol=1e-4)


def branches(model: ModelProto) -> tuple[GraphProto, GraphProto]:
    (node,) = [node for node in model.graph.node if node.op_type == "If"]
    bodies = {attribute.name: attribute.g for attribute in node.attribute}
    return bodies["then_branch"], bodies["else_branch"]


def if_model(*, captured: bool, same_names: bool = True) -> ModelProto:
    """Conv and BatchNormalization in each branch of an If, the weights captured or the bodies' own."""
    bodies = []
    for number in range(2):
        output = "t" if same_names else f"t{number}"
        nodes = conv_bn_nodes("x", output)
        if number:
            nodes.insert(0, helper.make_node("Neg", ["x"], ["minus"]))
            nodes[1].input[0] = "minus"
        own = [] if captured else tensors()
        bodies.append(helper.make_graph(nodes, f"branch {number}", [], [image(output)], own))
    node = helper.make_node("If", ["flag"], ["y"], then_branch=bodies[0], else_branch=bodies[1])
    return model_of([node], tensors() if captured else [], [])


def test_weights_of_a_body_fold_within_it() -> None:
    model = if_model(captured=False)
    result = bnfold.fold(model)
    assert (len(result.folded), result.kept) == (2, ())
    assert_same_for_both_flags(model, result.model)
    for body in branches(result.model):
        assert "BatchNormalization" not in {node.op_type for node in body.node}
        assert body.initializer[0].name == "W"
        assert len(body.initializer) == 2
    assert [body.output[0].name for body in branches(result.model)] == ["t", "t"]


def test_weights_that_two_bodies_capture_are_cloned_for_each_and_the_original_goes() -> None:
    model = if_model(captured=True)
    result = bnfold.fold(model)
    assert (len(result.folded), result.kept) == (2, ())
    assert_same_for_both_flags(model, result.model)
    assert [tensor.name for tensor in result.model.graph.initializer] == []
    new = [tensor.name for body in branches(result.model) for tensor in body.initializer]
    assert len(new) == len(set(new)) == 4, "a name that no other scope has"


def test_a_weight_that_one_body_alone_captures_changes_where_it_is() -> None:
    model = if_model(captured=True)
    other = branches(model)[1]
    del other.node[:]
    other.node.append(helper.make_node("Slice", ["x2", "i0", "i4", "i1"], ["t"]))
    model.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [2, 5, 3, 3]))
    for name, number in (("i0", 0), ("i4", 4), ("i1", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([number], np.int64), name))
    result = bnfold.fold(model)
    assert len(result.folded) == 1
    assert [t.name for t in result.model.graph.initializer] == ["W", "i0", "i4", "i1"]
    assert [t.name for t in branches(result.model)[0].initializer] == ["W.bias"]


@pytest.mark.parametrize("op_type", ["If", "Loop", "Scan"])
def test_a_wire_that_a_body_captures_is_read_there_and_does_not_fold(op_type: str) -> None:
    body_output = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    inner = helper.make_node("Relu", ["c"], ["o"])
    nodes = conv_bn_nodes("x", "y")
    if op_type == "If":
        body = helper.make_graph([inner], "body", [], [body_output])
        nodes.append(helper.make_node("If", ["flag"], ["z"], then_branch=body, else_branch=body))
        constants = []
    elif op_type == "Loop":
        inputs = [
            helper.make_tensor_value_info(n, t, []) for n, t in (("i", TensorProto.INT64), ("k", TensorProto.BOOL))
        ]
        keep = helper.make_node("Identity", ["k"], ["k2"])
        outputs = [helper.make_tensor_value_info("k2", TensorProto.BOOL, []), body_output]
        body = helper.make_graph([inner, keep], "body", inputs, outputs)
        nodes.append(helper.make_node("Loop", ["trips", "flag"], ["z"], body=body))
        constants = [numpy_helper.from_array(np.array(2, np.int64), "trips")]
    else:
        step = helper.make_tensor_value_info("step", TensorProto.FLOAT, [])
        body = helper.make_graph([inner], "body", [step], [body_output])
        nodes.append(helper.make_node("Scan", ["steps"], ["z"], body=body, num_scan_inputs=1))
        constants = [numpy_helper.from_array(normal(3), "steps")]
    model = model_of(nodes, tensors() + constants, [])
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    run_ort(model, {"x": normal(2, 3, 5, 5), "flag": np.array(True)})
    result = bnfold.fold(model)
    assert [(kept.node, kept.code) for kept in result.kept] == [("bn to y", "several-readers")]
    assert "Relu 'Relu -> o'" in result.kept[0].reason, "the node in the body that reads it"
    assert not result


def test_a_normalization_in_a_body_does_not_fold_into_a_convolution_outside_of_it() -> None:
    bn = helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["t"], name="inside")
    plain = helper.make_node("Identity", ["plain"], ["t"])
    node = helper.make_node(
        "If",
        ["flag"],
        ["y"],
        then_branch=helper.make_graph([bn], "then", [], [image("t")]),
        else_branch=helper.make_graph([plain], "else", [], [image("t")]),
    )
    outside = [helper.make_node("Conv", ["x", "W"], ["c"]), helper.make_node("Conv", ["x", "W"], ["plain"])]
    model = model_of([*outside, node], tensors(), [])
    result = bnfold.fold(model)
    assert [(kept.node, kept.code) for kept in result.kept] == [("inside", "captured")]
    assert result.model.SerializeToString() == model.SerializeToString()


def function_of(nodes: list[NodeProto], inputs: list[str], constants: list[TensorProto]) -> onnx.FunctionProto:
    held = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in constants]
    return helper.make_function("local", "Block", inputs, ["y"], [*held, *nodes], [helper.make_opsetid("", 20)])


def test_constants_within_a_function_fold_there() -> None:
    function = function_of(conv_bn_nodes("x", "y"), ["x"], tensors())
    model = model_of([helper.make_node("Block", ["x"], ["y"], domain="local")], [], [function])
    result = bnfold.fold(model)
    assert (len(result.folded), result.kept) == (1, ())
    assert_same_for_both_flags(model, result.model)
    (made,) = result.model.functions
    assert [node.op_type for node in made.node] == ["Constant", "Constant", "Conv"]
    assert (list(made.input), list(made.output)) == (["x"], ["y"])


def test_parameters_of_a_function_are_no_constants_where_a_caller_computes_them() -> None:
    names = ["x", "s", "b", "m", "v"]
    function = function_of(conv_bn_nodes("x", "y"), names, tensors()[:1])
    doubled = helper.make_node("Relu", ["s"], ["t"])
    call = helper.make_node("Block", ["x", "t", *names[2:]], ["y"], domain="local")
    model = model_of([doubled, call], tensors()[1:], [function])
    result = bnfold.fold(model)
    assert [(kept.node, kept.code) for kept in result.kept] == [("bn to y", "dynamic-parameter")]
    assert not result
    assert_same_for_both_flags(model, result.model)


def test_an_attribute_that_is_a_parameter_is_not_known_within_a_function_that_stays() -> None:
    nodes = [*conv_bn_nodes("x", "d")[:1], helper.make_node("Sigmoid", ["c"], ["e"]), *conv_bn_nodes("x", "y")[1:]]
    nodes[2].input[0] = "e"
    nodes[2].attribute.add(name="epsilon", ref_attr_name="eps", type=onnx.AttributeProto.FLOAT)
    function = function_of(nodes, ["x"], tensors())
    function.attribute.append("eps")
    model = model_of([helper.make_node("Block", ["x"], ["y"], domain="local", eps=0.1)], [], [function])
    result = bnfold.fold(model)
    assert [kept.code for kept in result.kept] == ["function-attribute"]
    assert_same_for_both_flags(model, result.model)


def test_the_output_of_the_normalization_keeps_its_name_where_it_is_the_graph_output() -> None:
    model = conv_bn("(float[N,3,5,5] x) => (float[N,4,3,3] y)")
    check_fold(model, leaves=["Conv"])


@pytest.mark.parametrize("outputs", ["float[N,4,3,3] y, float[N,4,3,3] c", "float[N,4,3,3] c, float[N,4,3,3] y"])
def test_a_wire_that_is_a_graph_output_too_is_kept_and_nothing_folds(outputs: str) -> None:
    kept = refusal(conv_bn(f"(float[N,3,5,5] x) => ({outputs})"))
    assert kept.code == "graph-output"
    assert "'c'" in kept.reason


def test_a_wire_before_the_last_of_a_chain_that_is_a_graph_output_stops_only_what_is_behind_it() -> None:
    model = conv_bn(
        "(float[N,3,5,5] x) => (float[N,4,3,3] y, float[N,4,3,3] z)", "z = BatchNormalization(y, s, b, m, v)"
    )
    result = check_fold(model, leaves=["Conv", "BatchNormalization"], kept=["graph-output"])
    assert "'y'" in result.kept[0].reason


def test_nodes_that_are_not_in_order_fold_all_the_same() -> None:
    model = conv_bn("(float[N,3,5,5] x) => (float[N,4,3,3] y)")
    ordered = bnfold.fold(model).model
    model.graph.node.reverse()
    result = bnfold.fold(model)
    assert [node.SerializeToString() for node in result.model.graph.node] == [
        node.SerializeToString() for node in ordered.graph.node
    ]


def test_nodes_that_are_not_in_order_take_their_turns_as_in_the_file() -> None:
    """They took them as their objects lay in memory, so that the reason for what stays was another one each time."""
    waiting = [helper.make_node("Identity", ["r"], [f"i{k}"]) for k in range(40)]
    nodes = [*waiting, helper.make_node("Relu", ["x"], ["r"])]
    graph = Graph(helper.make_model(helper.make_graph(nodes, "g", [], [])))
    order = ranks(graph)
    assert [order[node.address] for node in graph.main.nodes] == [*range(1, 41), 0]


def test_the_view_knows_who_reads_what() -> None:
    model = if_model(captured=True)
    view = Graph(model)
    assert [scope.number for scope in view.scopes] == [0, 1, 2]
    weight = view.main.values["W"]
    assert [(node.op_type, index, node.scope.number) for node, index in weight.readers] == [
        ("Conv", 1, 1),
        ("Conv", 1, 2),
    ]
    assert weight.tensor is model.graph.initializer[0]
    assert not weight.is_input
    assert view.scopes[1].values["t"].is_output
    assert view.scopes[1].values["c"] is not view.scopes[2].values["c"]
    assert {reader.label for reader, _ in view.main.values["x"].readers} == {"conv to t", "Neg -> minus"}


def test_a_body_of_a_body_sees_the_names_of_both() -> None:
    inner = if_model(captured=True)
    (node,) = inner.graph.node
    node.output[0] = "t"
    body = helper.make_graph([node], "outer", [], [image("t")], tensors())
    outer = helper.make_node("If", ["flag"], ["y"], then_branch=body, else_branch=body)
    model = model_of([outer], [], [])
    result = bnfold.fold(model)
    assert (len(result.folded), result.kept) == (4, ())
    assert_same_for_both_flags(model, result.model)


@pytest.mark.parametrize("name", ["s", "W"], ids=["a parameter", "a weight"])
def test_an_initializer_that_training_sets_stays_as_it_is(name: str) -> None:
    model = conv_bn("(float[N,3,5,5] x) => (float[N,4,3,3] y)")
    model.training_info.add().update_binding.add(key=name, value="new")
    folded = check_fold(model, leaves=["Conv"]).model
    (before,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    assert before in folded.graph.initializer


@pytest.mark.parametrize("name", ["s", "W"], ids=["a parameter", "a weight"])
def test_an_initializer_that_a_quantization_annotation_names_stays_as_it_is(name: str) -> None:
    model = conv_bn("(float[N,3,5,5] x) => (float[N,4,3,3] y)")
    annotation = model.graph.quantization_annotation.add(tensor_name="x")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=name)
    folded = check_fold(model, leaves=["Conv"]).model
    (before,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    assert before in folded.graph.initializer
    assert folded.graph.quantization_annotation == model.graph.quantization_annotation
