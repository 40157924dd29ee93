"""The check of operators in integers that nothing quantizes: rounding a bias is no difference, and hides none."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from support import graph_model, op_types, statistics

import bnfold
from bnfold.checking.integer_sums import has_new_biases, sums_in_integers
from bnfold.checking.quantizers import nudged
from bnfold.checking.report import CheckReport
from bnfold.checking.subject import Subject

DEQUANTIZED = "q = QuantizeLinear(x, xs, z) d = DequantizeLinear(q, xs, z)"
INTEGERS: dict[str, Any] = {"xs": np.array(0.03, np.float32), "z": np.array(100, np.uint8)}


def weight(*shape: int) -> Any:
    return np.random.default_rng(3).integers(-127, 128, shape).astype(np.int8)


def convolution(scales: Any = None) -> ModelProto:
    """One Conv in integers, and a BatchNormalization behind it, which is the last node."""
    constants = {**INTEGERS, "Q": weight(4, 3, 3, 3), "ws": np.full(4, 0.004, np.float32) if scales is None else scales}
    body = f"{DEQUANTIZED} W = DequantizeLinear<axis = 0>(Q, ws) c = Conv(d, W) y = BatchNormalization(c, s, b, m, v)"
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(4), strict=True))
    return graph_model(f"(float[2,3,8,8] x) => (float[2,4,6,6] y) {{ {body} }}", **constants, **parameters)


def product() -> ModelProto:
    """One Gemm in integers whose weight is turned, with one scale, and a bias in int32."""
    scale = np.array(0.004, np.float32)
    constants = {**INTEGERS, "Q": weight(4, 7), "ws": scale, "B": weight(4).astype(np.int32)}
    constants["bs"] = np.array(INTEGERS["xs"] * scale, np.float32)
    body = f"{DEQUANTIZED} t = DequantizeLinear(Q, ws) W = Transpose(t) B1 = DequantizeLinear(B, bs) "
    body += "c = Gemm(d, W, B1) y = Add(c, k)"
    shift = np.linspace(-1, 1, 4, dtype=np.float32) / 7
    return graph_model(f"(float[5,7] x) => (float[5,4] y) {{ {body} }}", **constants, k=shift)


MODELS = {"Conv": convolution(), "Gemm": product(), "a wide range": convolution(np.geomspace(1e-4, 1e-1, 4, dtype="f"))}


def fold(model: ModelProto) -> ModelProto:
    result = bnfold.fold(model)
    assert any("bias in integers, rounded by" in remark for remark in result.remarks)
    assert not {"BatchNormalization", "Add"}.intersection(op_types(result.model))
    return result.model


def are_equal(report: CheckReport) -> list[bool]:
    return [output.equal for output in report.outputs]


def with_other_numbers(model: ModelProto, name: str, factor: float = 1.0, shift: float = 0.0) -> ModelProto:
    changed = ModelProto()
    changed.CopyFrom(model)
    (tensor,) = (tensor for tensor in changed.graph.initializer if tensor.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((array * factor + shift).astype(array.dtype), name))
    return changed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_fold_that_rounds_the_bias_of_the_last_layer_is_not_called_different(model: ModelProto, seed: int) -> None:
    report = bnfold.check(model, fold(model), seed=seed)
    assert report
    assert {output.name for output in report.outputs} == {"y", "y, no quantizers"}


def test_so_is_it_where_the_input_of_the_model_comes_in_integers() -> None:
    model = convolution()
    del model.graph.node[0]  # the QuantizeLinear
    model.graph.node[0].input[0] = "x"
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    report = bnfold.check(model, fold(model))
    assert report
    assert [output.name for output in report.outputs] == ["y"]


def test_without_its_own_tolerance_that_fold_would_be_called_different() -> None:
    model = MODELS["Gemm"]
    (row, _) = bnfold.check(model, fold(model)).outputs
    assert row.max_abs > 4 * row.noise
    assert row.max_abs > 1e-5 * row.max_y
    assert "steps of its integers" in row.basis


@pytest.mark.parametrize("name", MODELS)
def test_a_bias_that_is_off_by_more_than_a_rounding_is_found(name: str) -> None:
    model = MODELS[name]
    made = fold(model)
    (bias,) = (tensor.name for tensor in made.graph.initializer if tensor.data_type == onnx.TensorProto.INT32)
    assert not all(are_equal(bnfold.check(model, with_other_numbers(made, bias, shift=8.0))))


@pytest.mark.parametrize("name", MODELS)
def test_a_weight_that_is_off_is_found(name: str) -> None:
    model = MODELS[name]
    made = fold(model)
    (scales,) = (node.input[1] for node in made.graph.node if node.input[0] == "Q")
    assert not all(are_equal(bnfold.check(model, with_other_numbers(made, scales, factor=1.01))))


def test_only_where_a_bias_is_new_may_sums_be_off_by_half_a_step() -> None:
    model = MODELS["Gemm"]
    before, after = (Subject(m.SerializeToString(), "m") for m in (model, fold(model)))
    assert has_new_biases(before, after)
    assert not has_new_biases(before, before)
    assert not has_new_biases(after, Subject(with_other_numbers(fold(model), "xs", 2.0).SerializeToString(), "m"))
    assert [op_types(onnx.load_from_string(one)).count("Add") for one in nudged(before, before)] == [2, 2]
    assert [op_types(onnx.load_from_string(one)).count("Add") for one in nudged(before, after)] == [3, 3]


@pytest.mark.parametrize(("name", "step"), [("Conv", 0.03 * 0.004), ("Gemm", 0.03 * 0.004), ("a wide range", 0.003)])
def test_the_step_of_a_sum_is_that_of_its_largest_scale(name: str, step: float) -> None:
    (entry,) = sums_in_integers(MODELS[name].graph)
    assert entry.node.op_type in {"Conv", "Gemm"}
    assert entry.step == pytest.approx(step)
    assert entry.elem_type == onnx.TensorProto.FLOAT


def test_an_operator_in_floats_has_no_sums_in_integers() -> None:
    body = "W = DequantizeLinear<axis = 0>(Q, ws) y = Conv(x, W)"
    constants = {"Q": weight(4, 3, 3, 3), "ws": np.full(4, 0.004, np.float32)}
    model = graph_model(f"(float[2,3,8,8] x) => (float[2,4,6,6] y) {{ {body} }}", **constants)
    assert not list(sums_in_integers(model.graph))
