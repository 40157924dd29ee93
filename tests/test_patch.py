"""The edits: what becomes unread goes with all that speaks of it, and nothing else; new names are really new."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import Array, check_fold, graph_model, normal, op_types, run_ort, statistics

import bnfold
from bnfold.model.graph import Graph
from bnfold.model.names import Names
from bnfold.model.patch import Patch, apply

PARAMETERS: dict[str, Array] = dict(zip(("s", "b", "m", "v"), statistics(4), strict=True))


def conv_bn(more: str = "", *, outputs: str = "float[N,4,3,3] y", **constants: Array) -> ModelProto:
    """x -> Conv -> c -> BatchNormalization -> y, and more nodes and initializers."""
    body = f"(float[N,3,5,5] x) => ({outputs}) {{ c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) {more} }}"
    model = graph_model(body)
    for name, values in {"W": normal(4, 3, 3, 3), **PARAMETERS, **constants}.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def initializers(model: ModelProto) -> list[str]:
    return [tensor.name for tensor in model.graph.initializer]


def declare(model: ModelProto, *names: str) -> None:
    model.graph.value_info.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)


def test_parameters_that_nobody_reads_any_more_go() -> None:
    assert initializers(check_fold(conv_bn(), leaves=["Conv"]).model) == ["W", "W.bias"]


def test_what_was_unread_before_stays() -> None:
    model = conv_bn("dead = Neg(unread)", unread=normal(2), lonely=normal(3))
    folded = check_fold(model, leaves=["Conv", "Neg"]).model
    assert initializers(folded) == ["W", "unread", "lonely", "W.bias"]


@pytest.mark.parametrize("name", ["s", "b", "m", "v"])
def test_a_parameter_that_something_else_reads_stays_for_it(name: str) -> None:
    folded = check_fold(conv_bn(f"z = Relu({name})", outputs="float[N,4,3,3] y, float[4] z")).model
    assert initializers(folded) == ["W", name, "W.bias"]
    assert numpy_helper.to_array(folded.graph.initializer[1]).tolist() == PARAMETERS[name].tolist()


def test_a_parameter_that_is_a_graph_output_stays() -> None:
    folded = check_fold(conv_bn(outputs="float[N,4,3,3] y, float[4] s")).model
    assert initializers(folded) == ["W", "s", "W.bias"]


def test_a_weight_that_something_else_reads_is_cloned_and_the_original_kept() -> None:
    model = conv_bn("z = Conv(x, W)", outputs="float[N,4,3,3] y, float[N,4,3,3] z")
    folded = check_fold(model, leaves=["Conv", "Conv"]).model
    assert initializers(folded) == ["W", "W.folded", "W.bias"]
    assert folded.graph.initializer[0] == model.graph.initializer[0]


def test_constant_nodes_that_fed_the_normalization_alone_go_and_others_stay() -> None:
    model = graph_model(
        """(float[N,2,5,5] x) => (float[N,2,5,5] y, float[2] z) {
            W = Constant<value = float[2,2,1,1] {1, 2, 3, 4}>()
            s = Constant<value_floats = [2.0, 3.0]>()
            shared = Constant<value_floats = [4.0, 5.0]>()
            idle = Constant<value_floats = [6.0]>()
            u = Neg(s)
            variance = Neg(u)
            root = Sqrt(shared)
            c = Conv(x, W)
            y = BatchNormalization(c, s, shared, shared, variance)
            z = Identity(shared)
        }"""
    )
    folded = check_fold(model, leaves=["Sqrt", "Conv", "Identity"]).model
    assert [node.output[0] for node in folded.graph.node] == ["shared", "idle", "root", "y", "z"]


def test_value_info_of_names_that_are_gone_goes_and_the_rest_stays() -> None:
    model = conv_bn("z = Relu(x)", outputs="float[N,4,3,3] y, float[N,3,5,5] z", lonely=normal(1))
    declare(model, "c", "s", "v", "W", "x", "y", "lonely", "nobody")
    folded = check_fold(model).model
    assert [entry.name for entry in folded.graph.value_info] == ["W", "x", "y", "lonely", "nobody"]


def test_a_name_that_moves_to_another_node_keeps_its_value_info() -> None:
    model = graph_model(
        """(float[N,3,5,5] x) => (float[N,4,3,3] z) {
            c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) z = Relu(y)
        }""",
    )
    model.graph.initializer.extend(conv_bn().graph.initializer)
    declare(model, "c", "y")
    folded = check_fold(model, leaves=["Conv", "Relu"]).model
    assert [entry.name for entry in folded.graph.value_info] == ["y"]
    assert list(folded.graph.node[0].output) == ["y"]


def test_a_name_that_moves_in_one_body_may_go_in_another() -> None:
    """Exporters give both branches of an If the same names."""

    def body(name: str, wire: str, output: str) -> onnx.GraphProto:
        nodes = [
            helper.make_node("Conv", ["x", "W"], [wire]),
            helper.make_node("BatchNormalization", [wire, "s", "b", "m", "v"], [output]),
        ]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", 4, 3, 3])]
        graph = helper.make_graph(nodes, name, [], outputs, conv_bn().graph.initializer)
        graph.value_info.append(helper.make_tensor_value_info(wire, TensorProto.FLOAT, ["N", 4, 3, 3]))
        return graph

    model = graph_model("(float[2,3,5,5] x, bool flag) => (float[2,4,3,3] y) { y = Identity(x) }")
    branches = {"then_branch": body("then", "one", "two"), "else_branch": body("else", "two", "three")}
    model.graph.node[0].CopyFrom(helper.make_node("If", ["flag"], ["y"], **branches))  # type: ignore[arg-type]
    result = bnfold.fold(model)
    assert len(result.folded) == 2
    assert [list(a.g.value_info) for a in result.model.graph.node[0].attribute] == [[], []]
    for flag in (True, False):
        feeds = {"x": normal(2, 3, 5, 5), "flag": np.array(flag)}
        np.testing.assert_allclose(run_ort(result.model, feeds)[0], run_ort(model, feeds)[0], atol=1e-4)


def test_names_that_are_taken_are_not_taken_again() -> None:
    taken = {"W.bias": normal(1), "W.folded": normal(1), "W.bias_1": normal(1)}
    model = conv_bn("z = Conv(x, W)", outputs="float[N,4,3,3] y, float[N,4,3,3] z", **taken)
    folded = check_fold(model).model
    assert initializers(folded) == ["W", *taken, "W.folded_1", "W.bias_2"]
    for tensor in model.graph.initializer[5:]:
        assert tensor in folded.graph.initializer


@pytest.mark.parametrize("where", ["node", "value_info", "body", "function", "input", "output of a node"])
def test_a_name_is_new_to_every_scope(where: str) -> None:
    model = conv_bn()
    if where == "node":
        model.graph.node[0].name = "W.bias"
    elif where == "value_info":
        declare(model, "W.bias")
    elif where == "body":
        body = helper.make_graph([helper.make_node("Constant", [], ["W.bias"], value_float=1.0)], "body", [], [])
        model.graph.node.append(helper.make_node("Odd", [], ["odd"], domain="vendor", body=body))
        model.opset_import.add(domain="vendor", version=1)
    elif where == "function":
        node = helper.make_node("Relu", ["W.bias"], ["r"])
        model.functions.append(helper.make_function("vendor", "F", ["W.bias"], ["r"], [node], model.opset_import))
    elif where == "input":
        model.graph.input.append(helper.make_tensor_value_info("W.bias", TensorProto.FLOAT, [1]))
    else:
        model.graph.node.append(helper.make_node("Neg", ["x"], ["W.bias"]))
    folded = bnfold.fold(model).model
    assert initializers(folded) == ["W", "W.bias_1"]


@pytest.mark.parametrize(
    "name",
    ["/model/conv/Conv_output_0", "a b", "onnx::Conv_12", "läyer.重み", "[red]not markup[/]", "%0", "\t", "x" * 3000],
    ids=ascii,
)
def test_odd_names_of_values_and_nodes_are_kept(name: str) -> None:
    model = conv_bn()
    conv, bn = model.graph.node
    weight = model.graph.initializer[0]
    weight.name = conv.input[1] = f"{name}.weight"
    conv.name, bn.name = f"{name} conv", f"{name} bn"
    bn.output[0] = model.graph.output[0].name = f"{name} out"
    result = check_fold(model, leaves=["Conv"])
    assert initializers(result.model) == [f"{name}.weight", f"{name}.bias"]
    (folded,) = result.folded
    assert (folded.node, folded.into) == (f"{name} bn", (f"{name} conv",))
    assert result.model.graph.node[0].output[0] == f"{name} out"


def test_nodes_without_a_name_stay_without_one_and_are_called_after_their_output() -> None:
    result = check_fold(conv_bn(), leaves=["Conv"])
    assert result.model.graph.node[0].name == ""
    assert [(folded.node, folded.into) for folded in result.folded] == [("BatchNormalization -> y", ("Conv -> c",))]


def test_a_new_add_stands_behind_its_matmul_and_takes_names_of_its_own() -> None:
    model = graph_model(
        "(float[N,3] x) => (float[N,4] y) { p = MatMul(x, W) y = BatchNormalization(p, s, b, m, v) }",
        W=normal(3, 4),
    )
    model.graph.initializer.append(numpy_helper.from_array(normal(1), "W.bias"))
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in PARAMETERS.items())
    model.graph.node[0].name = "dense"
    model.graph.node.append(helper.make_node("Relu", ["x"], ["r"], name="dense.bias"))
    folded = check_fold(model, leaves=["MatMul", "Add", "Relu"]).model
    add = folded.graph.node[1]
    assert (list(add.input), list(add.output), add.name) == (["p", "W.bias_1"], ["y"], "dense.bias_1")


def test_applying_a_patch_twice_gives_the_same_and_changes_no_original() -> None:
    model = conv_bn()
    result = bnfold.fold(model)
    before = model.SerializeToString()
    one, other = (apply(result.rounds[0].patch, result.plan.graph) for _ in range(2))
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    assert model.SerializeToString() == before
    assert op_types(one) == ["Conv"]


def test_an_empty_patch_changes_nothing() -> None:
    model = conv_bn()
    assert apply(Patch(), Graph(model)).SerializeToString() == model.SerializeToString()


def test_an_omitted_input_is_filled_in_and_those_before_it_stay_omitted() -> None:
    graph = Graph(conv_bn())
    patch = Patch()
    patch.read_instead(graph.main.nodes[0], 4, "fifth")
    assert list(apply(patch, graph).graph.node[0].input) == ["x", "W", "", "", "fifth"]


def test_an_attribute_is_set_and_removed_and_the_others_stay() -> None:
    model = conv_bn()
    model.graph.node[1].attribute.extend(
        [helper.make_attribute("momentum", 0.5), helper.make_attribute("epsilon", 0.1)]
    )
    graph = Graph(model)
    patch = Patch()
    patch.set_attribute(graph.main.nodes[1], "epsilon", 0.25)
    patch.set_attribute(graph.main.nodes[1], "momentum", None)
    assert [(a.name, a.f) for a in apply(patch, graph).graph.node[1].attribute] == [("epsilon", 0.25)]


def test_fresh_names_count_up_and_are_handed_out_once() -> None:
    names = Names(Graph(conv_bn()))
    assert [names.fresh(hint) for hint in ("W", "W", "new", "new", "W_1")] == ["W_1", "W_2", "new", "new_1", "W_1_1"]
