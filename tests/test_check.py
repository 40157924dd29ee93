"""The check, on the real onnxruntime: what has to pass, what has to be caught, and what proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from bnfold.checking import CheckReport, Comparison, Matchup, check
from bnfold.checking.statistics import difference
from bnfold.checking.subject import Subject
from bnfold.checking.tolerance import precision_of
from bnfold.errors import ModelError, UsageError

MODELS = Path(os.environ.get("BNFOLD_MODELS", Path(__file__).parents[2] / "shared" / "models"))


def text_model(graph: str) -> onnx.ModelProto:
    return parser.parse_model('<ir_version: 8, opset_import: ["": 17]> ' + graph)


def weights(dtype: type = np.float32) -> dict[str, np.ndarray]:
    """Conv(3 -> 8) - BatchNormalization - Relu - Conv(8 -> 4), as an exporter would write it."""
    rng = np.random.default_rng(7)
    draw = {
        "w1": rng.standard_normal((8, 3, 3, 3)) / 5,
        "b1": rng.standard_normal(8),
        "scale": rng.uniform(0.5, 1.5, 8) * rng.choice([-1, 1], 8),
        "shift": rng.standard_normal(8),
        "mean": rng.standard_normal(8),
        "var": rng.uniform(0.5, 2, 8),
        "w2": rng.standard_normal((4, 8, 3, 3)) / 8,
        "b2": rng.standard_normal(4),
    }
    return {name: value.astype(dtype) for name, value in draw.items()}


def cnn(values: dict[str, np.ndarray], output: str = "y") -> onnx.ModelProto:
    """The network of `weights`, with open batch and image axes; without `scale` it has no normalization."""
    kind = helper.np_dtype_to_tensor_dtype(values["w1"].dtype)
    nodes = [helper.make_node("Conv", ["x", "w1", "b1"], ["c"], pads=[1, 1, 1, 1])]
    if "scale" in values:
        nodes += [helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"])]
    nodes += [helper.make_node("Relu", [nodes[-1].output[0]], ["r"])]
    nodes += [helper.make_node("Conv", ["r", "w2", "b2"], [output])]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("x", kind, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info(output, kind, ["N", 4, None, None])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def folded(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same function with the normalization folded into w1 and b1: float64 inside, rounded once."""
    wide = {name: value.astype(np.float64) for name, value in values.items()}
    a = wide["scale"] / np.sqrt(wide["var"] + 1e-5)
    b = wide["shift"] - wide["mean"] * a
    exact = {"w1": wide["w1"] * a[:, None, None, None], "b1": wide["b1"] * a + b}
    return {name: exact.get(name, wide[name]).astype(values[name].dtype) for name in ("w1", "b1", "w2", "b2")}


def changed(name: str, edit: Callable[[np.ndarray], None]) -> dict[str, np.ndarray]:
    """The folded weights with one of them edited in place."""
    values = folded(weights())
    edit(values[name])
    return values


# What is equal


def test_a_model_equals_itself() -> None:
    report = check(cnn(weights()), cnn(weights()))
    assert report
    assert report.outputs[0].max_abs == 0
    assert report.inputs == (("x float32[2, 3, 32, 32]",), ("x float32[1, 3, 64, 96]",))
    assert report.sizes == ({"N": 2, "H": 32, "W": 32}, {"N": 1, "H": 64, "W": 96})
    assert list(report.placement_before) == list(report.placement_after) == ["CPUExecutionProvider"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_right_fold_is_no_false_alarm(dtype: type) -> None:
    for seed in range(5):
        report = check(cnn(weights(dtype)), cnn(folded(weights(dtype))), seed=seed)
        output = report.outputs[0]
        assert report, output
        assert 0 < output.max_abs < output.tolerance / 2
        assert output.cosine == pytest.approx(1)
        assert output.tolerance > 2 * output.noise


def test_paths_bytes_and_protos_are_all_models(tmp_path: Path) -> None:
    model = cnn(weights())
    onnx.save(model, tmp_path / "m.onnx")
    assert check(str(tmp_path / "m.onnx"), tmp_path / "m.onnx")
    assert check(tmp_path / "m.onnx", model.SerializeToString())


def test_a_check_repeats_itself() -> None:
    reports = [check(cnn(weights()), cnn(folded(weights())), seed=4) for _ in range(2)]
    assert reports[0].outputs == reports[1].outputs


def test_half_precision_inside_a_float32_graph_decides_the_tolerance() -> None:
    graph = "g (float[N, 3] x) => (float[N, 3] y) { h = Cast<to = 10>(x) y = Cast<to = 1>(h) }"
    assert precision_of(Subject(text_model(graph).SerializeToString(), "m")).narrowest == "float16"
    report = check(text_model(graph), text_model(graph))
    assert report
    assert "float16" in report.outputs[0].basis


def test_linear_operators_of_subgraphs_and_functions_count() -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
        g (bool c, float[2, 2] x) => (float[2, 2] y) {
            a = If (c) <
                then_branch = t () => (float[2, 2] u) { u = MatMul(x, x) },
                else_branch = e () => (float[2, 2] v) { v = Identity(x) }
            >
            y = local.twice(a)
        }
        <domain: "local", opset_import: ["": 17]> twice (p) => (q) { q = MatMul(p, p) }"""
    assert precision_of(Subject(parser.parse_model(text).SerializeToString(), "m")).linear == 2


def test_integer_inputs_to_gather_and_integer_outputs() -> None:
    table = "float[2, 3] t = {1, 2, 3, 4, 5, 6}"
    graph = f"g (int64[N] i) => (float[N, 3] y, int64[N] z) <{table}> {{ y = Gather(t, i) z = Neg(i) }}"
    report = check(text_model(graph), text_model(graph))
    assert report
    assert "equal" in report.outputs[1].basis


def test_bfloat16_and_bool_outputs() -> None:
    graph = (
        "g (bfloat16[N, 9] x, float[N, 9] w) => (bfloat16[N, 9] y, bool[N, 9] z) { y = Identity(x) z = Less(w, w1) }"
    )
    model = text_model(graph.replace("w1", "a").replace("{ y", "{ a = Neg(w) y"))
    assert check(model, model)


# What has to be caught


def one_weight(w: np.ndarray) -> None:
    w[2, 1, 0, 2] *= 1 + 1e-3


def sign(b: np.ndarray) -> None:
    b[np.argmin(abs(b))] *= -1


def swap(w: np.ndarray) -> None:
    w[[0, 1]] = w[[1, 0]]


@pytest.mark.parametrize(
    ("name", "edit"), [("w1", one_weight), ("w2", one_weight), ("b1", sign), ("b2", sign), ("w1", swap), ("w2", swap)]
)
def test_a_wrong_fold_is_caught(name: str, edit: Callable[[np.ndarray], None]) -> None:
    report = check(cnn(weights()), cnn(changed(name, edit)))
    output = report.outputs[0]
    assert not report
    assert output.vacuous is None
    assert output.needed > 2 * output.tolerance


@pytest.mark.parametrize(("name", "edit"), [("b1", sign), ("w1", swap)])
def test_a_wrong_fold_in_half_precision_is_caught(name: str, edit: Callable[[np.ndarray], None]) -> None:
    values = folded(weights(np.float16))
    edit(values[name])
    assert not check(cnn(weights(np.float16)), cnn(values))


def test_a_wider_tolerance_can_be_asked_for() -> None:
    models = cnn(weights()), cnn(changed("w1", one_weight))
    needed = check(*models).outputs[0].needed
    assert check(*models, atol=1.01 * needed)
    assert check(*models, rtol=1e-2).outputs[0].basis == "as given: 0 + 0.01 x max|y|"
    assert not check(*models, rtol=0)


def divide(numerator: str) -> onnx.ModelProto:
    """y = x, but one of its elements is numerator / 0."""
    initializers = f"float[3] top = {{0, {numerator}, 0}}, float[3] one = {{1, 0, 1}}"
    return text_model(
        f"g (float[N, 3] x) => (float[N, 3] y) <{initializers}> {{ s = Mul(x, one) a = Add(s, top) y = Div(a, one) }}"
    )


@pytest.mark.parametrize("other", ["0", "-1"])
def test_nan_or_another_infinity_in_place_of_infinity_is_caught(other: str) -> None:
    assert check(divide("1"), divide("1"))
    output = check(divide("1"), divide(other)).outputs[0]
    assert not output.nonfinite_match
    assert not output.ok
    assert output.needed == np.inf
    assert output.max_abs == 0


def test_another_shape_is_caught() -> None:
    graph = "g (float[N, 4] x) => (float[A, B] y) { y = Transpose<perm = [0, 1]>(x) }"
    output = check(text_model(graph), text_model(graph.replace("[0, 1]", "[1, 0]"))).outputs[0]
    assert not output.shape_match
    assert not output.ok


def test_an_integer_off_by_one_is_caught() -> None:
    graph = "g (int64[N] x) => (int64[N] y) <int64[1] k = {1}> { y = Add(x, k) }"
    output = check(text_model(graph), text_model(graph.replace("{1}", "{2}"))).outputs[0]
    assert output.max_abs == 1
    assert not output.ok


ONE = "g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }"
TWO = "g (float[N, 3] x) => (float[N, 3] y, float[N, 3] z) { y = Relu(x) z = Neg(x) }"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (ONE, ONE.replace(" y", " q"), "different outputs: 'y' only before and 'q' only after"),
        (ONE, ONE.replace("x)", "q)").replace("] x", "] q"), "different inputs"),
        (TWO, ONE, "different outputs"),
        (TWO, TWO.replace("float[N, 3] y, float[N, 3] z", "float[N, 3] z, float[N, 3] y"), "different outputs"),
        (ONE, ONE.replace("float", "double"), "input 'x' is float32 before and float64 after"),
        (ONE, ONE.replace("[N, 3]", "[N, 3, M]"), "input 'x' has rank 2 before and 3 after"),
    ],
    ids=["renamed output", "renamed input", "missing output", "order", "type", "rank"],
)
def test_another_interface_is_a_usage_error(before: str, after: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(text_model(before), text_model(after))


def test_an_output_of_another_type_is_a_usage_error() -> None:
    graph = "g (float[N] x) => (float[N] y) { y = Cast<to = 1>(x) }"
    other = "g (float[N] x) => (double[N] y) { y = Cast<to = 11>(x) }"
    with pytest.raises(UsageError, match="output 'y' is float32 before and float64 after"):
        check(text_model(graph), text_model(other))


def test_an_output_that_is_no_tensor_is_a_model_error() -> None:
    model = text_model("g (float[N] x) => (seq(float[N]) y) { y = SequenceConstruct(x) }")
    with pytest.raises(ModelError, match="only tensors"):
        check(model, model)


def test_a_broken_model_says_which() -> None:
    with pytest.raises(ModelError, match="the model after can not be loaded"):
        check(text_model(ONE), text_model(ONE.replace("Relu", "Nonsense")))


@pytest.mark.parametrize("options", [{"seed": -1}, {"draws": 0}, {"rtol": -1.0}, {"atol": float("nan")}])
def test_options_that_make_no_sense_are_usage_errors(options: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        check(text_model(ONE), text_model(ONE), **options)  # type: ignore[arg-type]


# What proves nothing

ZERO = "g (float[N, 3] x) => (float[N, 3] y) <float[1] zero = {0}, float[1] b = {2}> { s = Mul(x, zero) y = Add(s, b) }"
CONSTANT = "g () => (float[2] y) { c = Constant<value = float[2] {1, 2}>() y = Relu(c) }"
NAN = "g (float[N, 3] x) => (float[N, 3] y) <float[1] zero = {0}> { s = Mul(x, zero) y = Div(s, s) }"
EMPTY = "g (float[N, 3] x) => (float[A, 3] y) <int64[1] zero = {0}> { y = Slice(x, zero, zero) }"


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (ZERO, "does not depend on the inputs"),
        (CONSTANT, "does not depend on the inputs"),
        (NAN, "is not finite on these inputs"),
        (EMPTY, "is empty on these inputs"),
    ],
)
@pytest.mark.parametrize("draws", [1, 3])
def test_what_could_not_fail_does_not_pass_unless_allowed(graph: str, reason: str, draws: int) -> None:
    model = text_model(graph)
    report = check(model, model, draws=draws)
    assert not report
    assert report.outputs[0].equal
    assert report.outputs[0].vacuous == reason
    assert check(model, model, draws=draws, allow_vacuous=True)


def test_a_vacuous_output_that_differs_fails_even_when_allowed() -> None:
    assert not check(text_model(ZERO), text_model(ZERO.replace("{2}", "{3}")), allow_vacuous=True)


def test_a_tolerance_wider_than_all_the_output_does_is_vacuous() -> None:
    model = text_model(ONE)
    assert check(model, model)
    assert check(model, model, atol=1e3).outputs[0].vacuous == "changes with the inputs by less than the tolerance"


def test_a_random_output_passes_for_no_proof() -> None:
    # Unseeded on purpose; with so many elements the largest difference of two runs is all but the same every time.
    model = text_model("g (float[64, 64] x) => (float[64, 64] y) { r = RandomUniformLike(x) y = Add(r, r) }")
    assert check(model, model).outputs[0].vacuous == "changes as much when the same inputs are given again"


def test_one_vacuous_output_of_two_fails_the_check() -> None:
    graph = "g (float[N, 3] x) => (float[N, 3] y, int64[2] s) { y = Relu(x) s = Shape(x) }"
    report = check(text_model(graph), text_model(graph))
    assert [output.ok for output in report.outputs] == [True, False]
    assert not report


def test_a_report_without_outputs_is_not_true() -> None:
    none = Comparison(Matchup("p", "p"), (), {}, {})
    for comparisons in ((), (none,)):
        assert not CheckReport(comparisons, seed=0, draws=3, data=(), inputs=(), sizes=(), allow_vacuous=True)


# Data


def test_given_inputs_are_the_only_draw_and_a_variation_of_them_judges_vacuity(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(1, 2, (1, 3, 9, 7)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    report = check(cnn(weights()), cnn(folded(weights())), data=tmp_path / "in.npz")
    assert report
    assert (report.draws, report.inputs, report.sizes) == (1, (("x float32[1, 3, 9, 7]",),), ())
    assert not check(cnn(weights()), cnn(changed("w1", one_weight)), data=tmp_path / "in.npz")


def test_data_that_does_not_fit_is_a_usage_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.ones((1, 4, 9, 7), np.float32))
    with pytest.raises(UsageError, match=r"expected \[N, 3, H, W\], got \[1, 4, 9, 7\]"):
        check(cnn(weights()), cnn(weights()), data=tmp_path / "in.npz")


# Statistics


def test_errors_are_taken_in_float64() -> None:
    found = difference(np.array([1], np.float16), np.array([1 + 2**-10], np.float16))
    assert found.max_abs == 2**-10
    assert difference(np.array([1e300]), np.array([-1e300])).cosine == -1


def test_integers_beyond_float64_still_differ() -> None:
    assert difference(np.array([2**62]), np.array([2**62 + 1])).max_abs == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_argmax_agreement_runs_over_the_classes(dtype: type) -> None:
    first: np.ndarray = np.array([[1, 2, 3], [3, 2, 1]], dtype)
    second: np.ndarray = np.array([[1, 2, 3], [2, 3, 1]], dtype)
    assert difference(first, second).argmax_agreement == 0.5
    image: np.ndarray = np.zeros((1, 2, 1, 2), dtype)
    assert difference(image, image).argmax_agreement == 1
    assert difference(np.array(1, dtype), np.array(1, dtype)).argmax_agreement is None


def test_strings_are_compared_exactly() -> None:
    assert difference(np.array(["a", "b"], object), np.array(["a", "c"], object)).max_abs == 1


def test_element_type_codes_that_onnx_does_not_know_are_passed_over() -> None:
    model = text_model(ONE)
    model.graph.initializer.append(TensorProto(name="odd", data_type=999))
    assert precision_of(Subject(model.SerializeToString(), "m")).narrowest == "float32"


# Real models


@pytest.mark.skipif(not MODELS.is_dir(), reason=f"no models in {MODELS}; set BNFOLD_MODELS")
@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_a_real_model_equals_itself_or_is_vacuous_with_a_reason(path: Path) -> None:
    report = check(path, path)
    assert all(output.equal and output.max_abs == 0 for output in report.outputs)
    constant = path.stem.startswith("light_")  # onnx ships them with weights that are all alike
    assert bool(report) is not constant
    assert all(bool(output.vacuous) is constant for output in report.outputs)
