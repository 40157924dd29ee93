"""Conv, ConvTranspose, Gemm and MatMul take the affine behind them into their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import check_fold, graph_model, normal, refusal, run_ort, run_reference, statistics

import bnfold

NEWEST = onnx.defs.onnx_opset_version()
VERSIONS = sorted({6, 7, 9, 11, 13, 20, 22, NEWEST})
NORMALIZE = "BatchNormalization({}, scale, shift, mean, var)"


def stats(channels: int = 4, **options: Any) -> dict[str, Any]:
    return dict(zip(("scale", "shift", "mean", "var"), statistics(channels, **options), strict=True))


def each(cases: Mapping[str, Sequence[Any]]) -> list[Any]:
    return [pytest.param(*case, id=name) for name, case in cases.items()]


def dims(shape: Sequence[int | str]) -> str:
    return "float[" + ", ".join(map(str, shape)) + "]"


def unknown(rank: int) -> str:
    return dims([f"d{axis}" for axis in range(rank)])


def convolution(
    op: str, x: Sequence[int], w: Sequence[int], attributes: str = "", *, bias: int = 0, opset: int = 20
) -> ModelProto:
    """A convolution, then a BatchNormalization over its four output channels."""
    constants: dict[str, Any] = {"w": normal(*w), **({"b": normal(bias)} if bias else {}), **stats()}
    normalize = NORMALIZE if opset >= 7 else NORMALIZE.replace("(", "<is_test = 1>(", 1)
    head = (
        f"c = {op} <{attributes}> (x, w{', b' if bias else ''})"
        if attributes
        else f"c = {op}(x, w{', b' * bool(bias)})"
    )
    return graph_model(
        f"({dims(x)} x) => ({unknown(len(x))} y) {{ {head} y = {normalize.format('c')} }}", opset=opset, **constants
    )


def reading(body: str, *, opset: int = 20, **constants: npt.ArrayLike) -> ModelProto:
    """`c` of the body, normalized."""
    return graph_model(f"{body} y = {NORMALIZE.format('c')} }}", opset=opset, **{**stats(), **constants})


def codes(result: bnfold.FoldResult) -> list[str]:
    """Why each affine that stays does, Mul and Add among them."""
    return [outcome.refusal.code for outcome in result.plan.outcomes if outcome.refusal]


def check_opset(model: ModelProto, opset: int, leaves: Sequence[str]) -> None:
    """onnxruntime has no BatchNormalization before opset 7, and may not know the newest opset.

    onnx.reference evaluates BatchNormalization 7 to 13 wrongly (as in training, or not at all).
    """
    run = run_ort if 7 <= opset <= 22 else run_reference
    check_fold(model, leaves=leaves, run=run)


def initializers(model: ModelProto) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


# --- Conv ---

CONVS = {
    "1-D": ([2, 3, 9], [4, 3, 3]),
    "2-D": ([2, 3, 7, 6], [4, 3, 3, 2]),
    "3-D": ([1, 2, 5, 4, 6], [4, 2, 3, 2, 1]),
    "grouped": ([1, 6, 5, 5], [4, 3, 3, 3], "group = 2"),
    "depthwise": ([1, 4, 5, 5], [4, 1, 3, 3], "group = 4"),
    "depthwise, two outputs per channel": ([1, 2, 5, 5], [4, 1, 3, 3], "group = 2"),
    "dilated": ([1, 3, 9, 9], [4, 3, 3, 3], "dilations = [2, 3]"),
    "strided": ([1, 3, 9, 9], [4, 3, 3, 3], "strides = [2, 3]"),
    "padded": ([1, 3, 6, 6], [4, 3, 3, 3], "pads = [1, 0, 2, 1]"),
    "auto_pad VALID": ([1, 3, 6, 6], [4, 3, 3, 3], 'auto_pad = "VALID"'),
    "auto_pad SAME_UPPER": ([1, 3, 6, 6], [4, 3, 2, 2], 'auto_pad = "SAME_UPPER"'),
    "auto_pad SAME_LOWER": ([1, 3, 6, 6], [4, 3, 2, 2], 'auto_pad = "SAME_LOWER"'),
    "auto_pad NOTSET with pads": ([1, 3, 6, 6], [4, 3, 3, 3], 'auto_pad = "NOTSET", pads = [1, 1, 1, 1]'),
}


@pytest.mark.parametrize("bias", [0, 4], ids=["no bias", "bias"])
@pytest.mark.parametrize("case", each({name: [case] for name, case in CONVS.items()}))
def test_a_conv_takes_the_batch_normalization_behind_it(case: tuple[Any, ...], bias: int) -> None:
    check_fold(convolution("Conv", *case, bias=bias), leaves=["Conv"])


@pytest.mark.parametrize("bias", [0, 4], ids=["no bias", "bias"])
@pytest.mark.parametrize("opset", VERSIONS)
def test_a_conv_folds_in_every_opset(opset: int, bias: int) -> None:
    check_opset(convolution("Conv", [2, 3, 5, 5], [4, 3, 3, 3], bias=bias, opset=opset), opset, ["Conv"])


def test_an_optional_bias_written_as_an_empty_string_is_none() -> None:
    model = reading('(float[1, 3, 5, 5] x) => (float[a, b, c, d] y) { c = Conv(x, w, "")', w=normal(4, 3, 3, 3))
    folded = check_fold(model, leaves=["Conv"]).model
    assert len(folded.graph.node[0].input) == 3
    assert folded.graph.node[0].input[2]


@pytest.mark.parametrize(
    "signs", each({"all negative": [[-1, -1, -1, -1]], "mixed": [[1, -1, 1, -1]], "dead channels": [[0, 1, 0, -1]]})
)
def test_a_conv_takes_scales_of_any_sign(signs: list[int]) -> None:
    scale = np.array(signs, np.float32) * np.array([0.5, 1.0, 1.5, 2.0], np.float32)
    model = reading(
        "(float[1, 3, 5, 5] x) => (float[a, b, c, d] y) { c = Conv(x, w)", w=normal(4, 3, 3, 3), scale=scale
    )
    check_fold(model, leaves=["Conv"])


def test_a_conv_gets_no_bias_where_the_affine_has_no_shift() -> None:
    zero = np.zeros(4, np.float32)
    model = reading(
        "(float[1, 3, 5, 5] x) => (float[a, b, c, d] y) { c = Conv(x, w)", w=normal(4, 3, 3, 3), shift=zero, mean=zero
    )
    assert len(check_fold(model, leaves=["Conv"]).model.graph.node[0].input) == 2


K = normal(4, 3, 3, 2)
LITERAL = "float[4, 3, 3, 2] {" + ", ".join(repr(float(value)) for value in K.ravel()) + "}"
SHAPE = np.array(K.shape)
WEIGHTS: dict[str, tuple[str, dict[str, Any]]] = {
    "initializer": ("", {"w": K}),
    "Constant": (f"w = Constant <value = {LITERAL}> ()", {}),
    "ConstantOfShape": ("w = ConstantOfShape <value = float[1] {0.5}> (n)", {"n": SHAPE}),
    "Identity": ("w = Identity(k)", {"k": K}),
    "Cast": ("w = Cast <to = 1> (k)", {"k": K.astype(np.float64)}),
    "Reshape": ("w = Reshape(k, n)", {"k": K.reshape(12, 6), "n": SHAPE}),
    "Transpose": ("w = Transpose <perm = [3, 2, 0, 1]> (k)", {"k": K.transpose(2, 3, 1, 0).copy()}),
    "Unsqueeze": ("w = Unsqueeze(k, n)", {"k": K[..., 0].copy(), "n": np.array([-1])}),
    "Squeeze": ("w = Squeeze(k, n)", {"k": K[None], "n": np.array([0])}),
    "Expand": ("w = Expand(k, n)", {"k": K[:, :1].copy(), "n": SHAPE}),
    "a chain": ("i = Identity(k) r = Reshape(i, n) w = CastLike(r, scale)", {"k": K.reshape(-1), "n": SHAPE}),
}


@pytest.mark.parametrize(("nodes", "constants"), each(WEIGHTS))
def test_a_weight_may_be_any_constant_expression(nodes: str, constants: dict[str, Any]) -> None:
    body = f"(float[1, 3, 5, 5] x) => (float[a, b, c, d] y) {{ {nodes} c = Conv(x, w)"
    check_fold(reading(body, **constants), leaves=["Conv"])


@pytest.mark.parametrize("like", ["x", "w"])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_a_bias_that_torch_casts_and_expands_is_a_constant(op: str, like: str) -> None:
    nodes = f"n = Shape <start = 0, end = 1> (w) h = CastLike(half, {like}) b = Expand(h, n) c = {op}(x, w, b)"
    body = f"(float[1, 4, 5, 5] x) => (float[a, b, c, d] y) {{ {nodes}"
    check_fold(reading(body, w=normal(4, 4, 3, 3), half=np.float32(0.5)), leaves=[op])


DYNAMIC = {
    "weight": ["float[4, 3, 3, 3] w", "x, w", "dynamic-weight"],
    "bias": ["float[4] b", "x, v, b", "dynamic-bias"],
}


@pytest.mark.parametrize(("entry", "inputs", "code"), each(DYNAMIC))
def test_a_conv_with_a_weight_or_bias_fed_by_the_caller_keeps_its_batch_normalization(
    entry: str, inputs: str, code: str
) -> None:
    body = f"(float[1, 3, 5, 5] x, {entry}) => (float[a, b, c, d] y) {{ c = Conv({inputs})"
    assert refusal(reading(body, v=normal(4, 3, 3, 3))).code == code


def test_an_initializer_that_a_caller_may_override_is_no_constant_until_frozen() -> None:
    body = "(float[1, 3, 5, 5] x, float[4, 3, 3, 3] w) => (float[a, b, c, d] y) { c = Conv(x, w)"
    model = reading(body, w=normal(4, 3, 3, 3))
    kept = refusal(model)
    assert kept.code == "overridable"
    assert "--freeze-initializers" in kept.reason
    assert codes(bnfold.fold(model, freeze_initializers=True)) == []


TWO_CONVS = "(float[1, 3, 5, 5] x) => (float[a, b, c, d] y, float[e, f, g, h] z) { c = Conv(x, w, b) d = Conv(x, w, b)"
TAKEN_TWICE = {
    "one Conv is normalized": [f"y = {NORMALIZE.format('c')} z = Relu(d)", ["Conv", "Conv", "Relu"], True],
    "both are": [
        f"y = {NORMALIZE.format('c')} z = BatchNormalization(d, shift, scale, mean, var)",
        ["Conv", "Conv"],
        False,
    ],
}


@pytest.mark.parametrize(("tail", "leaves", "original_stays"), each(TAKEN_TWICE))
def test_a_shared_weight_and_bias_are_cloned(tail: str, leaves: list[str], original_stays: bool) -> None:
    weight, bias = normal(4, 3, 3, 3), normal(4)
    model = graph_model(f"{TWO_CONVS} {tail} }}", w=weight, b=bias, **stats())
    folded = check_fold(model, leaves=leaves).model
    constants = initializers(folded)
    assert len(constants) == 4
    assert (folded.graph.node[1].input[1:] == ["w", "b"]) is original_stays
    assert ("w" in constants and np.array_equal(constants["w"], weight)) is original_stays
    assert ("b" in constants and np.array_equal(constants["b"], bias)) is original_stays


def test_a_weight_that_is_a_graph_output_keeps_its_numbers_for_the_caller() -> None:
    weight = normal(4, 3, 3, 3)
    body = "(float[1, 3, 5, 5] x) => (float[a, b, c, d] y, float[4, 3, 3, 3] w) { c = Conv(x, w)"
    folded = check_fold(reading(body, w=weight), leaves=["Conv"]).model
    assert np.array_equal(initializers(folded)["w"], weight)


def test_a_bias_shared_with_another_operator_keeps_its_numbers_for_it() -> None:
    bias = normal(4)
    body = "(float[1, 3, 5, 5] x) => (float[a, b, c, d] y, float[4] z) { z = Relu(b) c = Conv(x, w, b)"
    folded = check_fold(reading(body, w=normal(4, 3, 3, 3), b=bias), leaves=["Relu", "Conv"]).model
    assert np.array_equal(initializers(folded)["b"], bias)


def test_a_conv_that_reads_one_vector_as_weight_and_bias_gets_two() -> None:
    body = "(float[1, 1, 5] x) => (float[a, b, c] y) { w = Reshape(k, n) c = Conv(x, w, k)"
    model = reading(body, k=normal(4), n=np.array([4, 1, 1]))
    check_fold(model, leaves=["Conv"])


def test_channels_on_another_axis_than_the_convs_stay() -> None:
    body = "(float[1, 3, 6, 5] x) => (float[a, b, c, d] y) { p = Conv(x, w) c = Transpose <perm = [0, 2, 1, 3]> (p)"
    assert refusal(reading(body, w=normal(3, 3, 3, 3))).code == "axis"


def test_an_affine_over_the_width_stays_behind_a_conv() -> None:
    body = "(float[1, 3, 6, 6] x) => (float[a, b, c, d] y) { c = Conv(x, w) y = Mul(c, f) }"
    result = check_fold(graph_model(body, w=normal(4, 3, 3, 3), f=normal(4)), leaves=["Conv", "Mul"])
    assert codes(result) == ["axis"]


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_another_number_of_channels_than_the_operators_is_refused(op: str) -> None:
    # no runtime takes this model, so nothing can be run
    shape = [6, 6, 1, 1] if op.startswith("Conv") else [6, 6]
    model = reading(f"({dims(shape)} x) => ({unknown(len(shape))} y) {{ c = {op}(x, w)", w=normal(*shape))
    result = bnfold.fold(model)
    assert codes(result) == ["malformed"]
    assert result.model == model


# --- ConvTranspose ---

CONV_TRANSPOSES = {
    "1-D": ([2, 3, 7], [3, 4, 3]),
    "2-D": ([2, 3, 4, 5], [3, 4, 3, 2]),
    "3-D": ([1, 2, 3, 4, 3], [2, 4, 2, 3, 1]),
    "two groups": ([1, 6, 4, 4], [6, 2, 3, 3], "group = 2"),
    "four groups, one output each": ([1, 8, 4, 4], [8, 1, 3, 3], "group = 4"),
    "depthwise": ([1, 4, 4, 4], [4, 1, 3, 3], "group = 4"),
    "two groups, 1-D": ([1, 4, 4], [4, 2, 3], "group = 2"),
    "two groups, 3-D": ([1, 4, 2, 3, 2], [4, 2, 2, 2, 2], "group = 2"),
    "strided, output_padding": ([1, 3, 4, 4], [3, 4, 3, 3], "strides = [2, 3], output_padding = [1, 2]"),
    "dilated": ([1, 3, 4, 4], [3, 4, 3, 3], "dilations = [2, 3]"),
    "padded": ([1, 3, 4, 4], [3, 4, 3, 3], "pads = [1, 0, 2, 1]"),
    "output_shape": ([1, 3, 4, 4], [3, 4, 3, 3], "strides = [2, 2], output_shape = [8, 8]"),
    "auto_pad SAME_UPPER": ([1, 3, 4, 4], [3, 4, 3, 3], 'strides = [2, 2], auto_pad = "SAME_UPPER"'),
    "auto_pad SAME_LOWER": ([1, 3, 4, 4], [3, 4, 3, 3], 'strides = [2, 2], auto_pad = "SAME_LOWER"'),
}


@pytest.mark.parametrize("bias", [0, 4], ids=["no bias", "bias"])
@pytest.mark.parametrize("case", each({name: [case] for name, case in CONV_TRANSPOSES.items()}))
def test_a_conv_transpose_takes_the_batch_normalization_behind_it(case: tuple[Any, ...], bias: int) -> None:
    # onnx.reference fails on groups of several channels, and on output_shape
    in_reference = not any(word in str(case) for word in ("group", "output_shape"))
    check_fold(convolution("ConvTranspose", *case, bias=bias), leaves=["ConvTranspose"], exact_reference=in_reference)


@pytest.mark.parametrize("opset", VERSIONS)
def test_a_conv_transpose_folds_in_every_opset(opset: int) -> None:
    model = convolution("ConvTranspose", [1, 6, 4, 4], [6, 4, 3, 3], bias=4, opset=opset)
    check_opset(model, opset, ["ConvTranspose"])


def test_a_conv_transpose_scales_the_output_channels_of_each_group() -> None:
    model = convolution("ConvTranspose", [1, 6, 4, 4], [6, 2, 3, 3], "group = 2")
    folded = initializers(check_fold(model, leaves=["ConvTranspose"], exact_reference=False).model)["w"]
    scale, _, _, variance = (values.astype(np.float64) for values in statistics(4))
    a = scale / np.sqrt(variance + 1e-5)
    # rows 0 to 2 make channels 0 and 1, rows 3 to 5 channels 2 and 3
    factors = np.array([a[:2]] * 3 + [a[2:]] * 3)[:, :, None, None]
    np.testing.assert_allclose(folded, normal(6, 2, 3, 3) * factors, rtol=1e-6)


# --- Gemm ---

M, N, DEPTH = 5, 4, 3
ADDENDS: dict[str, tuple[int, ...] | None] = {
    "no C": None,
    "scalar C": (),
    "C [1]": (1,),
    "C [N]": (N,),
    "C [1, N]": (1, N),
    "C [M, 1]": (M, 1),
    "C [M, N]": (M, N),
}
TRANSPOSED = pytest.mark.parametrize(
    ("trans_a", "trans_b"), [(0, 0), (0, 1), (1, 0), (1, 1)], ids=["AB", "AB'", "A'B", "A'B'"]
)
FACTORS = [(alpha, beta) for alpha in (1.0, 0.5, 0.0) for beta in (1.0, 0.5, 0.0)]


def gemm(
    trans_a: int, trans_b: int, factors: tuple[float, float] = (1.0, 1.0), addend: str = "", more: str = ""
) -> str:
    attributes = f"alpha = {factors[0]}, beta = {factors[1]}, transA = {trans_a}, transB = {trans_b} {more}"
    return f"Gemm <{attributes}> (a, b{addend})"


@pytest.mark.parametrize("shape", ADDENDS.values(), ids=ADDENDS)
@TRANSPOSED
@pytest.mark.parametrize("factors", FACTORS, ids=lambda pair: f"alpha={pair[0]} beta={pair[1]}")
def test_a_gemm_takes_the_batch_normalization_of_its_columns(
    factors: tuple[float, float], trans_a: int, trans_b: int, shape: tuple[int, ...] | None
) -> None:
    a = dims((DEPTH, M) if trans_a else (M, DEPTH))
    addend: dict[str, Any] = {} if shape is None else {"k": normal(*shape)}
    body = f"({a} a) => (float[m, n] y) {{ c = {gemm(trans_a, trans_b, factors, ', k' * len(addend))}"
    check_fold(reading(body, b=normal(N, DEPTH) if trans_b else normal(DEPTH, N), **addend), leaves=["Gemm"])


@pytest.mark.parametrize("shape", ADDENDS.values(), ids=ADDENDS)
@TRANSPOSED
@pytest.mark.parametrize("factors", FACTORS, ids=lambda pair: f"alpha={pair[0]} beta={pair[1]}")
def test_a_gemm_whose_left_matrix_is_constant_takes_an_affine_over_rows(
    factors: tuple[float, float], trans_a: int, trans_b: int, shape: tuple[int, ...] | None
) -> None:
    b = dims((N, DEPTH) if trans_b else (DEPTH, N))
    addend: dict[str, Any] = {} if shape is None else {"k": normal(*shape)}
    product = gemm(trans_a, trans_b, factors, ", k" * len(addend))
    body = f"({b} b) => (float[m, n] y) {{ c = {product} d = Mul(c, s) y = Add(t, d) }}"
    constants: dict[str, Any] = {
        "a": normal(DEPTH, M) if trans_a else normal(M, DEPTH),
        "s": normal(M, 1),
        "t": normal(M, 1, seed=1),
    }
    check_fold(graph_model(body, **constants, **addend), leaves=["Gemm"])


@pytest.mark.parametrize("opset", VERSIONS)
@pytest.mark.parametrize("shape", [(N,), (1, N), (M, N)], ids=["C [N]", "C [1, N]", "C [M, N]"])
def test_a_gemm_folds_in_every_opset(opset: int, shape: tuple[int, ...]) -> None:
    broadcast = "" if opset >= 7 or shape == (M, N) else ", broadcast = 1"
    normalize = NORMALIZE if opset >= 7 else NORMALIZE.replace("(", "<is_test = 1>(", 1)
    head = gemm(0, 0, addend=", k", more=broadcast)
    body = f"(float[{M}, {DEPTH}] a) => (float[m, n] y) {{ c = {head} y = {normalize.format('c')} }}"
    model = graph_model(body, opset=opset, b=normal(DEPTH, N), k=normal(*shape), **stats())
    check_opset(model, opset, ["Gemm"])


@pytest.mark.parametrize("opset", [11, 13, 20])
def test_a_gemm_without_c_gets_one(opset: int) -> None:
    body = f"(float[{M}, {DEPTH}] a) => (float[m, n] y) {{ c = {gemm(0, 0)}"
    check_opset(reading(body, opset=opset, b=normal(DEPTH, N)), opset, ["Gemm"])


MOVING = {
    "C [M, N]": [f"float[{M}, 2] u", "Gemm(u, v)", ["Gemm", "Gemm"]],
    "C [1, N]": ["float[1, 2] u", "Gemm(u, v)", ["Gemm", "Gemm"]],
    "C [N]": ["float[2] u", "MatMul(u, v)", ["MatMul", "Add", "Gemm"]],
}


@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize(("entry", "addend", "leaves"), each(MOVING))
def test_the_map_moves_onto_a_c_that_is_computed(entry: str, addend: str, leaves: list[str], beta: float) -> None:
    body = f"(float[{M}, {DEPTH}] a, {entry}) => (float[m, n] y) {{ k = {addend} c = {gemm(0, 0, (0.5, beta), ', k')}"
    check_fold(reading(body, b=normal(DEPTH, N), v=normal(2, N)), leaves=leaves)


@pytest.mark.parametrize("shape", [(), (1,), (M, 1)], ids=["scalar C", "C [1]", "C [M, 1]"])
def test_a_computed_c_that_is_broadcast_along_the_channels_can_not_take_the_map(shape: tuple[int, ...]) -> None:
    head = gemm(0, 0, addend=", k")
    body = f"(float[{M}, {DEPTH}] a, {dims(shape)} u) => (float[m, n] y) {{ k = Relu(u) c = {head}"
    assert refusal(reading(body, b=normal(DEPTH, N))).code == "dynamic-bias"


def test_a_uniform_affine_moves_onto_a_computed_scalar_c() -> None:
    head = gemm(0, 0, (1.0, 0.5), ", k")
    nodes = f"k = Mul(u, half) c = {head} d = Mul(c, half) y = Add(d, half)"
    body = f"(float[{M}, {DEPTH}] a, float[1] u) => (float[m, n] y) {{ {nodes} }}"
    # u is an input, and nothing in front of it takes the map: what stays stands on the one number
    result = check_fold(graph_model(body, b=normal(DEPTH, N), half=np.float32(0.5)), leaves=["Mul", "Add", "Gemm"])
    assert set(codes(result)) == {"graph-input"}
    assert [entry.left for entry in result.settled] == [("Mul -> k.scaled", "Add -> k")]


@pytest.mark.parametrize("shape", [(N,), (M, 1), (M, N)], ids=["C [N]", "C [M, 1]", "C [M, N]"])
def test_a_computed_c_times_zero_does_not_stand_in_the_way(shape: tuple[int, ...]) -> None:
    head = gemm(0, 0, (1.0, 0.0), ", u")
    body = f"(float[{M}, {DEPTH}] a, {dims(shape)} u) => (float[m, n] y) {{ c = {head}"
    check_fold(reading(body, b=normal(DEPTH, N)), leaves=["Gemm"])


def test_a_gemm_before_opset_7_whose_new_c_is_smaller_broadcasts_it() -> None:
    # onnx.reference ignores beta here, and onnxruntime has no Gemm this old
    head = gemm(0, 0, (1.0, 0.0), ", k")
    body = f"(float[{M}, {DEPTH}] a) => (float[m, n] y) {{ c = {head} y = BatchNormalization <is_test = 1> "
    constants: dict[str, Any] = {"b": normal(DEPTH, N), "k": normal(M, N), **stats()}
    folded = bnfold.fold(graph_model(body + "(c, scale, shift, mean, var) }", opset=6, **constants)).model
    (node,) = folded.graph.node
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert (attributes["beta"], attributes["broadcast"]) == (1.0, 1)
    assert initializers(folded)[node.input[2]].shape == (N,)


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_uniform_affine_goes_into_whichever_matrix_is_constant(side: str) -> None:
    entry, shape = {"a": ("float[3, 4] b", (5, 3)), "b": ("float[5, 3] a", (3, 4))}[side]
    constants: dict[str, Any] = {side: normal(*shape), "half": np.float32(0.5)}
    body = f"({entry}) => (float[m, n] y) {{ c = {gemm(0, 0)} d = Mul(c, half) y = Add(d, half) }}"
    check_fold(graph_model(body, **constants), leaves=["Gemm"])


@pytest.mark.parametrize(("a", "b"), [((M, DEPTH), None), (None, (DEPTH, N))], ids=["A", "B"])
def test_an_affine_along_the_dynamic_matrix_of_a_gemm_stays(
    a: tuple[int, int] | None, b: tuple[int, int] | None
) -> None:
    entry = f"{dims((M, DEPTH))} a" if a is None else f"{dims((DEPTH, N))} b"
    constants: dict[str, Any] = {"a": normal(*a)} if a else {"b": normal(DEPTH, N)}
    factor = normal(N) if a else normal(M, 1)
    body = f"({entry}) => (float[m, n] y) {{ c = {gemm(0, 0)} y = Mul(c, f) }}"
    result = check_fold(graph_model(body, f=factor, **constants), leaves=["Gemm", "Mul"])
    assert codes(result) == ["dynamic-weight"]


# --- MatMul ---

RIGHT = {
    "2-D": ([5, 3], [3, 4]),
    "3-D": ([2, 5, 3], [3, 4]),
    "4-D": ([2, 3, 5, 3], [3, 4]),
    "a vector": ([3], [3, 4]),
    "batched constant": ([2, 5, 3], [2, 3, 4]),
    "constant broadcast over the batch": ([2, 5, 3], [1, 3, 4]),
    "constant of more axes": ([5, 3], [2, 3, 4]),
}
AFFINES: dict[str, list[Any]] = {
    "scale": ["y = Mul(c, f)", []],
    "quotient": ["y = Div(c, f)", []],
    "scale and shift": ["d = Mul(c, f) y = Add(d, g)", ["Add"]],
    "shift and scale": ["d = Sub(g, c) y = Mul(f, d)", ["Add"]],
}


@pytest.mark.parametrize(("tail", "more"), each(AFFINES))
@pytest.mark.parametrize(("x", "w"), each(RIGHT))
def test_a_matmul_takes_an_affine_of_its_columns(x: list[int], w: list[int], tail: str, more: list[str]) -> None:
    rank = max(len(x), len(w)) if len(x) > 1 else 1
    constants: dict[str, Any] = {"w": normal(*w), "f": normal(4), "g": normal(4, seed=1)}
    model = graph_model(f"({dims(x)} x) => ({unknown(rank)} y) {{ c = MatMul(x, w) {tail} }}", **constants)
    check_fold(model, leaves=["MatMul", *more])


def test_shifts_that_cancel_leave_no_add() -> None:
    body = "(float[5, 3] x) => (float[m, n] y) { c = MatMul(x, w) d = Sub(c, g) e = Mul(d, two) y = Add(e, h) }"
    g = normal(4)
    check_fold(graph_model(body, w=normal(3, 4), g=g, two=np.float32(2), h=2 * g), leaves=["MatMul"])


LEFT = {
    "2-D": ([3, 5], [4, 3]),
    "3-D": ([2, 3, 5], [4, 3]),
    "4-D": ([2, 2, 3, 5], [4, 3]),
    "batched constant": ([2, 3, 5], [2, 4, 3]),
    "constant broadcast over the batch": ([2, 3, 5], [1, 4, 3]),
}


@pytest.mark.parametrize(("tail", "more"), each(AFFINES))
@pytest.mark.parametrize(("x", "w"), each(LEFT))
def test_a_matmul_takes_an_affine_of_its_rows(x: list[int], w: list[int], tail: str, more: list[str]) -> None:
    constants: dict[str, Any] = {"w": normal(*w), "f": normal(4, 1), "g": normal(4, 1, seed=1)}
    model = graph_model(f"({dims(x)} x) => ({unknown(len(x))} y) {{ c = MatMul(w, x) {tail} }}", **constants)
    check_fold(model, leaves=["MatMul", *more])


NORMALIZED: dict[str, list[Any]] = {
    "right constant": ["float[5, 3] x", "c = MatMul(x, w)", [3, 4], None, ["MatMul", "Add"]],
    "Add": ["float[5, 3] x", "p = MatMul(x, w) c = Add(p, b)", [3, 4], [4], ["MatMul", "Add"]],
    "Add, constant first": ["float[5, 3] x", "p = MatMul(x, w) c = Add(b, p)", [3, 4], [1, 4], ["MatMul", "Add"]],
    "Add of a scalar": ["float[5, 3] x", "p = MatMul(x, w) c = Add(p, b)", [3, 4], [], ["MatMul", "Add"]],
    "left constant": ["float[2, 3, 5] x", "c = MatMul(w, x)", [4, 3], None, ["MatMul", "Add"]],
    "left constant, Add": ["float[2, 3, 5] x", "p = MatMul(w, x) c = Add(b, p)", [4, 3], [4, 1], ["MatMul", "Add"]],
    "left batched": ["float[2, 3, 5] x", "c = MatMul(w, x)", [2, 4, 3], None, ["MatMul", "Add"]],
}


@pytest.mark.parametrize(("entry", "nodes", "w", "b", "leaves"), each(NORMALIZED))
@pytest.mark.parametrize("opset", [7, 9, 13, 20, NEWEST])
def test_a_matmul_takes_the_batch_normalization_behind_it_and_its_add(
    opset: int, entry: str, nodes: str, w: list[int], b: list[int] | None, leaves: list[str]
) -> None:
    rank = entry.count(",") + 1
    constants: dict[str, Any] = {"w": normal(*w)} | ({} if b is None else {"b": normal(*b)})
    check_opset(reading(f"({entry}) => ({unknown(rank)} y) {{ {nodes}", opset=opset, **constants), opset, leaves)


def test_a_matmul_before_opset_7_gets_an_add_that_broadcasts() -> None:
    body = "(float[5, 3] x) => (float[m, n] y) { c = MatMul(x, w) y = BatchNormalization <is_test = 1> "
    model = graph_model(body + "(c, scale, shift, mean, var) }", opset=6, w=normal(3, 4), **stats())
    check_opset(model, 6, ["MatMul", "Add"])


def test_a_matmul_gets_no_add_where_the_affine_has_no_shift() -> None:
    zero = np.zeros(4, np.float32)
    model = reading("(float[5, 3] x) => (float[m, n] y) { c = MatMul(x, w)", w=normal(3, 4), shift=zero, mean=zero)
    check_fold(model, leaves=["MatMul"])


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_a_matmul_is_normalized_over_its_last_axis_between_two_transposes(bias: bool) -> None:
    product = "q = MatMul(x, w) p = Add(q, b)" if bias else "p = MatMul(x, w)"
    nodes = f"{product} c = Transpose <perm = [0, 2, 1]> (p) n = {NORMALIZE.format('c')}"
    body = f"(float[2, 5, 3] x) => (float[a, b, c] y) {{ {nodes} y = Transpose <perm = [0, 2, 1]> (n) }}"
    constants: dict[str, Any] = {"w": normal(3, 4), **stats()} | ({"b": normal(4)} if bias else {})
    check_fold(graph_model(body, **constants), leaves=["MatMul", "Add"])


@pytest.mark.parametrize("nodes", ["y = Add(c, b)", "y = Add(b, c)", "y = Sub(c, b)"])
def test_a_matmul_and_its_add_stay_as_they_are(nodes: str) -> None:
    body = f"(float[2, 5, 3] x) => (float[a, b, c] y) {{ c = MatMul(x, w) {nodes} }}"
    model = graph_model(body, w=normal(3, 4), b=normal(4))
    result = check_fold(model)
    assert not result
    assert result.model.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


STAY = {
    "time axis of the right constant": ["float[2, 4, 3] x", "c = MatMul(x, w)", [3, 5], "axis"],
    "columns of the left constant": ["float[3, 4] x", "c = MatMul(w, x)", [5, 3], "axis"],
    "batch axis of a batched constant": ["float[2, 1, 5, 3] x", "c = MatMul(x, w)", [4, 3, 2], "axis"],
    "vector on the right": ["float[2, 4, 3] x", "c = MatMul(x, w)", [3], "axis"],
    "vector on the left": ["float[2, 3, 4] x", "c = MatMul(w, x)", [3], "axis"],
}


@pytest.mark.parametrize(("entry", "nodes", "w", "code"), each(STAY))
def test_a_matmul_whose_constant_does_not_hold_the_channels_keeps_the_batch_normalization(
    entry: str, nodes: str, w: list[int], code: str
) -> None:
    model = reading(f"({entry}) => (float y) {{ {nodes}", w=normal(*w))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert refusal(model).code == code


def test_a_product_of_two_activations_keeps_its_batch_normalization() -> None:
    body = "(float[5, 3] u, float[3, 4] v) => (float[m, n] y) { c = MatMul(u, v)"
    assert refusal(reading(body)).code == "dynamic-weight"


@pytest.mark.parametrize("x", [[5, 3], [2, 5, 3]], ids=["2-D", "3-D"])
def test_a_uniform_scale_goes_into_a_vector(x: list[int]) -> None:
    body = f"({dims(x)} x) => ({unknown(len(x) - 1)} y) {{ c = MatMul(x, w) y = Mul(c, half) }}"
    check_fold(graph_model(body, w=normal(3), half=np.float32(0.5)), leaves=["MatMul"])


def test_a_product_of_two_vectors_stays_a_scalar() -> None:
    body = "(float[3] x) => (float y) { c = MatMul(x, w) d = Mul(c, half) e = Mul(d, half) y = Add(e, half) }"
    model = graph_model(body, w=normal(3), half=np.float32(0.5))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, []))
    check_fold(model, leaves=["MatMul", "Add"])
