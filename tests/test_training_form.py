"""Inserted normalizations with training_mode = 1: the running statistics are outputs that a consumer can read."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper
from support import Array, graph_model, interface, normal, op_types, passes_checker, run_ort

import bnfold
from bnfold.errors import UsageError
from bnfold.inserting.insert import insert
from bnfold.inserting.options import Options

DENSE = "(float[N,4] x) => (float[N,2] y) { h = Gemm(x, W1, b1) r = Relu(h) y = Gemm(r, W2) }"
ASKED = Options(training_mode=True)


def dense(opset: int = 20) -> ModelProto:
    return graph_model(DENSE, opset=opset, W1=normal(4, 6), b1=normal(6), W2=normal(6, 2))


def held(model: ModelProto, name: str) -> Array:
    return next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)


@pytest.mark.parametrize("opset", [14, 15, 20])
def test_running_statistics_are_outputs_and_are_what_the_momentum_makes_of_a_batch(opset: int) -> None:
    model, x = dense(opset), normal(64, 4)
    result = insert(model, [{"x": normal(64, 4, seed=1)}], ASKED)
    assert [entry.name for entry in result.model.graph.output] == ["y", "W1.bn.running_mean", "W1.bn.running_var"]
    assert passes_checker(result.model)
    y, mean, variance = run_ort(result.model, {"x": x})
    hidden = x.astype(np.float64) @ held(model, "W1")  # the bias went into the mean
    old_mean, old_variance = held(result.model, "W1.bn.mean"), held(result.model, "W1.bn.var")
    np.testing.assert_allclose(mean, 0.9 * old_mean + 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, 0.9 * old_variance + 0.1 * hidden.var(0), rtol=1e-4)
    assert y.shape == (64, 2)


def test_the_form_that_can_be_checked_comes_with_it() -> None:
    model = dense()
    result = insert(model, options=ASKED)
    assert interface(result.inference_model) == interface(model)
    assert bnfold.check(model, result.inference_model)
    assert any("CUDA provider refuses (onnxruntime#16867)" in remark for remark in result.remarks)
    plain = insert(model)
    assert plain.inference_model.SerializeToString() == result.inference_model.SerializeToString()
    assert plain.model is plain.inference_model
    assert plain.base is model


def test_a_normalization_in_a_body_has_all_outputs_and_gives_none_to_the_model() -> None:
    text = """(bool c, float[N,4] x) => (float[N,2] y) {
        h = If (c) <then_branch = t () => (float[N,6] u) { u = MatMul(x, W1) },
                    else_branch = e () => (float[N,6] v) { v = MatMul(x, W3) }>
        y = MatMul(h, W2) }"""
    model = graph_model(text, W1=normal(4, 6), W3=normal(4, 6), W2=normal(6, 2))
    result = insert(model, options=ASKED)
    assert len(result.inserted) == 2
    assert [entry.name for entry in result.model.graph.output] == ["y"]
    assert run_ort(result.model, {"c": np.array(True), "x": normal(8, 4)})[0].shape == (8, 2)


def test_what_was_a_normalization_before_stays_in_its_mode() -> None:
    text = """(float[N,4] x) => (float[N,2] y) {
        [old] n = BatchNormalization(x, p, p, p, p) h = Gemm(n, W1) r = Relu(h) y = Gemm(r, W2) }"""
    model = graph_model(text, p=np.ones(4, np.float32), W1=normal(4, 6), W2=normal(6, 2))
    nodes = {node.name: len(node.output) for node in insert(model, options=ASKED).model.graph.node}
    assert nodes["old"] == 1
    assert nodes["W1.bn"] == 3


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_the_outputs_have_the_type_of_the_statistics(kind: int) -> None:
    model = dense()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.elem_type = kind
    result = insert(model, options=ASKED)
    assert [entry.type.tensor_type.elem_type for entry in result.model.graph.output] == [kind] * 3
    assert passes_checker(result.model)


def test_an_opset_without_the_attribute_is_refused_and_converted_when_asked() -> None:
    with pytest.raises(UsageError, match=r"has opset 13, and training mode needs 14 or newer; give --convert-opset 14"):
        insert(dense(13), options=ASKED)
    result = insert(dense(13), options=Options(training_mode=True, convert_opset=0))
    assert result.model.opset_import[0].version == 14
    assert len(result.model.graph.output) == 3


def test_where_nothing_is_inserted_nothing_is_in_training_mode() -> None:
    result = insert(graph_model("(float[N,4] x) => (float[N,6] y) { y = Gemm(x, W) }", W=normal(4, 6)), options=ASKED)
    assert not result
    assert op_types(result.model) == ["Gemm"]
    assert result.remarks == ()
