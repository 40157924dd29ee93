"""Insertion at every opset that has BatchNormalization as it is, and models of older ones, converted when asked."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from support import REAL_MODELS, Array, graph_model, needs_real_models, normal, op_types, passes_checker, run_ort

import bnfold
from bnfold.errors import ModelError, UsageError
from bnfold.inserting.insert import insert
from bnfold.inserting.options import Options

OPSETS = range(7, onnx.defs.onnx_opset_version() + 1)
LINEAR: dict[str, tuple[str, str, str, dict[str, Array]]] = {
    "Conv": ("N,4,5,5", "N,6,3,3", "h = Conv(x, W, b)", {"W": normal(6, 4, 3, 3), "b": normal(6)}),
    "Gemm": ("N,4", "N,6", "h = Gemm(x, W, b)", {"W": normal(4, 6), "b": normal(6)}),
    "MatMul": ("N,7,4", "N,7,6", "m = MatMul(x, W) h = Add(m, b)", {"W": normal(4, 6), "b": normal(6)}),
}


def of_opset(op_type: str, opset: int, ir: int | None = None) -> ModelProto:
    shape, made, nodes, constants = LINEAR[op_type]
    ir = ir or helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    text = f"(float[{shape}] x) => (float[{made}] y) {{ {nodes} y = Relu(h) }}"
    model = graph_model(text, opset=opset, ir=ir, **constants)
    if ir < 4:  # every initializer is an input there
        for tensor in model.graph.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


def feeds_of(op_type: str) -> dict[str, Array]:
    sizes = [3 if size == "N" else int(size) for size in LINEAR[op_type][0].split(",")]
    return {"x": normal(*sizes, seed=2)}


@pytest.mark.parametrize("op_type", LINEAR)
@pytest.mark.parametrize("opset", OPSETS)
def test_an_identity_changes_no_bit_at_any_opset(op_type: str, opset: int) -> None:
    model = of_opset(op_type, opset)
    result = insert(model, options=Options(include_classifier=True))
    assert "BatchNormalization" in op_types(result.model)
    assert passes_checker(result.model)
    assert result.model.opset_import == model.opset_import
    feeds = feeds_of(op_type)
    np.testing.assert_array_equal(run_ort(result.model, feeds)[0], run_ort(model, feeds)[0])


@pytest.mark.parametrize("op_type", LINEAR)
@pytest.mark.parametrize("opset", [7, OPSETS[-1]])
def test_measured_statistics_keep_the_function_at_the_first_and_the_last_opset(op_type: str, opset: int) -> None:
    model, feeds = of_opset(op_type, opset), feeds_of(op_type)
    result = insert(model, [feeds], Options(include_classifier=True))
    assert passes_checker(result.model)
    before = run_ort(model, feeds)[0]
    np.testing.assert_allclose(run_ort(result.model, feeds)[0], before, rtol=0, atol=1e-5 * np.abs(before).max())


def flattening(opset: int) -> ModelProto:
    nodes = "h = Gemm<broadcast: int = 1>(x, W, b) y = Gemm<broadcast: int = 1>(h, V, c)"
    text = f"(float[2,4] x) => (float[2,3] y) {{ {nodes} }}"
    return graph_model(text, opset=opset, ir=4, W=normal(4, 6), b=normal(6), V=normal(6, 3), c=normal(3))


def test_an_opset_that_is_too_old_is_said_and_converted_when_asked() -> None:
    model = flattening(6)
    with pytest.raises(ModelError, match=r"has opset 6, and BatchNormalization for training needs 7 or newer"):
        insert(model)
    for asked, made in ((0, 7), (7, 7), (13, 13)):
        result = insert(model, options=Options(convert_opset=asked))
        assert result.model.opset_import[0].version == made
        assert op_types(result.model) == ["Gemm", "BatchNormalization", "Gemm"]
        assert result.remarks == (f"converted to opset {made}, with onnx.version_converter",)
        assert bnfold.check(result.base, result.model)
    assert model.opset_import[0].version == 6


def test_an_opset_that_does_is_converted_only_to_the_one_that_is_named() -> None:
    model = of_opset("Gemm", 9, ir=8)
    model.metadata_props.add(key="author", value="someone")
    assert insert(model, options=Options(convert_opset=0)).base is model
    assert insert(model, options=Options(convert_opset=9)).base is model
    made = insert(model, options=Options(convert_opset=17)).base
    assert made.opset_import[0].version == 17
    assert made.metadata_props == model.metadata_props


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"convert_opset": 6}, "has to be 7 or newer here, not 6"),
        ({"convert_opset": 13, "training_mode": True}, "has to be 14 or newer here, not 13"),
        ({"convert_opset": 8}, "has opset 9 and is converted to a newer one only, not to 8"),
        ({"convert_opset": 999}, "knows opsets up to"),
    ],
)
def test_opsets_that_make_no_sense_are_usage_errors(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        insert(of_opset("Gemm", 9, ir=8), options=Options(**options))


def test_weights_in_a_file_of_their_own_stay_there_when_a_model_is_converted(tmp_path: Path) -> None:
    model, path = of_opset("Gemm", 9, ir=8), tmp_path / "model.onnx"
    held = ModelProto.FromString(model.SerializeToString())
    onnx.save(held, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    result = insert(path, options=Options(convert_opset=17, include_classifier=True))
    result.save(tmp_path / "made.onnx")
    made = onnx.load(tmp_path / "made.onnx", load_external_data=False)
    assert made.graph.initializer[0].data_location == onnx.TensorProto.EXTERNAL
    assert bnfold.check(path, tmp_path / "made.onnx")


def test_what_onnx_can_not_convert_is_told_in_one_sentence() -> None:
    text = """<ir_version: 8, opset_import: ["" : 9, "own" : 1]> g (float[2,4] x) => (float[2,6] y) {
        h = own.mystery(x) y = Gemm(h, W, b) }"""
    model = onnx.parser.parse_model(text)
    for name, array in (("W", normal(4, 6)), ("b", normal(6))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    with pytest.raises(ModelError, match=r"can not be converted from opset 9 to 13: [^\n]*$"):
        insert(model, options=Options(convert_opset=13))


def test_a_function_that_the_converter_would_drop_is_not_dropped_in_silence() -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "own" : 1]> g (float[N,4] x) => (float[N,6] y) {
        h = own.f(x) y = Gemm(h, W) } <domain: "own", opset_import: ["" : 13]> f (a) => (o) { o = Relu(a) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(normal(4, 6), "W"))
    with pytest.raises(ModelError, match="would drop its function 'f'"):
        insert(model, options=Options(convert_opset=17))


@needs_real_models
@pytest.mark.parametrize("name", ["nobn_mnist8_cntk", "fsanet_1x1"])
def test_real_models_of_old_opsets_are_converted_and_compute_the_same(name: str) -> None:
    path = REAL_MODELS / f"{name}.onnx"
    result = insert(path, options=Options(convert_opset=17))
    assert result.model.opset_import[0].version == 17
    assert bnfold.check(path, result.model)
