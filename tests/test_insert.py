"""Putting BatchNormalizations in: where they go, that the function stays, and that a fold takes them out again."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import MODELS, REAL_MODELS, Array, Feeds, graph_model, interface, normal, op_types, passes_checker, run_ort

import bnfold
from bnfold.errors import ModelError, UsageError
from bnfold.inserting.insert import InsertResult, insert
from bnfold.inserting.options import KEEP, Options
from bnfold.runtime import SizeSearch, draw_inputs, open_session

DENSE = "(float[N,4] x) => (float[N,2] y) { h = Gemm(x, W1, b1) r = Relu(h) y = Gemm(r, W2) }"


def dense(**more: Any) -> ModelProto:
    return graph_model(DENSE, W1=normal(4, 6), b1=normal(6), W2=normal(6, 2), **more)


def numbers_of(model: ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def codes(result: InsertResult) -> list[str]:
    return [skipped.code for skipped in result.skipped]


def real_models() -> list[Path]:
    found = sorted(MODELS.glob("*.onnx")) + sorted(REAL_MODELS.glob("*.onnx"))
    return [path for path in found if path.name != "train_mode_bn_3out.onnx"]


def without_normalizations(path: Path) -> ModelProto:
    return bnfold.fold(path, freeze_initializers=True).model


def data_for(model: ModelProto, count: int = 4) -> list[Feeds]:
    session = open_session(model.SerializeToString())
    sizes = SizeSearch(session, seed=0).first()
    return [draw_inputs(session.inputs, seed=9, draw=draw, sizes=sizes) for draw in range(count)]


# --- where ------------------------------------------------------------------------------------------------------------


def test_behind_the_bias_in_front_of_the_activation_and_not_behind_the_last_one() -> None:
    result = insert(dense())
    assert op_types(result.model) == ["Gemm", "BatchNormalization", "Relu", "Gemm"]
    assert [(entry.behind, entry.channels) for entry in result.inserted] == [("Gemm -> h", 6)]
    assert result.inserted[0].parameters == ("W1.bn.scale", "W1.bn.bias", "W1.bn.mean", "W1.bn.var")
    (skipped,) = result.skipped
    assert skipped.code == "classifier"
    assert "--include-classifier" in skipped.reason


def test_behind_the_activation_when_that_is_asked_for() -> None:
    result = insert(dense(), options=Options(position="after-activation"))
    assert op_types(result.model) == ["Gemm", "Relu", "BatchNormalization", "Gemm"]


def test_a_graph_output_keeps_its_name_with_the_normalization_on_the_path() -> None:
    result = insert(dense(), options=Options(include_classifier=True))
    assert interface(result.model) == interface(dense())
    last = result.model.graph.node[-1]
    assert (last.op_type, list(last.output)) == ("BatchNormalization", ["y"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("n = BatchNormalization(h, p, p, p, p) r = Relu(n)", "normalized"),
        ("i = Identity(h) n = BatchNormalization(i, p, p, p, p) r = Relu(n)", "normalized"),
        ("q = Relu(h) r = BatchNormalization(q, p, p, p, p)", "normalized"),
        ("g = Sigmoid(h) q = Mul(h, g) r = BatchNormalization(q, p, p, p, p)", "normalized"),
        ("m = Mul(h, p) a = Add(m, p) r = Relu(a)", "normalized"),
        ("m = Sub(h, p) d = Div(m, p) a = Add(d, p) r = Relu(a)", "normalized"),
        ("q = QuantizeLinear(h, s, z) r = DequantizeLinear(q, s, z)", "quantized"),
    ],
)
def test_what_has_a_normalization_or_a_quantizer_behind_it_gets_none(body: str, code: str) -> None:
    text = f"(float[N,4] x) => (float[N,2] y) {{ h = Gemm(x, W1) {body} y = Gemm(r, W2) }}"
    constants: dict[str, Any] = {"p": np.arange(1, 7, dtype=np.float32), "s": np.float32(0.1), "z": np.int8(0)}
    result = insert(graph_model(text, W1=normal(4, 6), W2=normal(6, 2), **constants))
    assert codes(result)[0] == code
    assert not result


def test_a_product_alone_is_no_normalization() -> None:
    text = "(float[N,4] x) => (float[N,2] y) { h = Gemm(x, W1) m = Mul(h, p) y = Gemm(m, W2) }"
    model = graph_model(text, W1=normal(4, 6), W2=normal(6, 2), p=normal(6))
    assert len(insert(model).inserted) == 1


def test_weights_in_integers_get_none() -> None:
    text = (
        "(float[N,4] x) => (float[N,2] y) { w = DequantizeLinear(Q, s) h = MatMul(x, w) r = Relu(h) y = MatMul(r, W2) }"
    )
    model = graph_model(text, Q=np.ones((4, 6), np.int8), s=np.float32(0.1), W2=normal(6, 2))
    assert codes(insert(model)) == ["quantized", "classifier"]


def test_an_unknown_rank_gets_none_and_says_so() -> None:
    text = (
        "(float[] x, int64[M] t) => (float[] y) { a = Reshape(x, t) h = MatMul(a, W1) r = Relu(h) y = MatMul(r, W2) }"
    )
    result = insert(graph_model(text, W1=normal(4, 6), W2=normal(6, 2)))
    assert codes(result) == ["unknown-shape", "unknown-shape"]


@pytest.mark.parametrize(
    ("nodes", "shape", "constants"),
    [
        ("h = Conv<kernel_shape=[3]>(x, W, b)", "N,4,9", {"W": normal(6, 4, 3), "b": normal(6)}),
        ("h = Conv<group=2>(x, W)", "N,4,5,5", {"W": normal(6, 2, 3, 3)}),
        ("h = Conv(x, W)", "N,4,3,4,5", {"W": normal(6, 4, 2, 2, 2)}),
        ("h = ConvTranspose<group=2>(x, W)", "N,4,5,5", {"W": normal(4, 3, 3, 3)}),
        ("h = Gemm<transB=1, alpha=0.5, beta=2.0>(x, W, b)", "N,4", {"W": normal(6, 4), "b": normal(6)}),
        ("h = Gemm<transA=1>(W, x)", "4,N", {"W": normal(4, 6)}),
        ("h = MatMul(x, W)", "N,4", {"W": normal(4, 6)}),
        ("m = MatMul(x, W) h = Add(m, b)", "N,7,4", {"W": normal(4, 6), "b": normal(6)}),
        ("m = MatMul(x, W) h = Add(b, m)", "N,3,7,4", {"W": normal(4, 6), "b": normal(6)}),
        ("h = MatMul(W, x)", "N,4,7", {"W": normal(6, 4)}),
    ],
)
@pytest.mark.parametrize("data", [False, True], ids=["identity", "calibrated"])
def test_every_linear_operator_keeps_its_function_and_folds_back(
    nodes: str, shape: str, constants: dict[str, Any], data: bool
) -> None:
    model = graph_model(f"(float[{shape}] x) => (float[] y) {{ {nodes} r = Relu(h) y = Tanh(r) }}", **constants)
    batches = data_for(model) if data else None
    result = insert(model, batches, Options(include_classifier=True))
    assert len(result.inserted) == 1
    assert passes_checker(result.model) or not passes_checker(model)
    for feeds in data_for(model):
        before, after = run_ort(model, feeds)[0], run_ort(result.model, feeds)[0]
        if not data:
            np.testing.assert_array_equal(after, before)
        np.testing.assert_allclose(after, before, rtol=0, atol=8 * 2.0**-23 * np.abs(before).max())
    back = bnfold.fold(result.model)
    assert not back.kept
    assert sorted(op_types(back.model)) == sorted(op_types(model))
    if not data:
        restored = numbers_of(back.model)
        assert all(np.array_equal(restored[name], numbers) for name, numbers in numbers_of(model).items())


# --- the function -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", real_models(), ids=lambda path: path.stem)
def test_an_identity_changes_no_bit_of_a_real_model_and_folds_to_what_it_was(path: Path) -> None:
    model = without_normalizations(path)
    result = insert(model)
    if not result:
        assert set(codes(result)) <= {"classifier", "normalized"}
        return
    for feeds in data_for(model, 2):
        for before, after in zip(run_ort(model, feeds), run_ort(result.model, feeds), strict=True):
            np.testing.assert_array_equal(before, after)
    back = bnfold.fold(result.model, freeze_initializers=True)
    assert len(back.kept) == op_types(model).count("BatchNormalization")
    restored = numbers_of(back.model)
    for name, numbers in numbers_of(model).items():
        if name in restored:  # a weight that is used more than once comes back as a copy per use
            np.testing.assert_array_equal(restored[name], numbers)
        else:
            np.testing.assert_array_equal(restored[f"{name}.folded"], numbers)


@pytest.mark.parametrize("path", real_models(), ids=lambda path: path.stem)
def test_measured_statistics_keep_the_function_of_a_real_model(path: Path) -> None:
    model = without_normalizations(path)
    result = insert(model, data_for(model))
    if result:
        assert bnfold.check(model, result.model, allow_vacuous=True)
        back = bnfold.fold(result.model, freeze_initializers=True).model
        assert sorted(op_types(back)) == sorted(op_types(model))


@pytest.mark.parametrize("path", real_models(), ids=lambda path: path.stem)
def test_measured_statistics_beside_biases_that_stay_fold_back_bit_for_bit(path: Path) -> None:
    model = without_normalizations(path)
    back = bnfold.fold(insert(model, data_for(model), Options(bias=KEEP)).model, freeze_initializers=True).model
    assert _values(back) == _values(model)


def _values(model: ModelProto) -> Counter[tuple[tuple[int, ...], bytes]]:
    """What the initializers hold, whatever they are called: a weight that is used twice comes back as two."""
    return Counter((numbers.shape, numbers.tobytes()) for numbers in numbers_of(model).values())


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT])
def test_an_identity_is_exact_in_every_type(kind: int) -> None:
    model = dense()
    numbers = helper.tensor_dtype_to_np_dtype(kind)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(helper.make_tensor(tensor.name, kind, tensor.dims, numpy_helper.to_array(tensor).reshape(-1)))
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.elem_type = kind
    result = insert(model)
    held = {tensor.name: tensor for tensor in result.model.graph.initializer}
    variance = numpy_helper.to_array(held["W1.bn.var"]).astype(np.float64)
    assert held["W1.bn.var"].data_type == kind
    x = np.abs(normal(9, 6, seed=3).astype(numbers).astype(np.float64))
    epsilon = np.float64(np.float32(1e-5))
    moved = (x / np.sqrt(variance[0] + epsilon)).astype(numbers).astype(np.float64)
    if kind == TensorProto.FLOAT:
        moved = (x.astype(np.float32) / np.sqrt(variance[0].astype(np.float32) + np.float32(1e-5))).astype(np.float64)
    np.testing.assert_array_equal(moved, x)


def test_measured_statistics_are_those_of_all_the_data() -> None:
    model = dense()
    batches = [{"x": normal(size, 4, seed=seed) * 3 + 5} for seed, size in enumerate((3, 1, 8))]
    result = insert(model, batches, Options(bias="keep"))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer}
    wide = np.concatenate([feeds["x"] for feeds in batches]).astype(np.float64) @ held["W1"] + held["b1"]
    np.testing.assert_allclose(held["W1.bn.mean"], wide.mean(0), rtol=1e-5)
    np.testing.assert_allclose(held["W1.bn.var"], wide.var(0), rtol=1e-4)
    np.testing.assert_allclose(held["W1.bn.scale"], np.sqrt(wide.var(0) + 1e-5), rtol=1e-4)
    np.testing.assert_array_equal(held["W1.bn.bias"], held["W1.bn.mean"])


def test_with_data_the_bias_goes_into_the_mean_and_a_fold_makes_one_again() -> None:
    model = dense()
    result = insert(model, [{"x": normal(64, 4)}])
    first = result.model.graph.node[0]
    assert [name for name in first.input if name] == ["x", "W1"]
    assert "b1" not in numbers_of(result.model)
    back = bnfold.fold(result.model).model
    assert op_types(back) == op_types(model)
    assert bnfold.check(model, back)


def test_the_training_mode_forward_keeps_the_function_on_the_data_too() -> None:
    model, x = dense(), normal(256, 4)
    result = insert(model, [{"x": x}])
    training = ModelProto()
    training.CopyFrom(result.model)
    node = next(node for node in training.graph.node if node.op_type == "BatchNormalization")
    node.attribute.append(helper.make_attribute("training_mode", 1))
    node.output.extend(["rm", "rv"])
    np.testing.assert_allclose(run_ort(training, {"x": x})[0], run_ort(model, {"x": x})[0], rtol=0, atol=2e-5)


def test_a_reset_normalizes() -> None:
    x = normal(256, 4)
    result = insert(dense(), [{"x": x}], Options(reset=True))
    shown = onnx.shape_inference.infer_shapes(result.model)
    node = next(node for node in shown.graph.node if node.op_type == "BatchNormalization")
    shown.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None))
    normalized = run_ort(shown, {"x": x})[1]
    np.testing.assert_allclose(normalized.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(normalized.std(0), 1, atol=1e-4)


def test_a_dead_channel_is_said_and_stays_finite() -> None:
    weight = normal(4, 6)
    weight[:, 2] = 0
    text = DENSE.replace("W1, b1", "W1")
    model = graph_model(text, W1=weight, W2=normal(6, 2))
    result = insert(model, [{"x": normal(64, 4)}])
    assert any("1 of 6 channels" in remark for remark in result.remarks)
    assert bnfold.check(model, result.model)


# --- for training -----------------------------------------------------------------------------------------------------


def test_tensors_that_an_exporter_merged_are_parted_and_true_ties_are_kept() -> None:
    text = (
        "(float[N,4] x) => (float[N,6] y) { h = Gemm(x, W1, zero) n = BatchNormalization(h, one, zero, mean, one) "
        "r = Relu(n) g = Gemm(r, V, zero) k = Relu(g) y = Gemm(k, V, zero) }"
    )
    constants: dict[str, Any] = {
        "one": np.ones(6, np.float32),
        "zero": np.zeros(6, np.float32),
        "mean": normal(6),
        "V": normal(6, 6),
    }
    model = graph_model(text, W1=normal(4, 6), **constants)
    result = insert(model)
    readers = [name for node in result.model.graph.node for name in node.input if name]
    assert readers.count("one") == readers.count("zero") == 1
    assert readers.count("V") == 2
    assert any("'one' stood for several" in remark for remark in result.remarks)
    assert bnfold.check(model, result.model)


def test_a_weight_that_is_used_twice_gets_a_normalization_per_use() -> None:
    text = "(float[N,6] x) => (float[N,2] y) { h = Gemm(x, V) r = Relu(h) g = Gemm(r, V) k = Relu(g) y = Gemm(k, W) }"
    result = insert(graph_model(text, V=normal(6, 6), W=normal(6, 2)))
    names = [name for entry in result.inserted for name in entry.parameters]
    assert len(set(names)) == 8
    back = bnfold.fold(result.model).model
    assert op_types(back) == ["Gemm", "Relu", "Gemm", "Relu", "Gemm"]


def test_a_body_gets_one_too() -> None:
    text = """(bool c, float[N,4] x) => (float[N,2] y) {
        h = If (c) <then_branch = t () => (float[N,6] u) { u = MatMul(x, W1) },
                    else_branch = e () => (float[N,6] v) { v = MatMul(x, W3) }>
        y = MatMul(h, W2) }"""
    model = graph_model(text, W1=normal(4, 6), W3=normal(4, 6), W2=normal(6, 2))
    result = insert(model)
    assert len(result.inserted) == 2
    for choice in (True, False):
        feeds = {"c": np.array(choice), "x": normal(3, 4)}
        np.testing.assert_array_equal(run_ort(result.model, feeds)[0], run_ort(model, feeds)[0])
    assert op_types(bnfold.fold(result.model).model) == op_types(model)


# --- options and bad input --------------------------------------------------------------------------------------------


def test_only_skip_and_ops_choose() -> None:
    text = (
        "(float[N,4] x) => (float[N,2] y) { h = Gemm(x, W1) r = Relu(h) g = MatMul(r, W2) k = Relu(g) y = Gemm(k, W3) }"
    )
    model = graph_model(text, W1=normal(4, 6), W2=normal(6, 6), W3=normal(6, 2))
    for number, name in enumerate(("first", "relu", "second", "relu2", "last")):
        model.graph.node[number].name = name
    chosen = {
        "only": Options(only=("f*",)),
        "skip": Options(skip=("second",)),
        "ops": Options(ops=("Gemm",)),
    }
    for options in chosen.values():
        assert [entry.behind for entry in insert(model, options=options).inserted] == ["first"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"only": ("nobody",)}, "no linear operator of the model is called 'nobody'"),
        ({"ops": ("Relu",)}, "ops are among Conv, ConvTranspose, Gemm, MatMul, not 'Relu'"),
        ({"position": "anywhere"}, "position is one of before-activation, after-activation"),
        ({"epsilon": 0.0}, "epsilon has to be at least"),
        ({"momentum": 1.5}, "momentum has to be between 0 and 1"),
        ({"reset": True}, "takes its statistics from data"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        insert(dense(), options=Options(**options))


def nan() -> Array:
    x = normal(4, 4)
    x[1, 2] = np.nan
    return x


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([], "there are no data"),
        ([{"x": normal(1, 4)}], "1 value per channel, and a variance needs 2"),
        ([{"x": normal(4, 4)}, {"x": nan()}], "input 'x' has NaN or infinite values in batch 2"),
        ([{"x": np.full((4, 4), 3e38, np.float32)}], "is not finite in batch 1"),
    ],
)
def test_data_that_do_not_do_are_usage_errors(batches: Sequence[Feeds], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        insert(dense(), batches)


def test_an_old_opset_is_a_model_error_that_says_how_to_convert() -> None:
    text = "(float[N,4] x) => (float[N,6] y) { y = Gemm<broadcast=1>(x, W, b) }"
    with pytest.raises(ModelError, match="opset 6, and BatchNormalization for training needs 7"):
        insert(graph_model(text, opset=6, ir=3, W=normal(4, 6), b=normal(6)))
