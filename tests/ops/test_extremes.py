"""Max, Min and Mean: one map on every branch is one behind them, where it keeps the order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from support import check_fold, graph_model, normal, refusal

import bnfold

BOTH = "c = Conv(x, W) d = Conv(x, V)"
BN = "BatchNormalization({}, s, b, m, v)"
OPERATORS = ("Max", "Min", "Mean")


def images(body: str, *, positive: bool = True, opset: int = 20, **constants: Any) -> ModelProto:
    scale = np.abs(normal(4, seed=5)) if positive else normal(4, seed=5)
    numbers: dict[str, Any] = {"W": normal(4, 3, 1, 1, seed=1), "V": normal(4, 3, 1, 1, seed=2)}
    numbers |= {"s": scale, "b": normal(4, seed=6), "m": normal(4, seed=7), "v": np.abs(normal(4, seed=8)) + 0.5}
    return graph_model(f"(float[2,3,4,5] x) => (float[2,4,4,5] y) {{ {body} }}", opset=opset, **numbers, **constants)


@pytest.mark.parametrize("opset", [7, 11, 20])
@pytest.mark.parametrize("operator", OPERATORS)
def test_an_affine_behind_goes_to_every_branch(operator: str, opset: int) -> None:
    model = images(f"{BOTH} e = {operator}(c, d) y = {BN.format('e')}", opset=opset)
    check_fold(model, leaves=["Conv", "Conv", operator])


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("shape", [(), (4, 1, 1), (4, 4, 5)])
def test_a_constant_takes_the_map_itself(operator: str, shape: tuple[int, ...]) -> None:
    model = images(f"c = Conv(x, W) e = {operator}(c, k) y = {BN.format('e')}", k=normal(*shape, seed=9))
    check_fold(model, leaves=["Conv", operator])


@pytest.mark.parametrize("operator", OPERATORS)
def test_one_map_on_all_branches_moves_behind_them(operator: str) -> None:
    both = f"z = Conv(x, W) f = Sigmoid(z) n = {BN.format('f')} q = Tanh(z) p = {BN.format('q')}"
    check_fold(
        images(f"{both} e = {operator}(n, p) y = Conv(e, Z)", Z=normal(4, 4, 1, 1)),
        leaves=["Conv", "Sigmoid", "Tanh", operator, "Conv"],
    )


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_constant_takes_the_inverse_of_a_map_that_moves_behind(operator: str) -> None:
    body = f"z = Conv(x, W) f = Sigmoid(z) n = {BN.format('f')} e = {operator}(n, k) y = Conv(e, Z)"
    model = images(body, Z=normal(4, 4, 1, 1), k=normal(4, 1, 1, seed=9))
    check_fold(model, leaves=["Conv", "Sigmoid", operator, "Conv"])


def test_a_feature_map_of_the_larger_half() -> None:
    """Max-Feature-Map (Wu et al. 2015, arXiv:1511.02683), and a normalization behind it."""
    body = f"c = Conv(x, U) t, u = Split <axis = 1, num_outputs = 2> (c) e = Max(t, u) y = {BN.format('e')}"
    check_fold(images(body, U=normal(8, 3, 1, 1)), leaves=["Conv", "Split", "Max"])


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_a_negative_scale_turns_the_order_around(operator: str) -> None:
    model = images(f"{BOTH} e = {operator}(c, d) y = {BN.format('e')}", positive=False)
    assert refusal(model).code == "negative-scale"


def test_a_mean_has_no_order() -> None:
    check_fold(images(f"{BOTH} e = Mean(c, d) y = {BN.format('e')}", positive=False), leaves=["Conv", "Conv", "Mean"])


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_map_on_one_branch_alone_stays(operator: str) -> None:
    body = f"z = Conv(x, W) f = Sigmoid(z) n = {BN.format('f')} q = Tanh(z) e = {operator}(n, q) y = Conv(e, Z)"
    kept = refusal(images(body, Z=normal(4, 4, 1, 1)))
    assert "has not all" not in kept.reason
    assert "takes branches that have not all the same map" in kept.reason


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_branch_without_the_channels_is_refused(operator: str) -> None:
    body = f"c = Conv(x, W) d = Conv(x, O) e = {operator}(c, d) y = {BN.format('e')}"
    assert refusal(images(body, O=normal(1, 3, 1, 1))).code == "broadcast"


def test_a_scale_of_zero_in_front_of_a_constant_is_refused() -> None:
    body = f"z = Conv(x, W) f = Sigmoid(z) n = {BN.format('f')} e = Max(k, n) y = Conv(e, Z)"
    model = images(body, Z=normal(4, 4, 1, 1), k=normal(4, 1, 1, seed=9))
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "s")
    scale.raw_data = np.asarray([1, 0, 2, 3], np.float32).tobytes()
    (kept,) = bnfold.fold(model).kept
    assert "behind a scale of zero would be lost" in kept.reason
