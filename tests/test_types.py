"""Element types: every float bnfold computes with, mixtures of them, what leaves their range, and rounding once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, numpy_helper
from support import (
    Runner,
    check_fold,
    graph_model,
    normal,
    op_types,
    run_ort,
    run_reference,
    statistics,
)

import bnfold

KINDS: dict[str, npt.DTypeLike] = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
BITS = {"float": 24, "double": 53, "float16": 11, "bfloat16": 8}
NAMES = ("scale", "shift", "mean", "var")
# onnxruntime's CPU provider has no convolution in double, and next to nothing in bfloat16
RUNNERS: dict[str, Runner] = {"float": run_ort, "double": run_reference, "float16": run_ort, "bfloat16": run_reference}

each_kind = pytest.mark.parametrize("kind", KINDS)
narrow = pytest.mark.parametrize("kind", ["float16", "bfloat16"])


def each(cases: Mapping[str, Sequence[Any]]) -> list[Any]:
    return [pytest.param(*case, id=name) for name, case in cases.items()]


LAYERS = {
    "Conv": ["[2, 3, 5, 5] x", "c = Conv(x, w)", (4, 3, 3, 3)],
    "Conv with a bias": ["[2, 3, 5, 5] x", "c = Conv(x, w, b)", (4, 3, 3, 3)],
    "ConvTranspose": ["[2, 3, 5, 5] x", "c = ConvTranspose(x, w, b)", (3, 4, 3, 3)],
    "Gemm": ["[5, 3] x", "c = Gemm(x, w, b)", (3, 4)],
    "MatMul and Add": ["[5, 3] x", "p = MatMul(x, w) c = Add(p, b)", (3, 4)],
}
each_layer = pytest.mark.parametrize(("entry", "nodes", "w"), each(LAYERS))


def layer(
    entry: str, nodes: str, w: Sequence[int], kind: str, *, statistics_kind: str | None = None, opset: int = 20
) -> ModelProto:
    """A layer of `kind`, normalized; the parameters of the BatchNormalization may have a type of their own."""
    body = (
        f"({kind}{entry}) => ({kind}[{', '.join('ijkl'[: len(w)])}] y) "
        f"{{ {nodes} y = BatchNormalization(c, scale, shift, mean, var) }}"
    )
    parameters = statistics(4, dtype=KINDS[statistics_kind or kind])
    constants: dict[str, Any] = {"w": normal(*w, dtype=KINDS[kind]), **dict(zip(NAMES, parameters, strict=True))}
    if " b)" in nodes:
        constants["b"] = normal(4, dtype=KINDS[kind])
    return graph_model(body, opset=opset, **constants)


def constants(model: ModelProto) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


# --- Every type, and mixtures ---


@each_kind
@each_layer
def test_a_layer_folds_in_every_type_and_its_constants_keep_it(
    entry: str, nodes: str, w: tuple[int, ...], kind: str
) -> None:
    model = layer(entry, nodes, w, kind)
    folded = check_fold(model, leaves=op_types(model)[:-1], run=RUNNERS[kind]).model
    assert {values.dtype for values in constants(folded).values()} == {np.dtype(KINDS[kind])}


@each_kind
def test_a_bias_that_is_made_has_the_type_of_the_weight(kind: str) -> None:
    model = layer("[5, 3] x", "c = MatMul(x, w)", (3, 4), kind)
    folded = check_fold(model, leaves=["MatMul", "Add"], run=RUNNERS[kind]).model
    assert [values.dtype for values in constants(folded).values()] == [np.dtype(KINDS[kind])] * 2


MIXTURES = [
    ("float16", "float"),
    ("bfloat16", "float"),
    ("float16", "double"),
    ("float", "double"),
    ("float", "float16"),
]
mixtures = pytest.mark.parametrize(("kind", "statistics_kind"), MIXTURES, ids=map(" and ".join, MIXTURES))


@pytest.mark.parametrize("opset", [15, 20])
@mixtures
@each_layer
def test_a_normalization_with_parameters_of_another_type_folds_into_the_layers_type(
    entry: str, nodes: str, w: tuple[int, ...], kind: str, statistics_kind: str, opset: int
) -> None:
    model = layer(entry, nodes, w, kind, statistics_kind=statistics_kind, opset=opset)
    # onnxruntime's BatchNormalization has one type for everything
    folded = check_fold(model, leaves=op_types(model)[:-1], run=run_reference).model
    assert {values.dtype for values in constants(folded).values()} == {np.dtype(KINDS[kind])}


# --- Out of range ---


def scaled(kind: str, weight: float, scale: float, *, shift: float = 0.0) -> ModelProto:
    """One 1x1 convolution, 2 channels, whose first gets `scale` and `shift`."""
    body = f"({kind}[1, 1, 4] x) => ({kind}[i, j, k] y) {{ c = Conv(x, w) y = BatchNormalization <epsilon = 0.0> "
    w = np.array([weight, 1.0]).reshape(2, 1, 1).astype(KINDS[kind])
    parameters = np.array([[scale, 1.0], [shift, 0.0], [0.0, 0.0], [1.0, 1.0]]).astype(KINDS[kind])
    return graph_model(body + "(c, scale, shift, mean, var) }", w=w, **dict(zip(NAMES, parameters, strict=True)))


def small_feeds(kind: str) -> dict[str, Any]:
    """So small that the affine of a huge weight stays finite."""
    return {"x": (normal(1, 1, 4) * 1e-3).astype(KINDS[kind])}


def code_of(model: ModelProto) -> str:
    result = bnfold.fold(model)
    assert not result
    assert result.model == model
    (kept,) = result.kept
    return kept.code


OUT = {
    "float16 weight above 65504": ["float16", 300.0, 300.0, "overflow"],
    "float16 weight below -65504": ["float16", -300.0, 300.0, "overflow"],
    "float16 weight that rounds up to infinity": ["float16", 256.0, 255.9375, "overflow"],
    "float16 weight that becomes subnormal": ["float16", 2.0**-10, 2.0**-6, "underflow"],
    "float16 weight that becomes zero": ["float16", 2.0**-14, 2.0**-12, "underflow"],
    "float weight above all numbers": ["float", 1e30, 1e30, "overflow"],
    "bfloat16 weight above all numbers": ["bfloat16", 1e30, 1e30, "overflow"],
}


@pytest.mark.parametrize(("kind", "weight", "scale", "code"), each(OUT))
def test_a_weight_that_would_leave_the_range_of_its_type_keeps_its_batch_normalization(
    kind: str, weight: float, scale: float, code: str
) -> None:
    assert code_of(scaled(kind, weight, scale)) == code


WITHIN = {
    "the largest float16": [128.0, 511.75],
    "the smallest normal float16": [2.0**-8, 2.0**-6],
    "a dead channel": [0.5, 0.0],
    "a weight that is zero": [0.0, 2.0**-12],
    "a weight that is subnormal already": [2.0**-20, 0.5],
}


@pytest.mark.parametrize(("weight", "scale"), each(WITHIN))
def test_a_float16_weight_within_its_range_folds(weight: float, scale: float) -> None:
    check_fold(scaled("float16", weight, scale), leaves=["Conv"], feeds=small_feeds("float16"))


def test_a_weight_overflows_by_its_largest_magnitude_whatever_the_sign() -> None:
    body = "(float16[1, 1, 4] x) => (float16[i, j, k] y) { c = Conv(x, w) y = Mul(c, f) }"
    model = graph_model(body, w=np.array([[[-300, 1]]], np.float16), f=np.array([[300]], np.float16))
    (outcome,) = bnfold.fold(model).plan.outcomes
    assert outcome.refusal is not None
    assert outcome.refusal.code == "overflow"


def test_a_bias_that_would_overflow_keeps_its_batch_normalization() -> None:
    body = "(float16[1, 1, 4] x) => (float16[i, j, k] y) { c = Conv(x, w, b) y = Mul(c, f) }"
    w, b, f = (np.full(shape, n, np.float16) for shape, n in [((1, 1, 1), 1), ((1,), 300), ((1, 1), 300)])
    (outcome,) = bnfold.fold(graph_model(body, w=w, b=b, f=f)).plan.outcomes
    assert outcome.refusal is not None
    assert outcome.refusal.code == "overflow"


def test_a_bias_may_be_as_small_as_it_likes() -> None:
    check_fold(scaled("float16", 1.0, 1.0, shift=2.0**-24), leaves=["Conv"])


def test_overflow_between_two_affines_that_cancel_is_no_overflow() -> None:
    body = "(float16[1, 1, 4] x) => (float16[i, j, k] y) { c = Conv(x, w) d = Div(c, f) e = Mul(d, f) y = Mul(e, g) }"
    w, f, g = (np.full(shape, n, np.float16) for shape, n in [((1, 1, 1), 300), ((1, 1), 300), ((1, 1), 2)])
    model = graph_model(body, w=w, f=f, g=g)
    folded = check_fold(model, leaves=["Conv"], feeds=small_feeds("float16")).model
    assert constants(folded)["w"].item() == 600.0


BROKEN = {
    "NaN scale": {"scale": np.nan},
    "infinite scale": {"scale": np.inf},
    "NaN shift": {"shift": np.nan},
    "infinite mean": {"mean": -np.inf},
    "NaN variance": {"var": np.nan},
    "negative variance": {"var": -1.0},
    "variance of zero without epsilon": {"var": 0.0},
}


@pytest.mark.parametrize("change", each({name: [change] for name, change in BROKEN.items()}))
@pytest.mark.parametrize("kind", ["float", "float16"])
def test_parameters_that_are_no_finite_map_are_refused(kind: str, change: dict[str, float]) -> None:
    model = scaled(kind, 1.0, 1.0)
    for tensor in model.graph.initializer:
        if tensor.name in change:
            values = np.array([change[tensor.name], 1.0]).astype(KINDS[kind])
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    assert code_of(model) == "not-finite"


def test_a_variance_of_zero_with_an_epsilon_is_fine() -> None:
    zero = np.zeros(4, np.float32)
    model = layer("[2, 3, 5, 5] x", "c = Conv(x, w)", (4, 3, 3, 3), "float")
    (variance,) = (tensor for tensor in model.graph.initializer if tensor.name == "var")
    variance.CopyFrom(numpy_helper.from_array(zero, "var"))
    check_fold(model, leaves=["Conv"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_left_alone(value: float) -> None:
    assert code_of(scaled("float", value, 2.0)) == "overflow"


def test_an_infinite_divisor_is_no_affine_and_changes_nothing() -> None:
    body = "(float[1, 1, 4] x) => (float[i, j, k] y) { c = Conv(x, w) y = Div(c, f) }"
    result = bnfold.fold(graph_model(body, w=normal(1, 1, 1), f=np.float32(0)))
    assert not result
    assert result.plan.outcomes == ()


# --- Rounded once ---


def nearest(value: Fraction, bits: int) -> Fraction:
    """The nearest number of that many significant bits, ties to even; exact arithmetic, no limits of range."""
    if value == 0:
        return value
    ulp = Fraction(1)
    while abs(value) >= ulp * 2**bits:
        ulp *= 2
    while abs(value) < ulp * 2 ** (bits - 1):
        ulp /= 2
    return round(value / ulp) * ulp  # Python's round of a Fraction: to nearest, ties to even


def folded_weight(kind: str, weight: float, factor: float) -> Fraction:
    """The weight of a Conv behind which a BatchNormalization in float64 multiplies by `factor`."""
    body = f"({kind}[1, 1, 4] x) => ({kind}[i, j, k] y) {{ c = Conv(x, w) y = BatchNormalization <epsilon = 0.0> "
    w = np.full((1, 1, 1), weight).astype(KINDS[kind])
    parameters: dict[str, Any] = {
        "scale": np.array([factor]),
        "shift": np.zeros(1),
        "mean": np.zeros(1),
        "var": np.ones(1),
    }
    model = bnfold.fold(graph_model(body + "(c, scale, shift, mean, var) }", w=w, **parameters)).model
    assert op_types(model) == ["Conv"]
    return Fraction(float(constants(model)["w"].item()))


# Just above and just below the middle between two numbers of the type, by less than a float32 can say: rounded to
# float32 first, each would be a tie, and go to the even neighbour.
TIES = {
    "bfloat16, above the middle, even below": ["bfloat16", 1.0, 1 + 2.0**-8 + 2.0**-40],
    "bfloat16, below the middle, even above": ["bfloat16", 1.0, 1 + 3 * 2.0**-8 - 2.0**-40],
    "bfloat16, the middle": ["bfloat16", 1.0, 1 + 2.0**-8],
    "bfloat16, a product above the middle": ["bfloat16", 1.5, (1 + 2.0**-7 + 2.0**-8 + 2.0**-38) / 1.5],
    "bfloat16, negative": ["bfloat16", -1.0, 1 + 2.0**-8 + 2.0**-40],
    "bfloat16, large": ["bfloat16", 2.0**100, 1 + 2.0**-8 + 2.0**-40],
    "bfloat16, small": ["bfloat16", 2.0**-100, 1 + 2.0**-8 + 2.0**-40],
    "float16, above the middle, even below": ["float16", 1.0, 1 + 2.0**-11 + 2.0**-40],
    "float16, below the middle, even above": ["float16", 1.0, 1 + 3 * 2.0**-11 - 2.0**-40],
    "float16, the middle": ["float16", 1.0, 1 + 2.0**-11],
    "float16, negative": ["float16", -3.0, 1 + 2.0**-11 + 2.0**-40],
    "float, above the middle": ["float", 1.0, 1 + 2.0**-24 + 2.0**-50],
    "float, the middle": ["float", 1.0, 1 + 2.0**-24],
}


@pytest.mark.parametrize(("kind", "weight", "factor"), each(TIES))
def test_a_folded_weight_is_the_float64_product_rounded_once(kind: str, weight: float, factor: float) -> None:
    product = Fraction(weight * factor)  # in float64, as bnfold computes
    assert folded_weight(kind, weight, factor) == nearest(product, BITS[kind])


@narrow
def test_random_weights_are_the_exact_product_rounded_once(kind: str) -> None:
    # 11 or 8 bits times 24: exact in float64
    rng = np.random.default_rng(7)
    w = rng.uniform(0.5, 2.0, (64, 1, 1)).astype(KINDS[kind])
    scale = (rng.uniform(0.5, 2.0, 64) * rng.choice([-1, 1], 64)).astype(np.float32)
    zero, one = np.zeros(64, np.float32), np.ones(64, np.float32)
    body = f"({kind}[1, 1, 4] x) => ({kind}[i, j, k] y) {{ c = Conv(x, w) y = BatchNormalization <epsilon = 0.0> "
    model = graph_model(body + "(c, scale, shift, mean, var) }", w=w, scale=scale, shift=zero, mean=zero, var=one)
    folded = constants(bnfold.fold(model).model)["w"].ravel()
    exact = [
        nearest(Fraction(float(a)) * Fraction(float(b)), BITS[kind]) for a, b in zip(w.ravel(), scale, strict=True)
    ]
    assert [Fraction(float(value)) for value in folded] == exact


@narrow
def test_a_chain_of_affines_is_rounded_once_and_not_after_each(kind: str) -> None:
    factors = [1 + 2.0 ** -(BITS[kind] - 1)] * 6
    nodes = " ".join(f"c{k + 1} = Mul(c{k}, f{k})" for k in range(6))
    body = f"({kind}[1, 1, 4] x) => ({kind}[i, j, k] c6) {{ c0 = Conv(x, w) {nodes} }}"
    given: dict[str, Any] = {f"f{k}": np.full((1, 1), factor).astype(KINDS[kind]) for k, factor in enumerate(factors)}
    w = np.full((1, 1, 1), 1.5).astype(KINDS[kind])
    model = check_fold(graph_model(body, w=w, **given), leaves=["Conv"], run=run_reference).model
    product, stepwise = Fraction(3, 2), Fraction(3, 2)
    for factor in factors:
        product *= Fraction(factor)
        stepwise = nearest(stepwise * Fraction(factor), BITS[kind])
    expected = nearest(Fraction(float(product)), BITS[kind])
    assert stepwise != expected, "factors for which the order of rounding does not matter test nothing"
    assert Fraction(float(constants(model)["w"].item())) == expected
