"""What passes an operator that works on each element alone, and what it stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from support import Array, check_fold, graph_model, normal, op_types, refusal, run_ort, run_reference, statistics

import bnfold

NEWEST = onnx.defs.onnx_opset_version()
C = 4
PLAIN = np.zeros(C, np.float32)
LARGEST = float(np.finfo(np.float32).max)


def stats(**options: Any) -> dict[str, Any]:
    return dict(zip(("scale", "shift", "mean", "var"), statistics(C, **options), strict=True))


def scaling() -> dict[str, Any]:
    """Parameters of a BatchNormalization that only scales, each channel by a positive number."""
    return {**stats(positive=True), "shift": PLAIN, "mean": PLAIN}


def each(cases: Mapping[str, Sequence[Any]]) -> list[Any]:
    return [pytest.param(*case, id=name) for name, case in cases.items()]


def normalized(nodes: str, *, opset: int = 20, out: str = "float", **constants: Any) -> ModelProto:
    """`c` is a Conv, `nodes` make `d` of it, and `d` is normalized."""
    mode = "" if opset >= 7 else "<is_test = 1>"
    body = (
        f"(float[2, 3, 5, 5] x) => ({out}[i, j, k, l] y) "
        f"{{ c = Conv(x, w) {nodes} y = BatchNormalization {mode} (d, scale, shift, mean, var) }}"
    )
    return graph_model(body, opset=opset, **{"w": normal(C, 3, 3, 3), **stats(), **constants})


def clipped(clip: str, scale: Any, shift: Any = 0.0, *, opset: int = 20, more: str = "", **bounds: Any) -> ModelProto:
    """Conv, Clip, and an affine of two scalars."""
    body = (
        f"(float[2, 3, 5, 5] x{more}) => (float[i, j, k, l] y) "
        f"{{ c = Conv(x, w) d = {clip} e = Mul(d, a) y = Add(e, b) }}"
    )
    constants: dict[str, Any] = {"w": normal(C, 3, 3, 3), "a": np.float32(scale), "b": np.float32(shift), **bounds}
    return graph_model(body, opset=opset, **constants)


def codes(model: ModelProto) -> set[str]:
    """Why the affines of a model that stays as it is do; Mul and Add are not among `kept`."""
    result = bnfold.fold(model, residuals=False)
    assert not result
    assert result.model == model
    return {outcome.refusal.code for outcome in result.plan.outcomes if outcome.refusal}


def runner(opset: int) -> dict[str, Any]:
    """onnxruntime has no BatchNormalization before opset 7, onnx.reference a wrong one from 7 to 13."""
    return {"run": run_ort if 7 <= opset <= 22 else run_reference}


# --- Identity and Dropout ---


@pytest.mark.parametrize("opset", [6, 7, 13, 20, NEWEST])
def test_any_affine_passes_identity(opset: int) -> None:
    check_fold(normalized("d = Identity(c)", opset=opset), leaves=["Conv", "Identity"], **runner(opset))


INFERENCE = {
    "7": ["d = Dropout(c)", 7],
    "10": ["d = Dropout <ratio = 0.9> (c)", 10],
    "12": ["d = Dropout(c, ratio)", 12],
    "13, training_mode false": ["d = Dropout(c, ratio, never)", 13],
    "20, training_mode false": ["d = Dropout(c, ratio, never)", 20],
    "20, no ratio": ['d = Dropout(c, "", never)', 20],
    "newest": ["d = Dropout(c)", NEWEST],
}


@pytest.mark.parametrize(("node", "opset"), each(INFERENCE))
def test_any_affine_passes_a_dropout_at_inference(node: str, opset: int) -> None:
    model = normalized(node, opset=opset, ratio=np.float32(0.9), never=np.array(False))
    check_fold(model, leaves=["Conv", "Dropout"], **runner(opset))


def test_the_mask_of_a_dropout_at_inference_stays_all_true() -> None:
    body = (
        "(float[2, 3, 5, 5] x) => (float[i, j, k, l] y, bool[m, n, o, p] mask) "
        "{ c = Conv(x, w) d, mask = Dropout(c) y = BatchNormalization (d, scale, shift, mean, var) }"
    )
    check_fold(graph_model(body, w=normal(C, 3, 3, 3), **stats()), leaves=["Conv", "Dropout"])


# A ratio of 0 drops nothing, so that there is something to compare.
TRAINING = {
    "12, training_mode true": ["d = Dropout(c, none, always)", 12],
    "20, training_mode true": ["d = Dropout(c, none, always)", 20],
}


@pytest.mark.parametrize(("node", "opset"), each(TRAINING))
def test_nothing_passes_a_dropout_that_drops(node: str, opset: int) -> None:
    model = normalized(node, opset=opset, none=np.float32(0), always=np.array(True))
    check_fold(model, leaves=["Conv", "Dropout", "BatchNormalization"], kept=["training"], **runner(opset))


@pytest.mark.parametrize(("attributes", "drops"), [("<is_test = 1>", False), ("<is_test = 0>", True), ("", True)])
def test_a_dropout_before_opset_7_drops_unless_it_says_is_test(attributes: str, drops: bool) -> None:
    # neither onnxruntime nor onnx.reference has a Dropout this old
    model = normalized(f"d = Dropout {attributes} (c)", opset=6)
    if drops:
        assert codes(model) == {"training"}
    else:
        assert op_types(bnfold.fold(model).model) == ["Conv", "Dropout"]


def test_nothing_passes_a_dropout_whose_mode_the_caller_says() -> None:
    body = (
        "(float[2, 3, 5, 5] x, bool mode) => (float[i, j, k, l] y) "
        "{ c = Conv(x, w) d = Dropout(c, none, mode) y = BatchNormalization (d, scale, shift, mean, var) }"
    )
    model = graph_model(body, w=normal(C, 3, 3, 3), none=np.float32(0), **stats())
    assert refusal(model).code == "training"


# --- Rectifiers ---

RECTIFIERS = {
    "Relu": ["d = Relu(c)"],
    "LeakyRelu": ["d = LeakyRelu <alpha = 0.1> (c)"],
    "LeakyRelu, negative slope": ["d = LeakyRelu <alpha = -0.5> (c)"],
    "PRelu, slope per channel": ["d = PRelu(c, slope)"],
    "PRelu, one slope": ["d = PRelu(c, one)"],
}
SLOPES: dict[str, Any] = {"slope": normal(C, 1, 1), "one": np.float32(0.3)}


@pytest.mark.parametrize("opset", [7, 14, 20, NEWEST])
@pytest.mark.parametrize("node", each(RECTIFIERS))
def test_a_positive_scale_passes_a_rectifier(node: str, opset: int) -> None:
    model = normalized(node, opset=opset, **scaling(), **SLOPES)
    check_fold(model, leaves=["Conv", node.split()[2].split("(")[0]], **runner(opset))


def test_a_zero_scale_passes_a_relu() -> None:
    model = normalized("d = Relu(c)", **{**scaling(), "scale": np.array([1, 0, 2, 0], np.float32)})
    check_fold(model, leaves=["Conv", "Relu"])


@pytest.mark.parametrize("node", each(RECTIFIERS))
def test_a_negative_scale_does_not_pass_a_rectifier(node: str) -> None:
    mixed = scaling()["scale"] * np.array([1, 1, -1, 1], np.float32)
    assert refusal(normalized(node, **{**scaling(), "scale": mixed}, **SLOPES)).code == "negative-scale"


@pytest.mark.parametrize("node", each(RECTIFIERS))
def test_a_shift_does_not_pass_a_rectifier(node: str) -> None:
    assert refusal(normalized(node, **stats(positive=True), **SLOPES)).code == "shift"


# --- Clip ---

MINIMUM: dict[str, Any]
MAXIMUM: dict[str, Any]
MINIMUM, MAXIMUM = {"lo": np.float32(-0.5)}, {"hi": np.float32(1.5)}
CLIPS = {
    "both bounds": ["Clip(c, lo, hi)", MINIMUM | MAXIMUM],
    "min only": ["Clip(c, lo)", MINIMUM],
    "max only": ['Clip(c, "", hi)', MAXIMUM],
    "no bound": ["Clip(c)", {}],
    "no bound, said so": ['Clip(c, "", "")', {}],
    "min beyond all numbers": ["Clip(c, lo, hi)", {"lo": np.float32(-LARGEST)} | MAXIMUM],
    "max beyond all numbers": ["Clip(c, lo, hi)", MINIMUM | {"hi": np.float32(LARGEST)}],
    "infinite bounds": ["Clip(c, lo, hi)", {"lo": np.float32(-np.inf), "hi": np.float32(np.inf)}],
}
MAPS = {"scale": (2.0, 0.0), "scale and shift": (0.5, -3.0), "negative scale": (-2.0, 0.0), "both": (-1.5, 0.25)}
maps = pytest.mark.parametrize(("scale", "shift"), each(MAPS))


@maps
@pytest.mark.parametrize("opset", [11, 12, 13, 20, NEWEST])
@pytest.mark.parametrize(("clip", "bounds"), each(CLIPS))
def test_a_clip_with_bounds_as_inputs_moves_them(
    clip: str, bounds: dict[str, Any], opset: int, scale: float, shift: float
) -> None:
    model = clipped(clip, scale, shift, opset=opset, **bounds)
    run = run_ort if opset <= 22 else run_reference
    check_fold(model, leaves=["Conv", "Clip"], run=run)


CLIP_ATTRIBUTES = {
    "both bounds": ["Clip <min = -0.5, max = 1.5> (c)"],
    "min only": ["Clip <min = -0.5> (c)"],
    "max only": ["Clip <max = 1.5> (c)"],
    "no bound": ["Clip(c)"],
}


@maps
@pytest.mark.parametrize("opset", [7, 10])
@pytest.mark.parametrize("clip", each(CLIP_ATTRIBUTES))
def test_a_clip_with_bounds_as_attributes_moves_them(clip: str, opset: int, scale: float, shift: float) -> None:
    check_fold(clipped(clip, scale, shift, opset=opset), leaves=["Conv", "Clip"])


def bounds_of(model: ModelProto) -> list[Array | None]:
    (clip,) = (node for node in model.graph.node if node.op_type == "Clip")
    constants: dict[str, Any] = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return [constants.get(name) for name in (*clip.input, "", "")[1:3]]


def test_a_negative_scale_swaps_the_bounds_of_a_clip() -> None:
    both = check_fold(clipped("Clip(c, lo, hi)", -2.0, 1.0, **MINIMUM, **MAXIMUM)).model
    assert bounds_of(both) == [-2.0, 2.0]
    one = check_fold(clipped("Clip(c, lo)", -2.0, 1.0, **MINIMUM)).model
    assert bounds_of(one) == [None, 2.0]


@pytest.mark.parametrize("opset", [11, 20])
def test_a_new_bound_of_a_clip_is_a_scalar(opset: int) -> None:
    (_, upper) = bounds_of(bnfold.fold(clipped("Clip(c, lo)", -2.0, 1.0, opset=opset, **MINIMUM)).model)
    assert upper is not None
    assert upper.shape == ()


def test_a_bound_beyond_all_numbers_does_not_become_one_that_clips() -> None:
    folded = check_fold(
        clipped("Clip(c, lo, hi)", 0.5, lo=np.float32(-LARGEST), hi=np.float32(LARGEST)), exact_reference=False
    ).model
    assert bounds_of(folded) == [None, None]


@pytest.mark.parametrize(("scale", "given"), [(0.5, "min"), (-0.5, "max")])
def test_a_bound_that_a_clip_does_not_state_stays_unstated(scale: float, given: str) -> None:
    folded = check_fold(clipped("Clip <min = -0.5> (c)", scale, opset=10)).model
    (clip,) = (node for node in folded.graph.node if node.op_type == "Clip")
    assert [attribute.name for attribute in clip.attribute] == [given]


def test_a_bound_shared_by_two_clips_stays_for_the_other() -> None:
    body = (
        "(float[2, 3, 5, 5] x) => (float[i, j, k, l] y, float[m, n, o, p] z) "
        "{ c = Conv(x, w) d = Clip(c, lo, hi) y = Mul(d, a) z = Clip(x, lo, hi) }"
    )
    constants: dict[str, Any] = {"w": normal(C, 3, 3, 3), "a": np.float32(2), **MINIMUM, **MAXIMUM}
    check_fold(graph_model(body, **constants), leaves=["Conv", "Clip", "Clip"])


def test_a_zero_scale_does_not_pass_a_clip() -> None:
    assert codes(clipped("Clip(c, lo, hi)", 0.0, 1.0, **MINIMUM, **MAXIMUM)) == {"zero-scale"}


def test_nothing_passes_a_clip_whose_bound_is_computed() -> None:
    model = clipped("Clip(c, lo, hi)", 2.0, 1.0, more=", float lo", **MAXIMUM)
    assert codes(model) == {"dynamic-bounds"}


@pytest.mark.parametrize(
    ("opset", "clip"), [(7, "Clip <min = 1.5, max = -0.5> (c)"), (20, "Clip(c, hi, lo)")], ids=["attributes", "inputs"]
)
def test_a_clip_with_its_bounds_in_the_wrong_order_is_left_alone(opset: int, clip: str) -> None:
    bounds = MINIMUM | MAXIMUM if opset == 20 else {}
    assert codes(clipped(clip, 2.0, 1.0, opset=opset, **bounds)) == {"malformed"}


PER_CHANNEL = {
    "shift": [np.ones(C, np.float32), "shift"],
    "scale": [normal(C), "not-uniform"],
}


@pytest.mark.parametrize(("scale", "code"), each(PER_CHANNEL))
@pytest.mark.parametrize(("opset", "clip"), [(10, "Clip <min = -0.5> (c)"), (20, "Clip(c, lo)")], ids=["10", "20"])
def test_an_affine_that_differs_between_channels_does_not_pass_a_clip(
    opset: int, clip: str, scale: Array, code: str
) -> None:
    ones = np.ones(C, np.float32)
    model = normalized(
        f"d = {clip}", opset=opset, lo=np.float32(-0.5), **{**stats(), "scale": scale, "var": ones, "mean": PLAIN}
    )
    check_fold(model, leaves=["Conv", "Clip", "BatchNormalization"], kept=[code], exact_reference=False)


# --- Cast ---

CASTS = {
    "float16 and back": ["float", "p = Cast <to = 10> (c) d = Cast <to = 1> (p)", 2],
    "to float16": ["float16", "d = Cast <to = 10> (c)", 1],
    "to double": ["double", "d = Cast <to = 11> (c)", 1],
    "double and back": ["float", "p = Cast <to = 11> (c) d = Cast <to = 1> (p)", 2],
    "to its own type": ["float", "d = Cast <to = 1> (c)", 0],
}
KINDS = {"float": np.float32, "float16": np.float16, "double": np.float64}


@pytest.mark.parametrize(("out", "nodes", "remarks"), each(CASTS))
def test_an_affine_passes_casts_between_floats_and_a_remark_says_so(out: str, nodes: str, remarks: int) -> None:
    parameters = stats(dtype=KINDS[out])
    result = check_fold(normalized(nodes, out=out, **parameters), leaves=["Conv", *["Cast"] * nodes.count("Cast")])
    assert len(result.remarks) == remarks
    assert all("folded through Cast" in remark for remark in result.remarks)


def test_a_cast_of_opset_5_names_its_type_and_is_passed_too() -> None:
    model = normalized('d = Cast <to = "DOUBLE"> (c)', opset=5, out="double", **stats(dtype=np.float64))
    # onnx.reference takes `to` as a number only, and onnxruntime has no BatchNormalization this old
    assert op_types(bnfold.fold(model).model) == ["Conv", "Cast"]


def test_nothing_passes_casts_to_integers_and_back() -> None:
    assert refusal(normalized("p = Cast <to = 7> (c) d = Cast <to = 1> (p)")).code == "type"


# --- Barriers ---

BARRIERS = {
    "Sigmoid": ["d = Sigmoid(c)"],
    "Tanh": ["d = Tanh(c)"],
    "Softmax": ["d = Softmax <axis = 1> (c)"],
    "Elu": ["d = Elu(c)"],
    "Mul of two activations": ["e = Sigmoid(c) f = Tanh(x) g = ReduceMean(f) d = Mul(e, g)"],
    "quantization": ["q = QuantizeLinear(c, step) d = DequantizeLinear(q, step)"],
}


@pytest.mark.parametrize("nodes", each(BARRIERS))
def test_nothing_passes_an_operator_that_is_not_affine(nodes: str) -> None:
    assert refusal(normalized(nodes, step=np.float32(0.25))).code == "barrier"


def test_a_relu_that_two_read_stops_even_a_scale() -> None:
    body = (
        "(float[2, 3, 5, 5] x) => (float[i, j, k, l] y, float[m, n, o, p] z) "
        "{ c = Conv(x, w) d = Relu(c) y = BatchNormalization (d, scale, shift, mean, var) z = Tanh(d) }"
    )
    assert refusal(graph_model(body, w=normal(C, 3, 3, 3), **scaling())).code == "several-readers"
