"""Linear operators in functions and in bodies: each call, and each body, gets normalizations of its own."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, helper, numpy_helper
from support import normal, op_types, passes_checker, run_ort, text_model

import bnfold
from bnfold.inserting.insert import InsertResult, insert
from bnfold.inserting.options import Options

LAYER = "layer (a, W) => (o) { c = Gemm(a, W) o = Relu(c) }"


def function(text: str, opset: int = 20) -> str:
    return f'<domain: "own", opset_import: ["" : {opset}, "own" : 1]> {text}'


def model_of(body: str, *functions: str, **constants: npt.ArrayLike) -> ModelProto:
    header = '<ir_version: 10, opset_import: ["" : 20, "own" : 1]>'
    return text_model(f"{header} g (float[N,4] x) => (float[N,2] y) {{ {body} }} {' '.join(functions)}", **constants)


def weights() -> dict[str, Any]:
    return {"U": normal(4, 6), "V": normal(6, 6), "W": normal(6, 2)}


def unchanged(model: ModelProto, result: InsertResult) -> None:
    feeds = {"x": normal(5, 4, seed=3)}
    np.testing.assert_array_equal(run_ort(result.model, feeds)[0], run_ort(model, feeds)[0])
    assert passes_checker(result.model)


BODY = "[first] h = own.layer(x, U) [second] k = own.layer(h, V) y = Gemm(k, W)"


def test_each_call_of_a_function_has_a_normalization_of_its_own() -> None:
    model = model_of(BODY, function(LAYER), **weights())
    result = insert(model)
    assert [(entry.behind, entry.channels) for entry in result.inserted] == [("first/Gemm", 6), ("second/Gemm", 6)]
    names = [name for entry in result.inserted for name in entry.parameters]
    assert len(set(names)) == 8
    assert names[0] == "U.bn.scale"
    held = {tensor.name for tensor in result.model.graph.initializer}
    assert held >= set(names)
    assert not result.model.functions
    assert result.remarks == (
        "put the body of function 'layer' in the place of its 2 calls: a function has no initializers to train",
    )
    unchanged(model, result)
    assert model.functions


def test_statistics_of_a_call_are_measured_over_its_own_data() -> None:
    model = model_of(BODY, function(LAYER), **weights())
    result = insert(model, [{"x": normal(64, 4)}])
    assert len(result.inserted) == 2
    assert not [remark for remark in result.remarks if "identity" in remark]
    assert bnfold.check(model, result.model)


def test_a_function_that_calls_one_with_a_linear_operator_is_put_in_place_too() -> None:
    block = "block (a, W) => (o) { n = Identity(a) o = own.layer(n, W) }"
    body = "[outer] h = own.block(x, U) r = own.quiet(h) y = Gemm(r, W)"
    model = model_of(body, function(LAYER), function(block), function("quiet (a) => (o) { o = Tanh(a) }"), **weights())
    result = insert(model)
    assert [entry.behind for entry in result.inserted] == ["outer/layer/Gemm"]
    assert [kept.name for kept in result.model.functions] == ["quiet"]
    unchanged(model, result)


def test_a_weight_that_is_a_constant_of_the_function_is_found_in_each_call() -> None:
    own = "dense (a) => (o) { c = MatMul(a, K) o = Relu(c) }"
    model = model_of("h = own.dense(x) k = own.dense(h) y = Gemm(k, W)", function(own), W=normal(4, 2))
    constant = helper.make_node("Constant", [], ["K"], value=numpy_helper.from_array(normal(4, 4), "K"))
    model.functions[0].node.insert(0, constant)
    result = insert(model)
    assert len(result.inserted) == 2
    unchanged(model, result)


def test_where_a_call_can_not_be_replaced_its_operators_are_skipped_with_the_reason() -> None:
    model = model_of(BODY, function(LAYER, opset=19), **weights())
    result = insert(model, options=Options(include_classifier=True))
    assert [(entry.op_type, entry.code) for entry in result.skipped] == [("Gemm", "function")]
    assert "can not be put in the place of its calls" in result.skipped[0].reason
    assert [entry.behind for entry in result.inserted] == ["Gemm -> y"]
    assert [kept.name for kept in result.model.functions] == ["layer"]
    unchanged(model, result)


def test_a_function_that_nothing_calls_is_not_spoken_of() -> None:
    model = model_of("h = Gemm(x, U) k = Relu(h) y = Gemm(k, W)", function(LAYER), U=normal(4, 6), W=normal(6, 2))
    result = insert(model)
    assert [entry.code for entry in result.skipped] == ["classifier"]
    assert result.remarks == ()


def test_a_normalization_in_a_function_is_seen_from_outside() -> None:
    norm = "norm (a, s) => (o) { o = BatchNormalization(a, s, s, s, s) }"
    body = "h = Gemm(x, U) n = own.norm(h, p) r = Relu(n) y = Gemm(r, W)"
    model = model_of(body, function(norm), U=normal(4, 6), W=normal(6, 2), p=np.ones(6, np.float32))
    assert [entry.code for entry in insert(model).skipped] == ["normalized", "classifier"]


def test_the_last_linear_operator_in_a_function_is_a_classifier_and_the_one_before_it_is_none() -> None:
    head = "head (a, W) => (o) { o = Gemm(a, W) }"
    model = model_of("h = Gemm(x, U) r = Relu(h) y = own.head(r, W)", function(head), U=normal(4, 6), W=normal(6, 2))
    result = insert(model)
    assert [entry.behind for entry in result.inserted] == ["Gemm -> h"]
    assert [entry.code for entry in result.skipped] == ["classifier"]


# --- bodies -----------------------------------------------------------------------------------------------------------

NESTED = """(bool c, bool d, float[N,4] x) => (float[N,2] y) {
    h = If (c) <then_branch = t () => (float[N,6] u) {
                    u = If (d) <then_branch = tt () => (float[N,6] p) { p = MatMul(x, W1) },
                                else_branch = te () => (float[N,6] q) { q = Gemm(x, W3, zero) }> },
                else_branch = e () => (float[N,6] v) { v = MatMul(x, W1) }>
    y = MatMul(h, W2) }"""


@pytest.mark.parametrize("ir", [3, 4, 10])
def test_bodies_in_bodies_that_read_weights_from_outside_get_parameters_of_their_own(ir: int) -> None:
    model = text_model(
        f'<ir_version: {ir}, opset_import: ["" : 9]> g {NESTED}',
        W1=normal(4, 6),
        W3=normal(4, 6, seed=1),
        W2=normal(6, 2),
        zero=np.zeros(6, np.float32),
    )
    if ir < 4:
        for tensor in model.graph.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    result = insert(model)
    assert sorted(entry.op_type for entry in result.inserted) == ["Gemm", "MatMul", "MatMul"]
    assert len({name for entry in result.inserted for name in entry.parameters}) == 12
    assert passes_checker(result.model)
    for c in (True, False):
        for d in (True, False):
            feeds = {"c": np.array(c), "d": np.array(d), "x": normal(3, 4)}
            np.testing.assert_array_equal(run_ort(result.model, feeds)[0], run_ort(model, feeds)[0])


LOOP = """(float[N,4] x) => (float[N,2] y) {
    h = MatMul(x, A) r = Relu(h)
    k = Loop (three, yes, r) <body = b (int64 i, bool go, float[N,4] s) => (bool on, float[N,4] t) {
        on = Identity(go) m = MatMul(s, B) t = Relu(m) }>
    y = MatMul(k, W) }"""


def test_an_operator_in_front_of_a_loop_whose_body_has_another_is_not_the_last_one() -> None:
    text = LOOP.replace("MatMul(k, W)", "Identity(k)").replace("N,2", "N,4")
    model = text_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g {text}',
        A=normal(4, 4),
        B=normal(4, 4, seed=1) / 4,
        three=np.array(3, np.int64),
        yes=np.array(True),
    )
    result = insert(model)
    assert [entry.behind for entry in result.inserted] == ["MatMul -> h"]
    assert [entry.code for entry in result.skipped] == ["classifier"]


def test_a_loop_gets_one_in_its_body_with_one_set_of_parameters_for_all_its_runs() -> None:
    model = text_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g {LOOP}',
        A=normal(4, 4),
        B=normal(4, 4, seed=1) / 4,
        W=normal(4, 2),
        three=np.array(3, np.int64),
        yes=np.array(True),
    )
    result = insert(model, [{"x": normal(32, 4)}])
    assert [entry.behind for entry in result.inserted] == ["MatMul -> h", "MatMul -> m"]
    assert any("stands in a body, where no data can be measured" in remark for remark in result.remarks)
    assert bnfold.check(model, result.model)
    assert "BatchNormalization" in op_types(result.model)
    assert passes_checker(result.model)
