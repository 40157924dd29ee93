"""Affines that meet at one node: they go together, at once, and where they go only together, they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto
from support import Array, graph_model, normal, op_types, run_ort

import bnfold

HEAD = "(float[N, 4, 3, 3] x, float[N, 4, 3, 3] z) => (float[] y)"
JOINING = ("Add", "Sub", "Sum", "Concat<axis = 2>")


def parameters(*names: str) -> dict[str, Array]:
    """Of as many BatchNormalizations, each with its own."""
    found: dict[str, Array] = {}
    for number, name in enumerate(names):
        drawn = [normal(4, seed=10 * number + k) for k in range(4)]
        values = [drawn[0] + 3, drawn[1], drawn[2], np.abs(drawn[3]) + 0.5]
        found.update({f"{name}{k}": value for k, value in enumerate(values)})
    return found


def normalization(x: str, name: str) -> str:
    return f"BatchNormalization({x}, {', '.join(f'{name}{k}' for k in range(4))})"


def joined(operator: str, first: str, second: str, end: str, **constants: Any) -> ModelProto:
    """Two affines between a Sigmoid or a Tanh and one operator, and what is behind that."""
    body = f"u = Sigmoid(x) w = Tanh(z) p = {first} q = {second} a = {operator}(p, q) y = {end}"
    return graph_model(f"{HEAD} {{ {body} }}", **constants, W=normal(5, 4, 1, 1, seed=7))


def assert_equal(before: ModelProto, after: ModelProto) -> None:
    feeds = {name: normal(2, 4, 3, 3, seed=k) for k, name in enumerate(("x", "z"))}
    wanted, got = (run_ort(model, feeds)[0] for model in (before, after))
    # float32: a few roundings of each of the terms that are summed, over the largest of the results
    np.testing.assert_allclose(got, wanted, rtol=0, atol=32 * np.finfo(np.float32).eps * np.abs(wanted).max())


@pytest.mark.parametrize("operator", JOINING)
def test_one_normalization_in_two_branches_goes_into_what_is_behind_them(operator: str) -> None:
    model = joined(operator, normalization("u", "n"), normalization("w", "n"), "Conv(a, W)", **parameters("n"))
    result = bnfold.fold(model)
    assert op_types(result.model) == ["Sigmoid", "Tanh", operator.partition("<")[0], "Conv"]
    assert not result.kept
    assert [folded.direction for folded in result.folded] == ["push", "push"]
    assert_equal(model, result.model)


@pytest.mark.parametrize("operator", JOINING)
def test_one_normalization_in_two_branches_becomes_one_behind_them_where_nothing_takes_it(operator: str) -> None:
    model = joined(operator, normalization("u", "n"), normalization("w", "n"), "Sigmoid(a)", **parameters("n"))
    result = bnfold.fold(model)
    # Behind Sub the shifts are gone, and what is left is a scale.
    left = "Mul" if operator == "Sub" else "BatchNormalization"
    assert op_types(result.model) == ["Sigmoid", "Tanh", operator.partition("<")[0], left, "Sigmoid"]
    assert_equal(model, result.model)


def test_a_number_that_scales_both_terms_of_a_sum_scales_the_sum() -> None:
    model = joined("Add", "Mul(u, half)", "Mul(w, half)", "Sigmoid(a)", half=np.float32(0.7))
    result = bnfold.fold(model)
    assert op_types(result.model) == ["Sigmoid", "Tanh", "Add", "Mul", "Sigmoid"]
    assert_equal(model, result.model)


@pytest.mark.parametrize("operator", JOINING)
def test_two_normalizations_that_differ_stay(operator: str) -> None:
    model = joined(operator, normalization("u", "n"), normalization("w", "m"), "Conv(a, W)", **parameters("n", "m"))
    result = bnfold.fold(model, residuals=False)
    assert len(result.kept) == 2
    assert_equal(model, bnfold.fold(model).model)


def test_what_a_body_or_another_operator_reads_too_does_not_go_with_the_others() -> None:
    model = joined("Add", normalization("u", "n"), normalization("w", "n"), "Sub(p, a)", **parameters("n"))
    result = bnfold.fold(model, residuals=False)
    assert len(result.kept) == 2
    assert_equal(model, bnfold.fold(model).model)


def test_what_goes_together_is_one_fold_of_those_that_are_counted() -> None:
    model = joined("Add", normalization("u", "n"), normalization("w", "n"), "Conv(a, W)", **parameters("n"))
    assert len(bnfold.fold(model, max_folds=0).kept) == 2
    assert not bnfold.fold(model, max_folds=1).kept


def test_one_that_is_to_stay_keeps_those_that_go_only_with_it() -> None:
    model = joined("Add", normalization("u", "n"), normalization("w", "n"), "Conv(a, W)", **parameters("n"))
    model.graph.node[2].name = "first"
    assert len(bnfold.fold(model, skip=["first"], residuals=False).kept) == 2


KINDS = (normalization("@", "n"), normalization("@", "m"), "Mul(@, half)", "Add(@, half)", "Identity(@)", "Neg(@)")
STARTS = ("Sigmoid(x)", "Tanh(z)", "Conv(x, V)")
ENDS = ("Sigmoid(a)", "Relu(a)", "Identity(a)", "Conv(a, W)")


@st.composite
def branching(draw: st.DrawFn) -> ModelProto:
    """Branches with affines of a few kinds, of which some are alike, that meet at one node, and something behind it."""
    count = draw(st.integers(2, 5))
    nodes = []
    for k in range(count):
        affine = draw(st.sampled_from(KINDS)).replace("@", f"s{k}")
        nodes.append(f"s{k} = {draw(st.sampled_from(STARTS))} b{k} = {affine}")
    operator = draw(st.sampled_from(("Sum", "Max", "Concat<axis = 1>", "Concat<axis = 2>")))
    end = draw(st.sampled_from(ENDS[:3] if operator == "Concat<axis = 1>" else ENDS))
    names = ", ".join(f"b{k}" for k in range(count))
    weights: dict[str, Any] = {"W": normal(5, 4, 1, 1), "V": normal(4, 4, 1, 1, seed=3), "half": np.float32(0.5)}
    weights.update(parameters("n", "m"))
    text = f"{HEAD} {{ {' '.join(nodes)} a = {operator}({names}) y = {end} }}"
    return graph_model(text, **weights)


@given(branching())
def test_whatever_meets_the_fold_is_equal(model: ModelProto) -> None:
    assert_equal(model, bnfold.fold(model).model)
    assert_equal(model, bnfold.fold(model, prefer="no-batchnorm").model)
    assert_equal(model, bnfold.fold(model, residuals=False).model)
