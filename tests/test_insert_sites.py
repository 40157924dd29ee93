"""Where an insertion goes and where not, in the forms that exporters write."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import graph_model, interface, normal, op_types, passes_checker, run_ort

import bnfold
from bnfold.inserting.insert import InsertResult, insert
from bnfold.inserting.options import Options

ALL = Options(include_classifier=True)


def codes(result: InsertResult) -> list[str]:
    return [skipped.code for skipped in result.skipped]


def same(before: ModelProto, after: ModelProto, *shape: int) -> None:
    assert passes_checker(after) or not passes_checker(before)
    feeds = {"x": normal(*shape, seed=4)}
    for one, other in zip(run_ort(before, feeds), run_ort(after, feeds), strict=True):
        np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize(
    "normalization",
    [
        "InstanceNormalization(h, s, s)",
        "LayerNormalization(h, s4)",
        "GroupNormalization<num_groups=2>(h, s, s)",
        "LpNormalization(h)",
    ],
)
def test_other_normalizations_are_no_reason_to_stay_away(normalization: str) -> None:
    text = f"(float[N,3,6,6] x) => (float[N,2,2,2] y) {{ h = Conv(x, W) n = {normalization} y = Conv(n, V) }}"
    constants: dict[str, Any] = {"s": normal(4), "s4": normal(4)}
    model = graph_model(text, opset=21, W=normal(4, 3, 3, 3), V=normal(2, 4, 3, 3), **constants)
    result = insert(model)
    assert [entry.op_type for entry in result.inserted] == ["Conv"]
    same(model, result.model, 2, 3, 6, 6)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("s = Sub(h, p) r = Mul(s, p)", "normalized"),
        ("s = Sub(h, p) r = Div(s, p)", "normalized"),
        ("m = Mul(h, p) q = Flatten(m) r = Sub(q, p)", "normalized"),
        ("d = Dropout(h) r = BatchNormalization(d, p, p, p, p)", "normalized"),
        ("e = Sub(h, p) r = Relu(e)", None),
        ("e = Mul(h, half) f = Add(e, one) r = Relu(f)", None),
        ("e = Dropout(h) r = Relu(e)", None),
    ],
)
def test_what_counts_as_a_normalization_that_is_written_out(body: str, expected: str | None) -> None:
    text = f"(float[N,4] x) => (float[N,2] y) {{ h = Gemm(x, W1) {body} y = Gemm(r, W2) }}"
    constants: dict[str, Any] = {
        "p": np.arange(1, 7, dtype=np.float32),
        "half": np.float32(0.5),
        "one": np.float32(1),
    }
    result = insert(graph_model(text, W1=normal(4, 6), W2=normal(6, 2), **constants))
    assert codes(result) == (["classifier"] if expected is None else [expected, "classifier"])


def test_a_wire_that_scales_one_normalization_and_goes_into_another_is_normalized() -> None:
    text = """(float[1,4] x) => (float[1,2] y) {
        h = Gemm(x, W1) i = Identity(h) v = Reshape(h, six)
        n = BatchNormalization(i, p, p, p, p) a = BatchNormalization(n, v, p, p, p) y = Gemm(a, W2) }"""
    constants: dict[str, Any] = {"p": np.ones(6, np.float32), "six": np.array([6])}
    result = insert(graph_model(text, W1=normal(4, 6), W2=normal(6, 2), **constants))
    assert codes(result) == ["normalized", "classifier"]


def test_a_quantizer_behind_layout_and_activation_is_seen() -> None:
    text = """(float[N,3,6,6] x) => (float[N,2] y) {
        h = Conv(x, W) i = Identity(h) a = Relu(i) f = Flatten(a) q = QuantizeLinear(f, s, z)
        r = DequantizeLinear(q, s, z) y = Gemm(r, V) }"""
    constants: dict[str, Any] = {"s": np.float32(0.1), "z": np.int8(0)}
    model = graph_model(text, W=normal(4, 3, 3, 3), V=normal(64, 2), **constants)
    assert codes(insert(model)) == ["quantized", "quantized"]


def test_all_readers_of_a_wire_read_the_normalized_value() -> None:
    text = """(float[N,4] x) => (float[N,2] y) {
        h = Gemm(x, W1) a = Relu(h) b = Tanh(h) c = Add(a, b) d = Mul(c, h) y = Gemm(d, W2) }"""
    model = graph_model(text, W1=normal(4, 6), W2=normal(6, 2))
    result = insert(model)
    made = next(node for node in result.model.graph.node if node.op_type == "BatchNormalization")
    readers = [node.op_type for node in result.model.graph.node if made.output[0] in node.input]
    assert readers == ["Relu", "Tanh", "Mul"]
    same(model, result.model, 5, 4)


def test_a_bias_with_two_readers_has_the_normalization_behind_it() -> None:
    text = """(float[N,4] x) => (float[N,2] y) {
        m = MatMul(x, W1) h = Add(m, b) a = Relu(h) c = Add(a, h) y = MatMul(c, W2) }"""
    model = graph_model(text, W1=normal(4, 6), b=normal(6), W2=normal(6, 2))
    assert op_types(insert(model).model)[:3] == ["MatMul", "Add", "BatchNormalization"]
    result = insert(model, [{"x": normal(64, 4)}])
    assert op_types(result.model)[:2] == ["MatMul", "BatchNormalization"]
    assert bnfold.check(model, result.model)


def test_a_product_whose_sum_is_not_alone_in_reading_it_is_normalized_in_front_of_the_sum() -> None:
    text = """(float[N,4] x) => (float[N,2] y) {
        m = MatMul(x, W1) h = Add(m, b) c = Mul(m, h) y = MatMul(c, W2) }"""
    model = graph_model(text, W1=normal(4, 6), b=normal(6), W2=normal(6, 2))
    result = insert(model)
    assert op_types(result.model)[:3] == ["MatMul", "BatchNormalization", "Add"]
    same(model, result.model, 5, 4)


@pytest.mark.parametrize("data", [False, True], ids=["identity", "calibrated"])
def test_an_output_that_goes_on_keeps_its_name_and_gives_the_normalized_value(data: bool) -> None:
    text = """(float[N,4] x) => (float[N,6] h, float[N,2] y) {
        m = MatMul(x, W1) h = Add(m, b) r = Relu(h) y = MatMul(r, W2) }"""
    model = graph_model(text, W1=normal(4, 6), b=normal(6), W2=normal(6, 2))
    assert codes(insert(model)) == ["classifier", "classifier"]
    result = insert(model, [{"x": normal(64, 4)}] if data else None, ALL)
    assert interface(result.model) == interface(model)
    made = [node.output[0] for node in result.model.graph.node if node.op_type == "BatchNormalization"]
    assert made == ["h", "y"]
    assert bnfold.check(model, result.model)


def test_an_operator_that_nothing_reads_gets_none() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { h = Gemm(x, W1) y = Relu(x) }"
    assert codes(insert(graph_model(text, W1=normal(4, 6)))) == ["unread"]


@pytest.mark.parametrize(
    ("nodes", "shape", "made", "constants"),
    [
        ("h = Gemm<transA=1>(x, W)", (4, 5), "5,6", {"W": normal(4, 6)}),
        ("h = Gemm<transA=1, transB=1>(x, W)", (4, 5), "5,6", {"W": normal(6, 4)}),
        ("h = Gemm(W, x)", (4, 5), "6,5", {"W": normal(6, 4)}),
        ("h = MatMul(W, x)", (4, 5), "6,5", {"W": normal(6, 4)}),
        ("h = MatMul(W, x)", (2, 4, 5), "2,6,5", {"W": normal(6, 4)}),
    ],
)
def test_the_channels_are_those_of_the_weight(
    nodes: str, shape: tuple[int, ...], made: str, constants: dict[str, Any]
) -> None:
    text = f"(float[{','.join(map(str, shape))}] x) => (float[{made}] y) {{ {nodes} y = Relu(h) }}"
    model = graph_model(text, **constants)
    result = insert(model, options=ALL)
    assert [entry.channels for entry in result.inserted] == [6]
    same(model, result.model, *shape)
    assert op_types(bnfold.fold(result.model).model) == op_types(model)


def test_a_weight_that_is_turned_gives_its_own_name() -> None:
    text = "(float[N,4] x) => (float[N,2] y) { t = Transpose(fc) h = MatMul(x, t) r = Relu(h) y = MatMul(r, W2) }"
    result = insert(graph_model(text, fc=normal(6, 4), W2=normal(6, 2)))
    assert result.inserted[0].parameters[0] == "fc.bn.scale"


def test_an_initializer_that_a_caller_may_override_stays_one() -> None:
    text = """(float[N,4] x, float[4,6] W1, float[6] b) => (float[N,2] y) {
        h = Gemm(x, W1, b) r = Relu(h) y = Gemm(r, W2) }"""
    model = graph_model(text, W1=normal(4, 6), b=normal(6), W2=normal(6, 2))
    result = insert(model, [{"x": normal(64, 4)}])
    assert len(result.inserted) == 1
    assert [entry.name for entry in result.model.graph.input] == ["x", "W1", "b"]
    feeds = {"x": normal(3, 4), "b": normal(6, seed=9)}
    before, after = run_ort(model, feeds)[0], run_ort(result.model, feeds)[0]
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())


def test_a_sparse_weight_gets_one_under_its_name() -> None:
    text = "(float[N,4] x) => (float[N,2] y) { h = MatMul(x, S) r = Relu(h) y = MatMul(r, W2) }"
    model = graph_model(text, W2=normal(6, 2))
    values = numpy_helper.from_array(np.array([1.5, -2.0, 0.5], np.float32), "S")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1, 9, 20], np.int64)), [4, 6])
    )
    result = insert(model)
    assert result.inserted[0].parameters[0] == "S.bn.scale"
    feeds = {"x": normal(5, 4)}
    np.testing.assert_array_equal(run_ort(result.model, feeds)[0], run_ort(model, feeds)[0])


def test_weights_in_a_file_of_their_own_stay_there_and_come_out_as_they_were(tmp_path: Path) -> None:
    model = graph_model(
        "(float[N,40] x) => (float[N,20] y) { h = Gemm(x, W1, b1) r = Relu(h) y = Gemm(r, W2) }",
        W1=normal(40, 300),
        b1=normal(300),
        W2=normal(300, 20),
    )
    path, target = tmp_path / "in" / "model.onnx", tmp_path / "out" / "model.onnx"
    path.parent.mkdir()
    target.parent.mkdir()
    held = ModelProto.FromString(model.SerializeToString())
    onnx.save(held, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    result = insert(path, [{"x": normal(64, 40)}], Options(bias="keep"))
    result.save(target)
    written = onnx.load(target, load_external_data=False)
    external = {t.name for t in written.graph.initializer if t.data_location == TensorProto.EXTERNAL}
    assert external >= {"W1", "b1", "W2", "W1.bn.scale", "W1.bn.var"}
    found = {t.name: numpy_helper.to_array(t) for t in onnx.load(target).graph.initializer}
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(found[tensor.name], numpy_helper.to_array(tensor))
    assert bnfold.check(path, target)


@pytest.mark.parametrize(("opset", "expected"), [(13, ["type", "type"]), (14, ["classifier"])])
def test_bfloat16_waits_for_the_opset_in_which_the_operator_takes_it(opset: int, expected: list[str]) -> None:
    text = "(bfloat16[N,4] x) => (bfloat16[N,2] y) { h = MatMul(x, W1) r = Relu(h) y = MatMul(r, W2) }"
    model = graph_model(text, opset=opset)
    for name, shape in (("W1", (4, 6)), ("W2", (6, 2))):
        numbers = normal(*shape).reshape(-1)
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.BFLOAT16, shape, numbers))
    assert codes(insert(model)) == expected


def test_an_activation_that_takes_the_wire_as_its_slope_is_none_of_it() -> None:
    text = """(float[N,4] x, float[N,6] z) => (float[N,2] y) {
        h = Gemm(x, W1) r = PRelu(z, h) y = Gemm(r, W2) }"""
    result = insert(graph_model(text, W1=normal(4, 6), W2=normal(6, 2)), options=Options(position="after-activation"))
    assert op_types(result.model) == ["Gemm", "BatchNormalization", "PRelu", "Gemm"]


def test_an_activation_in_a_body_does_not_take_the_normalization_with_it() -> None:
    text = """(bool c, float[N,4] x) => (float[N,2] y) {
        h = Gemm(x, W1)
        r = If (c) <then_branch = t () => (float[N,6] u) { u = Relu(h) },
                    else_branch = e () => (float[N,6] v) { v = Constant<value = float[1,6] {1,2,3,4,5,6}>() }>
        y = Gemm(r, W2) }"""
    result = insert(graph_model(text, W1=normal(4, 6), W2=normal(6, 2)), options=Options(position="after-activation"))
    assert op_types(result.model) == ["Gemm", "BatchNormalization", "If", "Gemm"]
