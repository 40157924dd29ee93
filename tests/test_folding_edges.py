"""Edges of the search and of the edits, each of which a changed line got wrong without any other test noticing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import check_fold, graph_model, normal, op_types, statistics

PARAMETERS: dict[str, Any] = dict(zip("sbmv", statistics(4, positive=True), strict=True))
BN = "BatchNormalization ({}, s, b, m, v)"
NO_BN: dict[str, Any] = {"prefer": "no-batchnorm"}


@pytest.mark.parametrize("behind", ["y = Sigmoid (n)", "y = MaxPool <kernel_shape = [2, 2]> (n)"])
def test_a_scale_of_zero_is_not_parted_from_its_shift_and_lost(behind: str) -> None:
    scale = np.array([1.5, 0, 0.5, 2], np.float32)
    body = f"(float[2, 4, 5, 5] x) => (float[i, j, k, l] y) {{ t = Tanh (x) n = {BN.format('t')} {behind} }}"
    result = check_fold(graph_model(body, **{**PARAMETERS, "s": scale}), **NO_BN)
    assert [node for node in op_types(result.model) if node in ("Mul", "Add")] == ["Mul", "Add"]


def test_a_map_added_behind_a_padded_convolution_is_scaled_by_the_normalization_behind_it() -> None:
    more: dict[str, Any] = dict(zip("pqrt", statistics(1, seed=3), strict=True))
    nodes = f"h = Tanh (x) n = {BN.format('h')} c = Conv <pads = [1, 1, 1, 1]> (n, w)"
    body = f"(float[2, 4, 9, 7] x) => (float[i, j, k, l] y) {{ {nodes} y = BatchNormalization (c, p, q, r, t) }}"
    model = graph_model(body, w=normal(1, 4, 3, 3), **PARAMETERS, **more)
    check_fold(model, leaves=["Tanh", "Conv", "Add"], **NO_BN)


def test_the_add_behind_a_product_stays_that_node_where_a_factor_goes_with_it() -> None:
    body = "(float[5, 3] x) => (float[i, j] y) { c = MatMul (x, w) a = Add (c, b) y = Mul (a, f) }"
    model = graph_model(body, w=normal(3, 4), b=normal(4), f=normal(4, seed=1))
    model.graph.node[1].name = "bias"
    folded = check_fold(model, leaves=["MatMul", "Add"]).model
    assert folded.graph.node[1].name == "bias"
