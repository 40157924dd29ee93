"""Edges of the rules, each of which a changed rule got wrong without any other test noticing (`tests/mutants`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from support import check_fold, graph_model, normal, statistics

import bnfold
from bnfold.model.constants import Constants
from bnfold.model.graph import Graph
from bnfold.model.shapes import Shapes
from bnfold.ops.rule import Operator, Taken

PARAMETERS: dict[str, Any] = dict(zip("somv", statistics(4), strict=True))
POSITIVE: dict[str, Any] = dict(zip("somv", statistics(4, positive=True), strict=True))
BN = "BatchNormalization (c, s, o, m, v)"


def normalized(nodes: str, *, opset: int = 20, **constants: Any) -> ModelProto:
    """What makes c, of 4 channels, from x, and a BatchNormalization behind it."""
    body = f"(float[2, 3, 6, 7] x) => (float[i, j, k, l] y) {{ {nodes} y = {BN} }}"
    return graph_model(body, opset=opset, **{**PARAMETERS, **constants})


def test_an_average_that_leaves_its_padding_out_lets_a_shift_pass_without_being_told_so() -> None:
    pool = "h = Conv (x, w) c = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h)"
    check_fold(normalized(pool, w=normal(4, 3, 1, 1)), leaves=["Conv", "AveragePool"])


@pytest.mark.parametrize("channels", [3, 5])
def test_parameters_of_fewer_or_more_channels_than_the_value_has_are_malformed(channels: int) -> None:
    model = normalized("c = Conv (x, w)", w=normal(channels, 3, 1, 1))
    (kept,) = bnfold.fold(model).kept
    assert kept.code == "malformed"
    assert f"of 4 channels for a value of {channels}" in kept.reason


def test_a_bound_of_two_numbers_is_refused_and_does_not_crash() -> None:
    model = normalized('h = Conv (x, w) c = Clip (h, "", b)', w=normal(4, 3, 1, 1), b=normal(2))
    (kept,) = bnfold.fold(model).kept
    assert kept.code == "dynamic-bounds"


@pytest.mark.parametrize("opset", [8, 9, 12])
def test_a_relu_becomes_a_max_from_opset_8_on(opset: int) -> None:
    model = normalized("h = Conv (x, w) c = Relu (h)", opset=opset, w=normal(4, 3, 1, 1), **POSITIVE)
    check_fold(model, leaves=["Conv", "Max"], prefer="no-batchnorm", exact_reference=False)


def test_a_relu_before_opset_8_stays_with_its_normalization() -> None:
    model = normalized("h = Conv (x, w) c = Relu (h)", opset=7, w=normal(4, 3, 1, 1), **POSITIVE)
    assert "Max" not in [node.op_type for node in bnfold.fold(model, prefer="no-batchnorm").model.graph.node]


def test_a_normalization_whose_bias_is_computed_takes_no_other_into_it() -> None:
    second: dict[str, Any] = dict(zip("abde", statistics(4, seed=1), strict=True))
    nodes = "r = Relu (x) c = BatchNormalization (r, s, p, m, v) y = BatchNormalization (c, a, b, d, e)"
    body = f"(float[2, 4, 5, 5] x, float[4] p) => (float[i, j, k, l] y) {{ {nodes} }}"
    model = graph_model(body, **{key: PARAMETERS[key] for key in "smv"}, **second)
    assert next(kept.code for kept in bnfold.fold(model).kept) == "dynamic-parameter"


def test_one_factor_for_all_goes_into_the_product_behind_it() -> None:
    body = "(float[5, 3] x) => (float[i, j] y) { f = Mul (x, k) y = MatMul (f, w) }"
    check_fold(graph_model(body, k=np.float32(-1.5), w=normal(3, 4)), leaves=["MatMul"])


def test_groups_that_do_not_divide_the_output_channels_are_named() -> None:
    body = "(float[2, 6, 5, 5] x) => (float[i, j, k, l] y) { c = Mul (x, f) y = Conv <group = 3> (c, w) }"
    model = graph_model(body, f=normal(6, 1, 1), w=normal(4, 2, 1, 1))
    (affine,) = bnfold.inspect(model)
    assert not affine.folds
    assert "has 4 output channels, which do not divide into 3 groups" in affine.reason


def test_an_add_that_is_made_before_opset_7_is_told_to_broadcast() -> None:
    body = (
        "(float[5, 3] x) => (float[i, j] y) { c = MatMul (x, w) y = BatchNormalization <is_test = 1> (c, s, o, m, v) }"
    )
    folded = bnfold.fold(graph_model(body, opset=6, w=normal(3, 4), **PARAMETERS)).model
    assert [node.op_type for node in folded.graph.node] == ["MatMul", "Add"]
    assert [(attribute.name, attribute.i) for attribute in folded.graph.node[1].attribute] == [("broadcast", 1)]


@pytest.mark.parametrize("opset", [7, 9, 20])
def test_a_scale_alone_leaves_the_beta_of_a_gemm_as_it_is(opset: int) -> None:
    body = "(float[5, 3] x) => (float[i, j] y) { c = Gemm <beta = 0.5> (x, w, b) y = Mul (c, k) }"
    model = graph_model(body, opset=opset, w=normal(3, 4), b=normal(4), k=normal(4, seed=1))
    (gemm,) = check_fold(model, leaves=["Gemm"]).model.graph.node
    assert [(attribute.name, attribute.f) for attribute in gemm.attribute] == [("beta", 0.5)]


def test_a_gemm_that_states_no_beta_gets_none() -> None:
    body = "(float[5, 3] x) => (float[i, j] y) { c = Gemm (x, w, b) y = BatchNormalization (c, s, o, m, v) }"
    (gemm,) = check_fold(graph_model(body, w=normal(3, 4), b=normal(4), **PARAMETERS), leaves=["Gemm"]).model.graph.node
    assert not gemm.attribute


@pytest.mark.parametrize(
    ("factor", "left"), [(2.0**-3, ["Mul"]), (2.0**-10, ["Mul", "Mul"])], ids=["fits", "subnormal"]
)
def test_two_factors_become_one_unless_that_is_too_small_for_its_type(factor: float, left: list[str]) -> None:
    body = "(float16[2, 4, 5, 5] x) => (float16[i, j, k, l] y) { a = Mul (x, f) y = Mul (a, f) }"
    model = graph_model(body, f=np.full((4, 1, 1), factor, np.float16))
    assert [node.op_type for node in bnfold.fold(model).model.graph.node] == left


def test_an_average_of_opset_6_leaves_its_padding_out_as_one_of_opset_7_does() -> None:
    pool = "h = Conv (x, w) c = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h)"
    normalization = "BatchNormalization <is_test = 1> (c, s, o, m, v)"
    body = f"(float[2, 3, 6, 7] x) => (float[i, j, k, l] y) {{ {pool} y = {normalization} }}"
    folded = bnfold.fold(graph_model(body, opset=6, w=normal(4, 3, 1, 1), **PARAMETERS)).model
    assert [node.op_type for node in folded.graph.node] == ["Conv", "AveragePool"]
    same = check_fold(normalized(pool, opset=7, w=normal(4, 3, 1, 1)), leaves=["Conv", "AveragePool"]).model
    assert list(folded.graph.initializer) == list(same.graph.initializer)


@pytest.mark.parametrize(("stride", "left"), [(1, []), (2, ["BatchNormalization"])])
def test_ceil_mode_lets_a_window_reach_beyond_a_value_of_any_size_only_where_windows_leave_some_out(
    stride: int, left: list[str]
) -> None:
    pool = f"AveragePool <kernel_shape = [2, 2], strides = [{stride}, {stride}], ceil_mode = 1, count_include_pad = 1>"
    body = f"(float[2, 3, H, W] x) => (float[i, j, k, l] y) {{ h = Conv (x, w) c = {pool} (h) y = {BN} }}"
    model = graph_model(body, w=normal(4, 3, 1, 1), **PARAMETERS)
    kept = ["shift"] * len(left)
    feeds = {"x": normal(2, 3, 5, 7)}
    check_fold(model, leaves=["Conv", "AveragePool", *left], kept=kept, feeds=feeds, exact_reference=False)


def test_channels_that_a_reshape_deals_out_across_rows_do_not_count_as_columns() -> None:
    """Four channels of six places each, read as three rows of eight: no column is of one channel."""
    body = "(float[2, 4, 6] x) => (float[i, j, k] y) { c = Mul (x, f) r = Reshape (c, to) y = MatMul (r, w) }"
    model = graph_model(body, f=normal(4, 1), to=np.array([2, 3, 8]), w=normal(8, 5))
    check_fold(model, leaves=["Mul", "Reshape", "MatMul"])


def test_a_pad_of_opset_1_states_its_pads_by_another_name() -> None:
    nodes = 'h = Conv (x, w) c = Pad <mode = "edge", paddings = [0, 0, 1, 0, 0, 0, 0, 2]> (h)'
    normalization = "BatchNormalization <is_test = 1, consumed_inputs = [0, 0, 0, 1, 1]> (c, s, o, m, v)"
    body = f"(float[2, 3, 6, 7] x) => (float[i, j, k, l] y) {{ {nodes} y = {normalization} }}"
    model = graph_model(body, opset=1, w=normal(4, 3, 1, 1), **PARAMETERS)
    folded = bnfold.fold(model).model
    assert [node.op_type for node in folded.graph.node] == ["Conv", "Pad"]
    padded = 'h = Conv (x, w) c = Pad <mode = "edge", pads = [0, 0, 1, 0, 0, 0, 0, 2]> (h)'
    same = bnfold.fold(normalized(padded, opset=7, w=normal(4, 3, 1, 1))).model
    assert list(folded.graph.initializer) == list(same.graph.initializer)


def test_axes_of_a_pad_that_are_computed_are_refused_by_name() -> None:
    nodes = 'h = Conv (x, w) c = Pad <mode = "edge"> (h, p, "", a)'
    body = f"(float[2, 3, 6, 7] x, int64[1] a) => (float[i, j, k, l] y) {{ {nodes} y = {BN} }}"
    model = graph_model(body, w=normal(4, 3, 1, 1), p=np.array([1, 1]), **PARAMETERS)
    (kept,) = check_fold(model, kept=["unknown-shape"], feeds={"x": normal(2, 3, 6, 7), "a": np.array([3])}).kept
    assert "pads along axes that are not known" in kept.reason


def test_a_factor_behind_a_value_of_unknown_rank_takes_no_map_whatever_is_declared_of_its_output() -> None:
    nodes = "c = Identity (x) n = BatchNormalization (c, s, o, m, v) f = Mul (n, n2) y = Conv (f, w)"
    body = f"(float x) => (float y) {{ {nodes} }}"
    model = graph_model(body, n2=normal(1, 4, 6, 7), w=normal(3, 4, 1, 1), **PARAMETERS)
    model.graph.value_info.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, [2, 4, 6, 7]))
    (kept,) = bnfold.fold(model).kept
    assert "multiplies a value whose rank is not known" in kept.reason


def test_two_factors_for_a_shift_of_three_channels_are_refused_by_their_numbers() -> None:
    body = "(float[2, 3, 6, 7] x) => (float[i, j, k, l] y) { a = Add (x, b) f = Mul (a, c) y = Conv (f, w) }"
    model = graph_model(body, b=normal(3, 1, 1), c=normal(2, 1, 1), w=normal(4, 3, 1, 1))
    model.graph.value_info.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, [2, 3, 6, 7]))
    assert any("has 2 factors, and the affine 3 channels" in affine.reason for affine in bnfold.inspect(model))


def test_a_constant_of_no_numbers_is_no_affine() -> None:
    body = "(float[2, 1] x) => (float[i, j] y) { h = MatMul (x, w) y = Mul (h, k) }"
    model = graph_model(body, w=normal(1, 1), k=np.zeros((2, 0), np.float32))
    assert not bnfold.inspect(model)
    assert [node.op_type for node in bnfold.fold(model).model.graph.node] == ["MatMul", "Mul"]


@pytest.mark.parametrize(("edited", "read"), [(0.5, 0.5), (None, 1.0)], ids=["set", "removed"])
def test_an_operator_is_seen_with_the_attributes_that_an_answer_leaves(edited: float | None, read: float) -> None:
    model = graph_model(
        "(float[5, 3] x) => (float[5, 4] y) { y = Gemm <beta = 2.0> (x, w, b) }", w=normal(3, 4), b=normal(4)
    )
    graph = Graph(model)
    shapes = Shapes(graph)
    op = Operator(next(graph.nodes()), Constants(graph, None, shapes=shapes), shapes)
    assert op.attribute("beta", 1.0) == 2.0
    assert op.after(Taken(attributes={"beta": edited})).attribute("beta", 1.0) == read
