"""Instance-, Group-, Layer- and RMSNormalization take the affine in front of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper
from support import check_fold, graph_model, normal, run_reference

import bnfold

OWN: dict[str, Any] = {"S": normal(4, seed=7), "B": normal(4, seed=8)}
INSTANCE, GROUP = "InstanceNormalization (x, S, B)", "GroupNormalization <num_groups = 2> (x, S, B)"
LAYER = "LayerNormalization (x, L, M)"
PAIRS = np.array([-2.0, -2.0, 0.5, 0.5], np.float32)
"""One number per group of two channels."""


def in_front(norm: str, before: str, *, x: str = "float[2,4,5,6] r", opset: int = 21, **constants: Any) -> ModelProto:
    """An affine behind a Relu, which no shift or negative scale passes, and a normalization behind that."""
    nodes = f"q = Relu (r) {before} y = {norm}"
    return graph_model(f"({x}) => (float[] y) {{ {nodes} }}", opset=opset, **{**OWN, **constants})


def reasons(model: ModelProto) -> list[tuple[str, str]]:
    """Why each affine that stays does."""
    outcomes = bnfold.fold(model).plan.outcomes
    return [(outcome.refusal.code, outcome.refusal.text) for outcome in outcomes if outcome.refusal]


def parameters(result: bnfold.FoldResult, op_type: str) -> dict[str, Any]:
    """The normalization's constants by position, and its epsilon."""
    (node,) = [node for node in result.model.graph.node if node.op_type == op_type]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer}
    constants = {str(index): values[name] for index, name in enumerate(node.input) if name in values}
    return constants | {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


IN_FRONT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a shift per channel": (INSTANCE, "x = Add (q, k)", {"k": normal(4, 1, 1)}),
    "a shift for all": (INSTANCE, "x = Add (q, k)", {"k": np.float32(3)}),
    "a negative scale for all": (INSTANCE, "x = Mul (q, k)", {"k": np.float32(-3)}),
    "a scale of signs": (INSTANCE, "x = Mul (q, k)", {"k": np.array([3, -3, -3, 3], np.float32).reshape(4, 1, 1)}),
    "scale and shift": (INSTANCE, "p = Mul (q, k) x = Sub (p, l)", {"k": np.float32(-3), "l": normal(4, 1, 1)}),
    "no epsilon": ("InstanceNormalization <epsilon = 0.0> (x, S, B)", "x = Mul (q, k)", {"k": normal(4, 1, 1)}),
    "a shift per group": (GROUP, "x = Add (q, k)", {"k": PAIRS.reshape(4, 1, 1)}),
    "a scale for all groups": (GROUP, "x = Mul (q, k)", {"k": np.float32(-0.3)}),
    "a sign per group": (GROUP, "x = Mul (q, k)", {"k": np.sign(PAIRS).reshape(4, 1, 1) * 2}),
    "a shift per row": (LAYER, "x = Add (q, k)", {"k": normal(4, 1, 1)}),
    "a shift for a layer": (LAYER, "x = Add (q, k)", {"k": np.float32(2)}),
    "a scale for a layer": (LAYER, "x = Mul (q, k)", {"k": np.float32(-2)}),
    "a negative scale for a layer and a shift per row": (
        LAYER,
        "x = BatchNormalization (q, k, l, l, o)",
        {"k": np.full(4, -2, np.float32), "l": normal(4), "o": np.ones(4, np.float32)},
    ),
    "all axes of a layer": ("LayerNormalization <axis = 0> (x, L, M)", "x = Mul (q, k)", {"k": np.float32(-2)}),
}


@pytest.mark.parametrize(("norm", "before", "constants"), IN_FRONT.values(), ids=IN_FRONT)
def test_a_normalization_takes_the_affine_in_front_of_it(norm: str, before: str, constants: dict[str, Any]) -> None:
    model = in_front(norm, before, **constants, L=normal(6, seed=5), M=normal(6, seed=6))
    check_fold(model, leaves=["Relu", norm.split()[0]])


@pytest.mark.parametrize("opset", [18, 20])
def test_a_sign_per_group_goes_into_the_scale_per_group(opset: int) -> None:
    own: dict[str, Any] = {"S": normal(2, seed=7), "B": normal(2, seed=8), "k": np.sign(PAIRS).reshape(4, 1, 1) * 2}
    check_fold(in_front(GROUP, "x = Mul (q, k)", opset=opset, **own), leaves=["Relu", "GroupNormalization"])


def test_the_epsilon_is_divided_by_the_square_of_the_scale() -> None:
    model = in_front(INSTANCE, "x = Mul (q, k)", k=np.float32(-0.25))
    made = parameters(check_fold(model), "InstanceNormalization")
    assert made["epsilon"] == np.float32(16 * np.float64(np.float32(1e-5)))
    assert np.array_equal(made["1"], -OWN["S"])
    assert np.array_equal(made["2"], OWN["B"])


def test_an_epsilon_that_matters_is_held_to() -> None:
    """With inputs of the size of epsilon a fold that left it alone would be off by a third."""
    norm = "InstanceNormalization <epsilon = 0.01> (x, S, B)"
    model = in_front(norm, "x = Mul (q, k)", k=np.float32(-3))
    small = {"r": normal(2, 4, 5, 6) * np.float32(0.05)}
    check_fold(model, leaves=["Relu", "InstanceNormalization"], feeds=small)


def test_a_shift_needs_no_constant_of_the_normalization() -> None:
    body = f"(float[2,4,5,6] r, float[4] S, float[4] B) => (float[] y) {{ q = Relu (r) x = Add (q, k) y = {INSTANCE} }}"
    check_fold(graph_model(body, k=normal(4, 1, 1)), leaves=["Relu", "InstanceNormalization"])


REFUSED: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "scales that differ": (
        INSTANCE,
        "x = Mul (q, k)",
        {"k": -np.array([1, 2, 3, 4], np.float32).reshape(4, 1, 1)},
        "not-uniform",
        "one epsilon",
    ),
    "a scale of zero": (
        INSTANCE,
        "x = Mul (q, k)",
        {"k": -np.array([0, 1, 1, 1], np.float32).reshape(4, 1, 1)},
        "zero-scale",
        "a scale is zero",
    ),
    "another axis": (INSTANCE, "x = Add (q, k)", {"k": normal(5, 1)}, "axis", "another axis than axis 2"),
    "a shift inside a group": (GROUP, "x = Add (q, k)", {"k": normal(4, 1, 1)}, "not-uniform", "of a group as one"),
    "a shift inside a layer": (
        LAYER,
        "x = Add (q, k)",
        {"k": normal(6)},
        "not-uniform",
        "all channels together",
    ),
    "signs in front of a layer": (
        LAYER,
        "x = Mul (q, k)",
        {"k": np.array([2, -2, 2, 2], np.float32).reshape(4, 1, 1)},
        "negative-scale",
        "one scale for all rows",
    ),
    "an epsilon beyond float32": (INSTANCE, "x = Mul (q, k)", {"k": np.float32(-1e-30)}, "overflow", "an epsilon of"),
    "an epsilon below float32": (INSTANCE, "x = Mul (q, k)", {"k": np.float32(-1e17)}, "underflow", "an epsilon of"),
}


@pytest.mark.parametrize(("norm", "before", "constants", "code", "says"), REFUSED.values(), ids=REFUSED)
def test_a_normalization_refuses_what_its_statistics_would_show(
    norm: str, before: str, constants: dict[str, Any], code: str, says: str
) -> None:
    model = in_front(norm, before, **constants, L=normal(6, seed=5), M=normal(6, seed=6))
    check_fold(model, feeds={"r": normal(2, 4, 5, 6)})
    told = [text for _, text in reasons(model)]
    assert told
    assert says in told[0]
    assert code in pushed_codes(model)


def pushed_codes(model: ModelProto) -> set[str]:
    """The codes of both directions."""
    found = [outcome.refusal for outcome in bnfold.fold(model, residuals=False).plan.outcomes if outcome.refusal]
    return {code for each in found for code in (each.code, each.other.code if each.other else each.code)}


def test_statistics_of_a_layer_that_are_read_would_change() -> None:
    nodes = "q = Relu (r) x = Add (q, k) y, e = LayerNormalization (x, L, M)"
    body = f"(float[2,4,5,6] r) => (float[] y, float[] e) {{ {nodes} }}"
    model = graph_model(body, opset=21, k=np.float32(2), L=normal(6, seed=5), M=normal(6, seed=6))
    check_fold(model, leaves=["Relu", "Add", "LayerNormalization"])
    assert "statistics" in pushed_codes(model)


RMS_IN_FRONT: Sequence[tuple[str, Any, list[str]]] = [
    ("Mul", np.float32(-2), ["Relu", "RMSNormalization"]),
    ("Add", np.float32(-2), ["Relu", "Add", "RMSNormalization"]),
]


@pytest.mark.parametrize(("op", "k", "leaves"), RMS_IN_FRONT)
def test_rms_normalization_takes_a_scale_in_front_and_no_shift(op: str, k: Any, leaves: list[str]) -> None:
    model = in_front("RMSNormalization (x, L)", f"x = {op} (q, k)", opset=23, k=k, L=normal(6, seed=5))
    check_fold(model, leaves=leaves, run=run_reference)


@pytest.mark.parametrize("factor", [-3.0, -1.0])
def test_a_negative_scale_stays_where_the_scale_of_the_normalization_is_computed(factor: float) -> None:
    nodes = "q = Relu (r) x = Mul (q, k) S = ReduceMax <keepdims = 0> (r, axes) y = InstanceNormalization (x, S, B)"
    axes, k = np.array([0, 2, 3], np.int64), np.float32(factor)
    model = graph_model(f"(float[2,4,5,6] r) => (float[] y) {{ {nodes} }}", opset=21, B=OWN["B"], axes=axes, k=k)
    check_fold(model, leaves=["Relu", "Mul", "ReduceMax", "InstanceNormalization"])
    assert "dynamic-weight" in pushed_codes(model)
