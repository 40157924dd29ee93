"""Edges of weights and biases in integers: biases of two axes, scales near the end of a type, biases in bfloat16."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto
from support import Array, check_fold, graph_model, normal, op_types, run_ort, run_reference

import bnfold

ACTIVATION = "q = QuantizeLinear (x, xs, xz) X = DequantizeLinear (q, xs, xz)"

STEPS = np.array([0.01, 0.02, 0.03, 0.015], np.float32)


def integers(*shape: int, seed: int = 0, most: int = 100) -> Any:
    return np.random.default_rng([seed, *shape]).integers(-most, most, shape, endpoint=True)


def gemm_in_integers(bias: str, scales: Any, **how: Any) -> onnx.ModelProto:
    """A Gemm in integers with a bias of two axes, ``[1, 4]``, and an Add behind it."""
    nodes = f"{ACTIVATION} W = DequantizeLinear <axis = 1> (Q, qs) B = {bias} c = Gemm (X, W, B) y = Add (c, l)"
    constants: dict[str, Any] = {
        "xs": np.float32(0.02),
        "xz": np.uint8(128),
        "Q": integers(6, 4).astype(np.int8),
        "qs": STEPS,
        "bq": integers(1, 4, most=3000).astype(np.int32),
        "bs": scales,
        "l": normal(4),
    }
    return graph_model(f"(float[5, 6] x) => (float[5, 4] y) {{ {nodes} }}", **{**constants, **how})


def assert_bias_stays_in_integers(model: onnx.ModelProto, step: float) -> None:
    result = bnfold.fold(model)
    assert op_types(result.model) == ["QuantizeLinear", *["DequantizeLinear"] * 3, "Gemm"]
    gemm = result.model.graph.node[-1]
    (node,) = [node for node in result.model.graph.node if gemm.input[2] in node.output]
    (stored,) = [tensor for tensor in result.model.graph.initializer if tensor.name == node.input[0]]
    assert (stored.data_type, list(stored.dims)) == (TensorProto.INT32, [1, 4])
    feeds = {"x": normal(5, 6)}
    (before,), (after,) = run_ort(model, feeds), run_ort(result.model, feeds)
    assert 0 < np.abs(before - after).max() <= step / 2 + 1e-6 * np.abs(before).max()


def test_a_shift_goes_into_a_bias_in_integers_of_two_axes() -> None:
    scales = np.float32(0.02) * STEPS
    assert_bias_stays_in_integers(gemm_in_integers("DequantizeLinear <axis = 1> (bq, bs)", scales), 0.02 * 0.03)


def gemm_and_affine(rows: int, nodes: str, bias: tuple[int, int], affine: Array) -> ModelProto:
    """From x, ``[rows, 6]``, to y, ``[rows, 4]``; the bias in integers has that shape, before it is turned."""
    return graph_model(
        f"(float[{rows}, 6] x) => (float[{rows}, 4] y) {{ {nodes} }}",
        xs=np.float32(0.02),
        xz=np.uint8(128),
        Q=integers(6, 4).astype(np.int8),
        qs=np.float32(0.01),
        bq=integers(*bias, most=3000).astype(np.int32),
        bs=np.float32(0.02) * np.float32(0.01),
        l=affine,
    )


@pytest.mark.parametrize("shape", [(4, 4), (4, 5), (4, 1)])
def test_a_shift_goes_into_a_bias_in_integers_that_a_transpose_turns(shape: tuple[int, int]) -> None:
    nodes = f"{ACTIVATION} W = DequantizeLinear (Q, qs) D = DequantizeLinear (bq, bs) B = Transpose <perm = [1, 0]> (D)"
    rows, steps = 5 if shape[1] == 1 else shape[1], np.float32(0.02) * np.float32(0.01)
    model = gemm_and_affine(rows, f"{nodes} c = Gemm (X, W, B) y = Add (c, l)", shape, normal(4))
    result = bnfold.fold(model)
    assert op_types(result.model) == ["QuantizeLinear", *["DequantizeLinear"] * 3, "Transpose", "Gemm"]
    feeds = {"x": normal(rows, 6)}
    (before,), (after,) = run_ort(model, feeds), run_ort(result.model, feeds)
    assert 0 < np.abs(before - after).max() <= steps / 2 + 1e-6 * np.abs(before).max()


@pytest.mark.parametrize("affine", ["Add (c, l)", "Mul (c, l)"])
@pytest.mark.parametrize("shape", [(5, 1), (1, 1), (5, 4)])
def test_a_map_of_one_number_goes_into_a_bias_in_integers_of_fewer_columns(shape: tuple[int, int], affine: str) -> None:
    nodes = f"{ACTIVATION} W = DequantizeLinear (Q, qs) B = DequantizeLinear (bq, bs) c = Gemm (X, W, B)"
    steps = np.float32(0.02) * np.float32(0.01)
    model = gemm_and_affine(5, f"{nodes} y = {affine}", shape, np.asarray(1.7, np.float32))
    result = bnfold.fold(model)
    assert op_types(result.model) == ["QuantizeLinear", *["DequantizeLinear"] * 3, "Gemm"]
    (stored,) = [t for t in result.model.graph.initializer if t.data_type == TensorProto.INT32]
    assert tuple(stored.dims) == shape
    feeds = {"x": normal(5, 6)}
    (before,), (after,) = run_ort(model, feeds), run_ort(result.model, feeds)
    assert np.abs(before - after).max() <= steps / 2 + 1e-6 * np.abs(before).max()


def test_a_map_per_channel_goes_into_one_scale_near_the_end_of_float16() -> None:
    """The largest integers that there are would leave float16 with the new scales; those of the weight do not."""
    nodes = "W = DequantizeLinear (Q, qs) c = MatMul (x, W) y = Mul (c, k)"
    constants: dict[str, Any] = {
        "Q": integers(6, 4, most=3).astype(np.int8),
        "qs": np.float16(400),
        "k": np.array([1.5, 1.25, 1, 1.75], np.float16),
    }
    model = graph_model(f"(float16[5, 6] x) => (float16[5, 4] y) {{ {nodes} }}", opset=21, **constants)
    check_fold(model, leaves=["DequantizeLinear", "MatMul"], run=run_reference)


def test_a_bias_in_integers_with_a_scale_of_its_own_is_refused_in_bfloat16() -> None:
    """Half as much again is more than bfloat16 rounds away."""
    nodes = f"{ACTIVATION} W = DequantizeLinear (Q, qs) B = DequantizeLinear (bq, bs) c = Gemm (X, W, B) y = Mul (c, k)"
    constants: dict[str, Any] = {
        "xs": 0.5,
        "qs": 0.25,
        "bs": 0.1875,
        "k": 2.0,
    }
    given: dict[str, Any] = {name: np.asarray(value, ml_dtypes.bfloat16) for name, value in constants.items()}
    model = graph_model(
        f"(bfloat16[5, 6] x) => (bfloat16[5, 4] y) {{ {nodes} }}",
        opset=23,
        xz=np.uint8(128),
        Q=integers(6, 4).astype(np.int8),
        bq=integers(4, most=3000).astype(np.int32),
        **given,
    )
    result = bnfold.fold(model)
    assert "Mul" in op_types(result.model)
    (refusal,) = [outcome.refusal for outcome in result.plan.outcomes if outcome.refusal]
    assert "whose scale is not that of its input times that of its weight" in refusal.text
