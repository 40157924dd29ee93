"""Shapes: what is inferred is believed, what is declared only where nothing is inferred."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import bnfold_process
from onnx import ModelProto, TensorProto, helper
from support import check_fold, graph_model, normal, statistics

import bnfold
from bnfold.model.graph import Graph
from bnfold.model.shapes import Shape, Shapes


def shape_of(model: ModelProto, name: str, *, freeze: bool = False) -> Shape | None:
    graph = Graph(model)
    return Shapes(graph, freeze=freeze).shape(graph.main.values[name])


def declaring(model: ModelProto, name: str, shape: list[Any], elem_type: int = TensorProto.FLOAT) -> ModelProto:
    """With a `value_info` entry."""
    model.graph.value_info.append(helper.make_tensor_value_info(name, elem_type, shape))
    return model


def flattening(c: str = "c = Conv <pads = [1, 1, 1, 1]> (x, w)") -> ModelProto:
    """Conv to c, (2, 8, 4, 6), flattened to (2, 192), and one scale for the 24 places of each channel."""
    body = f"(float[2, 3, 4, 6] x) => (float[2, 192] y) {{ {c} t = Flatten (c) y = Mul (t, k) }}"
    return graph_model(body, w=normal(8, 3, 3, 3), k=np.repeat(normal(8), 24))


@pytest.mark.parametrize("wrong", [[2, 6, 4, 8], [2, 8, 6], [2, 24, 4, 2]], ids=str)
def test_declared_shape_that_is_wrong_is_not_believed(wrong: list[int]) -> None:
    model = declaring(flattening(), "c", wrong)
    assert shape_of(model, "c") == (2, 8, 4, 6)
    # The checker rejects such a model, and onnxruntime merges shapes with a warning or an error: only the fold counts.
    folded = bnfold.fold(model).model
    del model.graph.value_info[:], folded.graph.value_info[:]
    assert [node.op_type for node in folded.graph.node] == ["Conv", "Flatten"]
    assert folded == check_fold(model).model


def test_declared_output_shape_that_is_wrong_is_not_believed() -> None:
    model = flattening()
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.shape.dim.add(dim_value=7)
    assert shape_of(model, "y") == (2, 192)


def behind_custom_operator() -> ModelProto:
    """Flatten of a Conv whose input comes from an operator that nobody knows."""
    model = flattening("q = custom.Mystery (x) c = Conv <pads = [1, 1, 1, 1]> (q, w)")
    model.opset_import.append(helper.make_opsetid("custom", 1))
    return model


def test_declared_shape_behind_an_operator_that_nobody_knows_is_believed() -> None:
    silent, declared = behind_custom_operator(), declaring(behind_custom_operator(), "q", [2, 3, 4, 6])
    assert shape_of(silent, "c") != (2, 8, 4, 6)
    assert not bnfold.fold(silent)
    assert shape_of(declared, "c") == (2, 8, 4, 6)
    assert [node.op_type for node in bnfold.fold(declared).model.graph.node] == ["Mystery", "Conv", "Flatten"]


def test_declared_shape_of_what_is_inferred_is_not_believed_behind_an_operator_that_nobody_knows() -> None:
    model = declaring(declaring(behind_custom_operator(), "q", [2, 3, 4, 6]), "c", [2, 6, 4, 8])
    assert shape_of(model, "c") == (2, 8, 4, 6)


def test_declared_shape_in_a_body_that_is_wrong_is_not_believed() -> None:
    body = (
        "c = If (b) <then_branch = t () => (y) { h = Neg (x) y = Relu (h) }, else_branch = e () => (z) { z = Neg (x) }>"
    )
    model = graph_model(f"(float[2, 3] x, bool b) => (float[] c) {{ {body} }}")
    then = next(attribute.g for attribute in model.graph.node[0].attribute if attribute.name == "then_branch")
    then.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [3, 2]))
    graph = Graph(model)
    (value,) = (scope.values["h"] for scope in graph.scopes if "h" in scope.values)
    assert Shapes(graph).shape(value) == (2, 3)


def test_symbols_and_unknown_sizes_are_kept_apart() -> None:
    model = graph_model("(float[N, 3, H, W] x) => (float[] y) { y = Relu (x) }")
    for place in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[place].Clear()
    shape = shape_of(model, "y")
    assert shape is not None
    assert shape[:2] == ("N", 3)
    assert not isinstance(shape[2], int)
    assert shape[2] is None or shape[2] not in (shape[0], shape[3])


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_that_exporters_write_for_unknown_ones_are_unknown(size: int) -> None:
    model = graph_model("(float[2, 3] x) => (float[] y) { y = Relu (x) }")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    assert shape_of(model, "x") == (None, 3)


def test_target_of_a_reshape_that_a_caller_may_override_is_not_believed() -> None:
    nodes = "(float[2, 12] x, int64[2] n) => (float[] y) { y = Reshape (x, n) }"
    model = graph_model(nodes, ir=8, opset=13, n=np.array([4, 6], np.int64))
    assert shape_of(model, "y") != (4, 6)
    assert shape_of(model, "y", freeze=True) == (4, 6)


def test_large_weights_are_not_copied_for_the_inference() -> None:
    model = graph_model("(float[2, 512] x) => (float[] y) { y = MatMul (x, w) }", w=normal(512, 1000))
    assert shape_of(model, "y") == (2, 1000)
    assert shape_of(model, "w") == (512, 1000)


def test_types_are_known_of_initializers_inputs_and_results() -> None:
    model = graph_model("(float16[2] x) => (float[] y) { h = Cast <to = 1> (x) y = Add (h, k) }", k=normal(2))
    graph = Graph(model)
    shapes = Shapes(graph)
    types = {name: shapes.elem_type(graph.main.values[name]) for name in "xhky"}
    assert types == {"x": TensorProto.FLOAT16, "h": TensorProto.FLOAT, "k": TensorProto.FLOAT, "y": TensorProto.FLOAT}
    assert shapes.elem_type(None) == TensorProto.UNDEFINED
    assert shapes.rank(None) is None


def test_model_that_shape_inference_can_not_read_still_folds_what_needs_no_shapes() -> None:
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(8), strict=True))
    model = graph_model(
        "(float[2, 3, 4, 6] x) => (float[2, 8, 4, 6] y, float[] o) "
        "{ c = Conv <pads = [1, 1, 1, 1]> (x, w) y = BatchNormalization (c, s, b, m, v) o = Add (x, k) }",
        w=normal(8, 3, 3, 3),
        k=normal(5),
        **parameters,
    )
    assert [node.op_type for node in bnfold.fold(model).model.graph.node] == ["Conv", "Add"]


STRIDES_OF_ZERO = {
    "a Conv": "c = Conv <strides = [0, 1]> (x, w)",
    "a Conv that pads by itself": 'c = Conv <strides = [1, 0], auto_pad = "SAME_UPPER"> (x, w)',
    "a pool": "p = MaxPool <kernel_shape = [1, 1], strides = [0, 0]> (x) c = Conv (p, w)",
    "a call of a function": "c = local.f <steps = [0, 1]> (x, w)",
    "a call of a function that calls another": "c = local.g <far = [0, 1]> (x, w)",
    "a default of a function": "c = local.h (x, w)",
    "a body": "t = Constant <value_int = 1> () u = Cast <to = 9> (t) c = If (u) <then_branch = a () => (q) "
    "{ q = Conv <strides = [0, 1]> (x, w) }, else_branch = b () => (r) { r = Conv (x, w) }>",
}

FUNCTIONS = """
<ir_version: 10, opset_import: ["" : 20, "local" : 1]> none () => () {}
<opset_import: ["" : 20], domain: "local">
f <steps> (x, w) => (y) { y = Conv <strides : ints = @steps> (x, w) }
<opset_import: ["" : 20, "local" : 1], domain: "local">
g <far> (x, w) => (y) { y = local.f <steps : ints = @far> (x, w) }
<opset_import: ["" : 20], domain: "local">
h <steps : ints = [0, 0]> (x, w) => (y) { y = Conv <strides : ints = @steps> (x, w) }
"""


@pytest.mark.parametrize("node", STRIDES_OF_ZERO.values(), ids=STRIDES_OF_ZERO)
def test_a_stride_of_zero_does_not_end_the_process(node: str, tmp_path: Path) -> None:
    """Shape inference of onnx 1.21 and before divides by it; in a process of its own, since it would end this one."""
    body = f"(float[2, 3, 4, 6] x) => (float[a, b, d, e] y) {{ {node} y = BatchNormalization (c, s, o, m, v) }}"
    parameters: dict[str, Any] = dict(zip("somv", statistics(8), strict=True))
    model = graph_model(body, w=normal(8, 3, 3, 3), **parameters)
    if "local" in node:
        model.functions.extend(onnx.parser.parse_model(FUNCTIONS).functions)
        model.opset_import.append(helper.make_opsetid("local", 1))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    outcome = bnfold_process("fold", path, "--no-check", "--json", tmp_path / "out.json")
    assert outcome.status == 0, outcome


@pytest.mark.parametrize("opset", [18, 21])
def test_the_shape_behind_a_group_normalization_is_known_though_onnx_infers_none(opset: int) -> None:
    body = "(float[n,4,5,6] x) => (float[] y) { c = GroupNormalization <num_groups = 2> (x, s, s) y = Relu (c) }"
    graph = Graph(graph_model(body, opset=opset, s=normal(4 if opset == 21 else 2)))
    shapes = Shapes(graph)
    assert shapes.shape(graph.main.values["y"]) == ("n", 4, 5, 6)
    assert shapes.elem_type(graph.main.values["c"]) == TensorProto.FLOAT


def test_a_function_of_the_name_of_a_normalization_is_not_taken_for_it() -> None:
    model = graph_model(
        "(float[2,4,5,6] x) => (float[] y) { y = GroupNormalization <num_groups = 2> (x, s, s) }", s=normal(4)
    )
    flat = helper.make_node("Flatten", ["a"], ["o"])
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("", "GroupNormalization", ["a", "b", "c"], ["o"], [flat], opsets))
    graph = Graph(model)
    assert Shapes(graph).shape(graph.main.values["y"]) in (None, (2, 120))


def test_a_group_normalization_without_inputs_is_no_more_than_unknown() -> None:
    model = graph_model("(float[2,4] x) => (float[] y) { y = Relu (x) }")
    model.graph.node.append(helper.make_node("GroupNormalization", [], ["z"], num_groups=1))
    graph = Graph(model)
    assert Shapes(graph).shape(graph.main.values["z"]) is None
    assert Shapes(graph).shape(graph.main.values["y"]) == (2, 4)
