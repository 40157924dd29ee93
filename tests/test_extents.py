"""Open axes whose size a weight settles: the check finds inputs where nothing else says how long they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from support import graph_model, normal

import bnfold
from bnfold.errors import ModelError
from bnfold.runtime import implied_sizes, open_session

ANY_4, ANY_3, ANY_2 = "float[N,C,H,W] x", "float[B,T,F] x", "float[M,K] x"
LSTM = {"V": normal(1, 8, 5), "R": normal(1, 8, 2)}
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, int]]] = {
    "Conv": (ANY_4, "y = Conv(x, V)", {"V": normal(4, 3, 1, 1)}, {"C": 3}),
    "Conv of groups": (ANY_4, "y = Conv<group = 5>(x, V)", {"V": normal(5, 1, 1, 1)}, {"C": 5}),
    "ConvTranspose": (ANY_4, "y = ConvTranspose(x, V)", {"V": normal(3, 4, 1, 1)}, {"C": 3}),
    "BatchNormalization": (ANY_4, "y = BatchNormalization(x, v, v, v, v)", {"v": np.ones(6, np.float32)}, {"C": 6}),
    "InstanceNormalization": (ANY_4, "y = InstanceNormalization(x, v, v)", {"v": np.ones(6, np.float32)}, {"C": 6}),
    "Gemm": (ANY_2, "y = Gemm(x, V)", {"V": normal(7, 4)}, {"K": 7}),
    "Gemm, turned": (ANY_2, "y = Gemm<transA = 1, transB = 1>(x, V)", {"V": normal(4, 7)}, {"M": 7}),
    "MatMul": (ANY_3, "y = MatMul(x, V)", {"V": normal(7, 4)}, {"F": 7}),
    "MatMul of a stack": ("float[2,T,F] x", "y = MatMul(x, V)", {"V": normal(2, 7, 4)}, {"F": 7}),
    "LSTM": (ANY_3, "y, h, c = LSTM<hidden_size = 2>(x, V, R)", LSTM, {"F": 5}),
    "behind elementwise operators": (
        ANY_4,
        "a = Relu(x) b = Mul(a, k) c = Cast<to = 1>(b) y = Conv(c, V)",
        {"V": normal(4, 3, 1, 1), "k": np.array(2, np.float32)},
        {"C": 3},
    ),
    "behind a pool": (
        ANY_4,
        "a = MaxPool<kernel_shape = [2, 2]>(x) y = Conv(a, V)",
        {"V": normal(4, 3, 1, 1)},
        {"C": 3},
    ),
    "behind a Transpose": (
        ANY_4,
        "a = Transpose<perm = [0, 3, 1, 2]>(x) y = Conv(a, V)",
        {"V": normal(4, 3, 1, 1)},
        {"W": 3},
    ),
    "in a weight behind DequantizeLinear": (
        ANY_4,
        "d = DequantizeLinear(Q, q) y = Conv(x, d)",
        {"Q": np.ones((4, 3, 1, 1), np.int8), "q": np.array(0.1, np.float32)},
        {"C": 3},
    ),
    "not where two values of the model meet": (ANY_4, "a = Sigmoid(x) y = Mul(a, x)", {}, {}),
    "not in space behind a pool": (
        ANY_3,
        "a = MaxPool<kernel_shape = [2]>(x) y = MatMul(a, V)",
        {"V": normal(7, 4)},
        {},
    ),
    "not where it is fixed": ("float[N,3,H,W] x", "y = Conv(x, V)", {"V": normal(4, 3, 1, 1)}, {}),
}


def model_of(inputs: str, body: str, constants: dict[str, Any]) -> ModelProto:
    model = graph_model(f"({inputs}) => (float[p] y) {{ {body} }}", **constants)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


@pytest.mark.parametrize("name", CASES)
def test_a_weight_settles_a_size(name: str) -> None:
    inputs, body, constants, sizes = CASES[name]
    model = model_of(inputs, body, constants)
    assert implied_sizes(model, open_session(model.SerializeToString(), label="m").inputs) == sizes


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3]])
def test_a_model_with_such_axes_is_checked_without_being_told_their_sizes(name: str) -> None:
    inputs, body, constants, sizes = CASES[name]
    report = bnfold.check(model_of(inputs, body, constants), model_of(inputs, body, constants))
    assert all(output.equal for output in report.outputs)
    assert len(report.sizes) == 2, "another size for the others"
    assert all(chosen.items() >= sizes.items() for chosen in report.sizes)
    assert not report.remarks, "that a size can not be another one says nothing here"


def test_axes_without_names_are_settled_too() -> None:
    model = model_of("float[?,?,?,?] x", "y = Conv(x, V)", {"V": normal(4, 3, 1, 1)})
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.ClearField("dim_param")
    assert bnfold.check(model, model).sizes[0]["x[1]"] == 3


def test_a_size_that_the_caller_gives_counts_more() -> None:
    model = model_of(*CASES["Conv"][:3])
    with pytest.raises(ModelError, match="C = 4"):
        bnfold.check(model, model, shapes=[{"C": 4}])


def test_what_a_weight_seems_to_settle_is_forgotten_where_the_model_does_not_run_with_it() -> None:
    """A Pad of channels: the Conv has one more than the input."""
    body = "a = Pad(x, pads) y = Conv(a, V)"
    constants = {"V": normal(4, 3, 1, 1), "pads": np.array([0, 1, 0, 0, 0, 0, 0, 0])}
    model = model_of(ANY_4, body, constants)
    assert bnfold.check(model, model).sizes[0]["C"] == 2
