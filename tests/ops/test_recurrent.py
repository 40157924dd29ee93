"""LSTM, GRU and RNN: the weights of their input take an affine in front of them, and let none pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from support import check_fold, graph_model, normal, refusal, statistics

import bnfold

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def network(
    operator: str, attributes: str = "", *, directions: int = 1, bias: bool = True, more: str = ""
) -> ModelProto:
    """Sigmoid, an affine over the features, and a recurrent network; T, N, I, H = 5, 2, 3, 4."""
    gates, constants = GATES[operator], dict[str, Any]()
    constants["W"] = normal(directions, gates * 4, 3, seed=1)
    constants["R"] = normal(directions, gates * 4, 4, seed=2)
    if bias:
        constants["B"] = normal(directions, gates * 8, seed=3)
    constants |= {"s": normal(3, seed=4), "t": normal(3, seed=5)}
    stated = ", ".join(filter(None, ("hidden_size = 4", attributes)))
    inputs = ", ".join(["n", "W", "R", *(["B"] if bias else [""] if more else []), *([more] if more else [])])
    body = f"u = Sigmoid(x) m = Mul(u, s) n = Add(m, t) y = {operator} <{stated}> ({inputs})"
    return graph_model(f"(float[5,2,3] x) => (float[] y) {{ {body} }}", **constants)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("operator", list(GATES))
def test_scale_and_shift_go_into_the_weights(operator: str, bias: bool) -> None:
    folded = check_fold(network(operator, bias=bias), leaves=["Sigmoid", operator]).model
    assert len(folded.graph.initializer) == 3


@pytest.mark.parametrize("operator", list(GATES))
def test_both_directions(operator: str) -> None:
    model = network(operator, 'direction = "bidirectional"', directions=2)
    check_fold(model, leaves=["Sigmoid", operator], exact_reference=False)  # which knows one direction


def test_a_reset_that_comes_before_or_behind_the_product() -> None:
    for flag in (0, 1):
        check_fold(network("GRU", f"linear_before_reset = {flag}"), leaves=["Sigmoid", "GRU"], exact_reference=False)


def test_gates_that_are_clipped() -> None:
    check_fold(network("LSTM", "clip = 0.5"), leaves=["Sigmoid", "LSTM"], exact_reference=False)


def test_sequences_of_their_own_lengths() -> None:
    model = network("LSTM", more="L")
    model.graph.initializer.append(numpy_helper.from_array(np.asarray([3, 5], np.int32), "L"))
    check_fold(model, leaves=["Sigmoid", "LSTM"], exact_reference=False)


def test_a_normalization_of_sequences_goes_through_the_transpose() -> None:
    """As in Deep Speech 2: BatchNormalization has its channels on axis 1, the recurrent network on the last one."""
    scale, bias, mean, var = statistics(3)
    body = """u = Sigmoid(x) n = BatchNormalization(u, s, b, m, v) z = Transpose <perm = [2, 0, 1]> (n)
        y = GRU <hidden_size = 4> (z, W, R)"""
    weights: dict[str, Any] = {"W": normal(1, 12, 3, seed=1), "R": normal(1, 12, 4, seed=2)}
    model = graph_model(f"(float[2,3,5] x) => (float[] y) {{ {body} }}", s=scale, b=bias, m=mean, v=var, **weights)
    (folded,) = check_fold(model, leaves=["Sigmoid", "Transpose", "GRU"]).folded
    assert folded.direction == "push"


def test_no_map_leaves_a_recurrent_network_backwards() -> None:
    scale, bias, mean, var = statistics(4)
    body = """h = RNN <hidden_size = 4> (x, W, R) z = Squeeze(h, a) t = Transpose <perm = [1, 2, 0]> (z)
        y = BatchNormalization(t, s, b, m, v)"""
    constants: dict[str, Any] = {"W": normal(1, 4, 3), "R": normal(1, 4, 4, seed=2), "a": np.asarray([1])}
    constants |= {"s": scale, "b": bias, "m": mean, "v": var}
    assert refusal(graph_model(f"(float[5,2,3] x) => (float[] y) {{ {body} }}", **constants)).code == "barrier"


def test_a_map_of_what_is_remembered_at_the_start_is_refused() -> None:
    body = """u = Sigmoid(x) k = Mul(u, s) h, y = RNN <hidden_size = 4> (q, W, R, , , k)"""
    constants: dict[str, Any] = {"W": normal(1, 4, 3), "R": normal(1, 4, 4, seed=2), "s": normal(4)}
    model = graph_model(f"(float[1,2,4] x, float[5,2,3] q) => (float[] y) {{ {body} }}", **constants)
    assert not check_fold(model, leaves=["Sigmoid", "Mul", "RNN"]).folded


def test_weights_in_integers_stay_integers() -> None:
    scale, bias, mean, var = statistics(3)
    body = """u = Sigmoid(x) n = BatchNormalization(u, s, b, m, v) z = Transpose <perm = [2, 0, 1]> (n)
        w = DequantizeLinear(Q, q) y = RNN <hidden_size = 4> (z, w, R)"""
    integers = np.random.default_rng(0).integers(-127, 127, (1, 4, 3)).astype(np.int8)
    constants: dict[str, Any] = {"Q": integers, "q": np.float32(0.01), "R": normal(1, 4, 4, seed=2)}
    constants |= {"s": scale, "b": bias, "m": mean, "v": var}
    kept = refusal(graph_model(f"(float[2,3,5] x) => (float[] y) {{ {body} }}", **constants))
    assert "has a weight in integers" in kept.reason


def test_a_weight_of_another_size_is_refused() -> None:
    model = network("RNN")
    model.graph.initializer[0].dims[:] = [3, 4]
    assert not bnfold.fold(model).folded
