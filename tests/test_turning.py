"""Transposes around an affine go with it, where they undo each other."""

from typing import Any

import numpy as np
import pytest
from support import Array, Feeds, graph_model, interface, normal, op_types, run_ort, statistics

import bnfold


def model_of(nodes: str, inputs: str = "float[N,7,4] x", outputs: str = "float[N,7,6] y") -> bnfold.FoldResult:
    scale, bias, mean, variance = statistics(6)
    constants: dict[str, Any] = {"W": normal(4, 6), "s": scale, "b": bias, "m": mean, "v": variance}
    return bnfold.fold(graph_model(f"({inputs}) => ({outputs}) {{ {nodes} }}", **constants))


def assert_equal(result: bnfold.FoldResult, feeds: Feeds) -> None:
    original = result.container.proto
    assert interface(result.model) == interface(original)
    for before, after in zip(run_ort(original, feeds), run_ort(result.model, feeds), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())


@pytest.fixture
def x() -> dict[str, Array]:
    return {"x": normal(3, 7, 4)}


THERE, BACK = "t = Transpose<perm=[0,2,1]>(c)", "y = Transpose<perm=[0,2,1]>(n)"
NORMALIZED = "n = BatchNormalization(t, s, b, m, v)"


def test_a_pair_around_a_normalization_goes_and_the_output_keeps_its_name(x: dict[str, Array]) -> None:
    result = model_of(f"c = MatMul(x, W) {THERE} {NORMALIZED} {BACK}")
    assert op_types(result.model) == ["MatMul", "Add"]
    assert_equal(result, x)


def test_what_else_reads_the_value_in_front_still_does(x: dict[str, Array]) -> None:
    nodes = f"c = MatMul(x, W) {THERE} {NORMALIZED} {BACK}".replace("y =", "u =")
    result = model_of(f"{nodes} r = Relu(u) q = Tanh(u) y = Sub(r, q)")
    assert op_types(result.model) == ["MatMul", "Add", "Relu", "Tanh", "Sub"]
    assert_equal(result, x)


def test_one_that_is_read_besides_stays(x: dict[str, Array]) -> None:
    nodes = f"c = MatMul(x, W) {THERE} {NORMALIZED} {BACK} z = Tanh(n)"
    result = model_of(nodes, outputs="float[N,7,6] y, float[N,6,7] z")
    assert op_types(result.model).count("Transpose") == 1
    assert_equal(result, x)


def test_a_pair_that_does_not_come_to_nothing_stays(x: dict[str, Array]) -> None:
    nodes = f"c = MatMul(x, W) {THERE} {NORMALIZED} y = Transpose<perm=[1,2,0]>(n)"
    result = model_of(nodes, outputs="float[6,7,N] y")
    assert op_types(result.model) == ["MatMul", "Add", "Transpose", "Transpose"]
    assert_equal(result, x)


def test_a_pair_without_an_affine_in_between_is_left_alone(x: dict[str, Array]) -> None:
    nodes = f"c = MatMul(x, W) {THERE} {NORMALIZED} {BACK}".replace("y =", "u =")
    result = model_of(
        f"{nodes} p = Transpose<perm=[0,2,1]>(u) q = Tanh(p) k = Neg(p) r = Transpose<perm=[0,2,1]>(p) y = Sin(r)"
    )
    assert op_types(result.model).count("Transpose") == 2
    assert_equal(result, x)


def test_a_node_that_is_to_be_left_as_it_is_stays() -> None:
    scale, bias, mean, variance = statistics(6)
    nodes = f"c = MatMul(x, W) {THERE} {NORMALIZED} {BACK}"
    constants: dict[str, Any] = {"W": normal(4, 6), "s": scale, "b": bias, "m": mean, "v": variance}
    model = graph_model(f"(float[N,7,4] x) => (float[N,7,6] y) {{ {nodes} }}", **constants)
    model.graph.node[-1].name = "back"
    assert op_types(bnfold.fold(model, skip=["back"]).model).count("Transpose") == 2


def test_a_pair_goes_whatever_affines_go_besides(x: dict[str, Array]) -> None:
    nodes = f"c = MatMul(x, W) {THERE} {NORMALIZED} {BACK}".replace("y =", "u =")
    result = model_of(f"{nodes} h = MatMul(x, W) g = Mul(h, s) y = Sub(g, u)")
    assert op_types(result.model) == ["MatMul", "Add", "MatMul", "Sub"]
    assert_equal(result, x)


def test_a_transpose_behind_a_product_whose_factors_have_gone_is_no_pair() -> None:
    nodes = "c = MatMul(x, W) g = Mul(c, s) n = Mul(g, v) t = Transpose(n) y = Tanh(t)"
    result = model_of(nodes, "float[7,4] x", "float[6,7] y")
    assert op_types(result.model) == ["MatMul", "Transpose", "Tanh"]
    assert_equal(result, {"x": normal(7, 4)})
