"""The distance of two models from their graph in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from support import (
    MODELS,
    REAL_MODELS,
    feeds_for,
    graph_model,
    needs_real_models,
    normal,
    run_ort,
    statistics,
    text_model,
)

import bnfold
from bnfold.checking.doubles import Doubles
from bnfold.checking.feeding import feed
from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.checking.truth import Truth, truths
from bnfold.checking.work import work_of
from bnfold.errors import UsageError
from bnfold.runtime import CPU

REAL = [
    "burn_mnist.onnx",
    "fastai_tabular.onnx",
    "fsanet_1x1.onnx",
    "gtcrn_simple.onnx",
    "keras3_source_cnn.onnx",
    "meso4_tf2onnx.onnx",
    "nids_mlp_gemm_bn.onnx",
    "rapidocr_cls_paddle.onnx",
    "vietcombank_captcha.onnx",
]
TRANSPOSED = {"w": normal(1, 4, 2, 2)}
CHOICES: list[dict[str, Any]] = [{}, {"prefer": "no-batchnorm"}]


def measured(before: Path | ModelProto, after: Path | ModelProto) -> tuple[Truth, ...]:
    subjects, settings = (Subject(before, "the model before"), Subject(after, "the model after")), Settings()
    feeds = feed(subjects[0], subjects[0].session(), settings).feeds
    return truths(*subjects, feeds, settings, CPU)


@pytest.mark.parametrize("options", CHOICES, ids=str)
@pytest.mark.parametrize("name", sorted(path.name for path in MODELS.glob("*.onnx")))
def test_a_right_fold_of_a_shipped_model_is_no_further_from_the_truth(name: str, options: dict[str, Any]) -> None:
    for truth in measured(MODELS / name, bnfold.fold(MODELS / name, **options).model):
        assert truth.ok, truth
        assert 0 < truth.exact < truth.before, "the constants are off by less than the roundings of a run"


@needs_real_models
@pytest.mark.parametrize("options", CHOICES, ids=str)
@pytest.mark.parametrize("name", REAL)
def test_a_right_fold_of_a_real_model_is_no_further_from_the_truth(name: str, options: dict[str, Any]) -> None:
    for truth in measured(REAL_MODELS / name, bnfold.fold(REAL_MODELS / name, **options).model):
        assert truth.ok, truth
        assert truth.before < 1e-5 * truth.max_y, "the evaluation in float64 is not of this graph"


def test_a_wrong_weight_is_further_from_the_truth() -> None:
    folded = bnfold.fold(MODELS / "residual.onnx").model
    tensor = next(tensor for tensor in folded.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[np.abs(values).argmax()] *= 1 + 1e-3
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    (truth,) = measured(MODELS / "residual.onnx", folded)
    assert not truth.ok
    assert truth.exact > 2 * truth.floor


def test_a_half_precision_fold_is_no_further_from_the_truth() -> None:
    scale, shift, mean, var = statistics(8, dtype=np.float16)
    model = graph_model(
        "(float16[N, 3, 8, 8] x) => (float16[N, 8, 6, 6] y)"
        "{ c = Conv(x, w) r = BatchNormalization(c, scale, shift, mean, var) y = Relu(r) }",
        w=normal(8, 3, 3, 3, dtype=np.float16),
        scale=scale,
        shift=shift,
        mean=mean,
        var=var,
    )
    (truth,) = measured(model, bnfold.fold(model).model)
    assert truth.ok, truth
    assert truth.exact > 1e-5 * truth.max_y


def test_a_run_that_is_less_exact_than_its_constants_is_further_from_the_truth() -> None:
    """x - 1000 + 1000 is x, but for the roundings of a run."""
    before = graph_model("(float[N, 3] x) => (float[N, 3] y) { y = Identity(x) }")
    after = graph_model(
        "(float[N, 3] x) => (float[N, 3] y) { s = Sub(x, k) y = Add(s, k) }", k=np.array([1e3], np.float32)
    )
    (truth,) = measured(before, after)
    assert truth.exact < 1e-12
    assert truth.before == 0
    assert not truth.ok


EVERYTHING = """(float[2, 3, 8, 8] x) => (float[2, 4] y) {
    c = Conv<pads = [1, 1, 1, 1]>(x, w)
    n = BatchNormalization(c, scale, shift, mean, var)
    e = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(n, , factors)
    m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(e)
    half = Constant<value_float = 0.3>()
    h = Mul(m, half)
    size = Shape(h)
    fill = ConstantOfShape(size)
    f = Add(h, fill)
    k = Cast<to = 1>(f)
    p = GlobalAveragePool(k)
    y = Flatten(p)
}"""


def everything() -> ModelProto:
    scale, shift, mean, var = statistics(4)
    return graph_model(
        EVERYTHING,
        w=normal(4, 3, 3, 3),
        scale=scale,
        shift=shift,
        mean=mean,
        var=var,
        factors=np.array([1, 1, 2, 2], np.float32),
    )


def test_nothing_in_a_graph_in_double_is_rounded_to_float32() -> None:
    model = everything()
    (y,) = Doubles(Subject(model, "m")).run(feeds_for(model)).values()
    assert y.dtype == np.float64
    assert np.mean(y == y.astype(np.float32)) == 0
    np.testing.assert_allclose(y, run_ort(model, feeds_for(model))[0], rtol=1e-4, atol=1e-6)


def test_bodies_and_functions_are_in_double_too() -> None:
    model = text_model(
        """<ir_version: 8, opset_import: ["": 17, "local": 1]>
        g (bool c, float[2, 3] x) => (float[2, 3] y) {
            a = If (c) <
                then_branch = t () => (float[2, 3] u) { k = Constant<value_float = 0.1>() u = Mul(x, k) },
                else_branch = e () => (float[2, 3] v) { v = Sin(x) }
            >
            y = local.third(a)
        }
        <domain: "local", opset_import: ["": 17]>
        third (p) => (q) { k = Constant<value = float {3.0}>() r = Div(p, k) q = Cast<to = 1>(r) }"""
    )
    x = normal(2, 3)
    for c, expected in (
        (True, x.astype(np.float64) * np.float64(np.float32(0.1)) / 3),
        (False, np.sin(x, dtype=np.float64) / 3),
    ):
        (y,) = Doubles(Subject(model, "m")).run({"c": np.array(c), "x": x}).values()
        np.testing.assert_allclose(y, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("layout", "scales"),
    [
        ("axis = 0, block_size = 4", (1, 4)),
        ("axis = 1, block_size = 2", (4, 2)),
        ("axis = 1, block_size = 3", (4, 2)),
        ("axis = -2", (4,)),
        ("axis = -2, block_size = 2", (2, 4)),
    ],
)
def test_scales_in_blocks_and_along_a_negative_axis_are_laid_as_onnxruntime_lays_them(
    layout: str, scales: tuple[int, ...]
) -> None:
    model = graph_model(
        f"(float[3, 4] x) => (float[3, 4] y) {{ W = DequantizeLinear<{layout}>(Q, qs, qz) y = MatMul(x, W) }}",
        opset=21,
        Q=np.arange(16, dtype=np.int8).reshape(4, 4),
        qs=normal(*scales),
        qz=np.arange(np.prod(scales), dtype=np.int8).reshape(scales),
    )
    (truth,) = measured(model, model)
    assert truth.before < 1e-5 * truth.max_y


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a = Bernoulli(x) y = Relu(a)", "Bernoulli 'a' draws random numbers"),
        (
            "s = Constant<value = float {0.1}>() q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)",
            "QuantizeLinear 'q' rounds to integers",
        ),
        (
            'f = Constant<value = float[2] {2.0, 2.0}>() y = Resize<mode = "linear", antialias = 1>(x, , f)',
            "Resize 'y' has an attribute 'antialias'",
        ),
    ],
    ids=["random", "quantizer", "attribute"],
)
def test_what_has_no_evaluation_in_double_is_refused_by_name(body: str, message: str) -> None:
    model = graph_model(f"(float[N, M] x) => (float[A, B] y) {{ {body} }}")
    with pytest.raises(UsageError, match=message):
        measured(model, model)


def test_an_operator_that_the_evaluation_fails_in_is_named() -> None:
    model = graph_model("(float[2, 3] x) => (float[A, B] y) { a = Relu(x) y = MatMul(a, a) }")
    with pytest.raises(UsageError, match=r"onnx.reference fails in MatMul 'y' \("):
        Doubles(Subject(model, "m")).run({"x": normal(2, 3)})


def test_a_graph_that_is_too_large_is_refused_before_it_is_evaluated() -> None:
    model = graph_model(
        "(float[8, 8, 1500, 1500] x) => (float[A, B, C, D] y) { y = Conv(x, w) }", w=normal(64, 8, 3, 3)
    )
    feeds = {"x": np.broadcast_to(np.float32(0), (8, 8, 1500, 1500))}
    assert work_of(model, feeds).products == 8 * 64 * 1498 * 1498 * 72
    with pytest.raises(UsageError, match=r"the m is too large to be evaluated in float64 .* --shape"):
        truths(Subject(model, "the m"), Subject(model, "the n"), [feeds], Settings(), CPU)


@pytest.mark.parametrize(
    ("body", "constants", "products"),
    [
        ("y = MatMul(x, w)", {"w": normal(3, 5)}, 7 * 5 * 3),
        ("t = Transpose(x) y = Gemm<transA = 1>(t, w)", {"w": normal(3, 5)}, 7 * 5 * 3),
        ("y = Gemm<transB = 1>(x, w)", {"w": normal(5, 3)}, 7 * 5 * 3),
        ("a = Constant<value_ints = [0, 1]>() u = Unsqueeze(x, a) y = ConvTranspose(u, w)", TRANSPOSED, 7 * 3 * 16),
    ],
    ids=["MatMul", "transA", "transB", "ConvTranspose"],
)
def test_work_is_counted_for_the_shapes_of_the_inputs(body: str, constants: dict[str, Any], products: int) -> None:
    model = graph_model(f"(float[N, M] x) => (float y) {{ {body} }}", **constants)
    assert work_of(model, {"x": normal(7, 3)}).products == products


def test_the_check_leaves_the_model_as_it_was() -> None:
    source = everything().SerializeToString()
    subject = Subject(source, "m")
    before = subject.proto.SerializeToString()
    Doubles(subject)
    assert subject.proto.SerializeToString() == before
    assert subject.source == source


def test_a_graph_too_large_for_onnx_s_reference_is_evaluated_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is an extra of its own")
    before = MODELS / "residual.onnx"
    after = bnfold.fold(before).model
    by_reference = bnfold.check(before, after, reference="float64").truths
    monkeypatch.setattr("bnfold.checking.truth.MOST_PRODUCTS", 0)
    for one, other in zip(by_reference, bnfold.check(before, after, reference="float64").truths, strict=True):
        assert other.ok
        assert other.before == pytest.approx(one.before, rel=1e-6)
        assert other.exact == pytest.approx(one.exact, rel=1e-6)
