"""Statistics estimated over data, in one pass or level by level, and training-mode nodes made inference nodes."""

import io
import runpy
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import (
    MODELS,
    REAL_MODELS,
    Array,
    Feeds,
    graph_model,
    interface,
    normal,
    op_types,
    passes_checker,
    run_ort,
    run_reference,
)

import bnfold
from bnfold.errors import ModelError, UsageError
from bnfold.inserting.calibrate import CalibrateOptions, CalibrateResult, calibrate
from bnfold.inserting.estimates import Calibrated, settle
from bnfold.inserting.levels import levels_of
from bnfold.inserting.moments import moments_of
from bnfold.inserting.normalizations import find_normalizations
from bnfold.inserting.view import View
from bnfold.model.container import Container
from bnfold.model.names import Names
from bnfold.model.patch import Patch, apply

KEEP = CalibrateOptions(keep_statistics=True)
SEQUENTIAL = CalibrateOptions(sequential=True)
PARAMETERS: dict[str, Any] = {
    "s": np.array([1, 2, 3], np.float32),
    "b": normal(3),
    "m": normal(3, seed=1),
    "v": normal(3, seed=2) ** 2,
}
ONE = "(float[N,3] x) => (float[N,3] y) { y = BatchNormalization(x, s, b, m, v) }"
CHAIN = """(float[N,3] x) => (float[N,3] y) {
    h = BatchNormalization(x, s, b, m, v)
    r = Relu(h)
    y = BatchNormalization(r, s2, b2, m2, v2)
}"""


def chain() -> ModelProto:
    return graph_model(CHAIN, **PARAMETERS, **{f"{name}2": values for name, values in PARAMETERS.items()})


def numbers_of(model: ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def normalizations(model: ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "BatchNormalization"]


def statistics_of(model: ModelProto) -> list[tuple[Array, Array]]:
    held = numbers_of(model)
    return [(held[node.input[3]], held[node.input[4]]) for node in normalizations(model)]


def codes(result: CalibrateResult) -> list[str]:
    return [skipped.code for skipped in result.skipped]


def wide(x: Array) -> Array:
    return x.astype(np.float64)


# --- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(64,), (1, 40, 23), (3,) * 21 + (1,)])
def test_statistics_are_those_of_all_the_data_whatever_the_batches(sizes: Sequence[int]) -> None:
    x = normal(64, 3) * np.float32(3) + np.float32(5)
    parts = np.split(x, np.cumsum(sizes)[:-1])
    result = calibrate(graph_model(ONE, **PARAMETERS), [{"x": part} for part in parts])
    ((mean, variance),) = statistics_of(result.model)
    np.testing.assert_array_equal(mean, wide(x).mean(0).astype(np.float32))
    np.testing.assert_array_equal(variance, wide(x).var(0).astype(np.float32))
    assert result.fresh == {"m", "v"}


def test_what_moved_is_told() -> None:
    x = normal(64, 3)
    result = calibrate(graph_model(ONE, **PARAMETERS), [{"x": x}])
    (one,) = result.calibrated
    old = wide(PARAMETERS["v"]) + 1e-5
    ratios = (wide(x).var(0) + 1e-5) / old
    assert (one.node, one.channels, one.dead, one.was_training) == ("BatchNormalization -> y", 3, 0, False)
    assert one.moved == pytest.approx(np.max(np.abs(wide(x).mean(0) - PARAMETERS["m"]) / np.sqrt(old)), rel=1e-5)
    assert (one.smallest_ratio, one.largest_ratio) == pytest.approx((ratios.min(), ratios.max()), rel=1e-5)


def test_the_caller_s_model_is_not_touched_and_scale_and_bias_stay() -> None:
    model = chain()
    before = model.SerializeToString(deterministic=True)
    result = calibrate(model, [{"x": normal(64, 3)}])
    assert model.SerializeToString(deterministic=True) == before
    held = numbers_of(result.model)
    assert all(np.array_equal(held[name], numbers_of(model)[name]) for name in ("s", "b", "s2", "b2"))
    assert interface(result.model) == interface(model)
    assert [list(node.input) for node in result.model.graph.node] == [list(node.input) for node in model.graph.node]


def test_one_pass_measures_behind_the_old_statistics_and_says_so() -> None:
    x = normal(64, 3)
    result = calibrate(chain(), [{"x": x}])
    inner = np.maximum(run_ort(_first_alone(chain()), {"x": x})[0], 0)
    np.testing.assert_allclose(statistics_of(result.model)[1][0], inner.mean(0), rtol=1e-5)
    assert any("--sequential" in remark for remark in result.remarks)


def test_sequentially_each_is_measured_behind_new_statistics() -> None:
    x = normal(64, 3)
    result = calibrate(chain(), [{"x": x[:40]}, {"x": x[40:]}], SEQUENTIAL)
    inner = np.maximum(run_ort(_first_alone(result.model), {"x": x})[0], 0)
    mean, variance = statistics_of(result.model)[1]
    np.testing.assert_allclose(mean, inner.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, inner.var(0), rtol=1e-5)
    assert not result.remarks


def test_calibrating_sequentially_again_changes_nothing() -> None:
    data = [{"x": normal(64, 3)}]
    once = calibrate(chain(), data, SEQUENTIAL)
    twice = calibrate(once.model, data, SEQUENTIAL)
    assert twice.model.SerializeToString(deterministic=True) == once.model.SerializeToString(deterministic=True)
    assert all(one.moved == 0 and one.smallest_ratio == one.largest_ratio == 1 for one in twice.calibrated)


def _first_alone(model: ModelProto) -> ModelProto:
    shown = ModelProto()
    shown.CopyFrom(model)
    shown.graph.output[0].CopyFrom(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 3]))
    return shown


def test_levels_count_the_normalizations_in_front_through_bodies_too() -> None:
    text = """(bool c, float[N,3] x) => (float[N,3] y) {
        a = BatchNormalization(x, s, b, m, v)
        d = BatchNormalization(x, s, b, m, v)
        r = Relu(a)
        e = BatchNormalization(r, s, b, m, v)
        w = If (c) <then_branch = t () => (float[N,3] p) { p = Relu(e) },
                    else_branch = f () => (float[N,3] q) { q = Relu(a) }>
        z = Add(w, d)
        y = BatchNormalization(z, s, b, m, v) }"""
    view = View(Container(model := graph_model(text, **PARAMETERS)), model)
    levels = levels_of(view, find_normalizations(view)[0])
    assert [[one.node.proto.output[0] for one in level] for level in levels] == [["a", "d"], ["e"], ["y"]]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
def test_statistics_are_rounded_once_to_the_type_they_have(kind: int) -> None:
    model = graph_model(ONE.replace("float[", "float16["), opset=15, **PARAMETERS)
    for tensor in model.graph.initializer:
        own = kind if tensor.name in "mv" else TensorProto.FLOAT16
        values = numpy_helper.to_array(tensor).reshape(-1)
        tensor.CopyFrom(helper.make_tensor(tensor.name, own, tensor.dims, values))
    # onnxruntime's CPU runs no mixture of types, so what a run would give is computed here.
    x, view, patch = normal(64, 3, dtype=np.float16), View(Container(model), model), Patch()
    ((found,), _) = find_normalizations(view)
    assert isinstance(settle(view, patch, Names(view.graph), found, moments_of(x, 1)), Calibrated)
    held = {tensor.name: tensor for tensor in apply(patch, view.graph).graph.initializer}
    assert held["m"].data_type == held["v"].data_type == kind
    own_type = helper.tensor_dtype_to_np_dtype(kind)
    np.testing.assert_array_equal(numpy_helper.to_array(held["m"]), wide(x).mean(0).astype(own_type))
    np.testing.assert_array_equal(numpy_helper.to_array(held["v"]), wide(x).var(0).astype(own_type))


def test_statistics_that_a_type_can_not_hold_leave_the_node_as_it_is() -> None:
    x = np.array([[-30000, 1, 0], [30000, 2, 1]], np.float16)
    model = graph_model(ONE.replace("float[", "float16["), **{k: v.astype(np.float16) for k, v in PARAMETERS.items()})
    result = calibrate(model, [{"x": x}])
    assert not result
    assert codes(result) == ["overflow"]
    assert result.model.SerializeToString() == model.SerializeToString()


# --- destroyed statistics of real models ------------------------------------------------------------------------------


def destroyed(model: ModelProto, *, shuffled: bool) -> ModelProto:
    """Mean 0 and variance 1, or the right numbers at the wrong channels."""
    worse = ModelProto()
    worse.CopyFrom(model)
    rng = np.random.default_rng(0)
    held = {tensor.name: tensor for tensor in worse.graph.initializer}
    for node in normalizations(worse):
        for name, value in ((node.input[3], 0), (node.input[4], 1)):
            old = numpy_helper.to_array(held[name])
            new = rng.permutation(old) if shuffled else np.full_like(old, value)
            held[name].CopyFrom(numpy_helper.from_array(new, name))
    return worse


# The test images that are named rightly: originally; destroyed; then after one pass and sequentially, at least.
ACCURACY = [
    ("residual", False, 446, 58, 100, 444),
    ("residual", True, 446, 45, 30, 444),
    ("source_cnn", False, 444, 210, 400, 443),
    ("source_cnn", True, 444, 296, 230, 443),
    ("source_cnn_bn_first", False, 444, 321, 440, 442),
    ("source_cnn_bn_first", True, 444, 156, 280, 442),
]


@pytest.mark.parametrize(("name", "shuffled", "original", "broken", "one_pass", "sequential"), ACCURACY)
def test_destroyed_statistics_come_back_with_the_training_data(
    name: str, shuffled: bool, original: int, broken: int, one_pass: int, sequential: int
) -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    digits = runpy.run_path(str(MODELS / "digits.py"))
    split, count = digits["load_split"](), digits["count_correct"]

    def correct(model: ModelProto) -> int:
        return int(count(_session(model), split))

    model = onnx.load(MODELS / f"{name}.onnx")
    worse = destroyed(model, shuffled=shuffled)
    images = split.train_images
    data = [{"image": images[start : start + 100]} for start in range(0, len(images), 100)]
    assert abs(correct(model) - original) <= 1
    assert abs(correct(worse) - broken) <= 3
    assert correct(calibrate(worse, data).model) >= one_pass
    assert correct(calibrate(worse, data, SEQUENTIAL).model) >= sequential


def _session(model: ModelProto) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


# --- training mode ----------------------------------------------------------------------------------------------------


def in_training_mode(opset: int, *, outputs: Sequence[str] = ()) -> ModelProto:
    """One node in training mode as that opset writes it, with some of its further outputs given to the caller."""
    names = ["mean", "var"] if opset >= 14 else ["mean", "var", "saved_mean", "saved_var"]
    attribute = "<training_mode = 1>" if opset >= 14 else ""
    listed = ", ".join(f"float[3] {name}" for name in outputs)
    text = f"(float[N,3] x) => (float[N,3] y{', ' if listed else ''}{listed}) {{ y, {', '.join(names)} = "
    text += f"BatchNormalization{attribute}(x, s, b, m, v) }}"
    return graph_model(text, opset=opset, ir=8, **PARAMETERS)


def assert_at_inference(model: ModelProto) -> None:
    for node in normalizations(model):
        assert len(node.output) == 1
        assert not any(attribute.name == "training_mode" for attribute in node.attribute)
    assert passes_checker(model)
    assert not any(kept.code == "training" for kept in bnfold.fold(model).kept)


@pytest.mark.parametrize("opset", [7, 8, 9, 13, 14, 15, 20])
@pytest.mark.parametrize("options", [CalibrateOptions(), SEQUENTIAL, KEEP], ids=["one-pass", "sequential", "keep"])
def test_a_node_in_training_mode_becomes_an_inference_node(opset: int, options: CalibrateOptions) -> None:
    model, x = in_training_mode(opset), normal(64, 3) + 4
    result = calibrate(model, [{"x": x}], options)
    (one,) = result.calibrated
    assert (one.was_training, one.channels) == (True, 3)
    assert_at_inference(result.model)
    trained, made = run_ort(model, {"x": x})[0], run_ort(result.model, {"x": x})[0]
    if not options.keep_statistics:
        np.testing.assert_allclose(made, trained, atol=1e-5)
        return
    stored = [wide(PARAMETERS[name]) for name in "sbmv"]
    expected = stored[0] * (wide(x) - stored[2]) / np.sqrt(stored[3] + 1e-5) + stored[1]
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)
    assert not result.fresh


@pytest.mark.parametrize("test_form", [False, True])
def test_before_opset_7_the_attribute_decides(test_form: bool) -> None:
    attributes = "is_test = 1" if test_form else "momentum = 0.8"
    text = f"(float[N,3] x) => (float[N,3] y) {{ y = BatchNormalization<{attributes}>(x, s, b, m, v) }}"
    model, x = graph_model(text, opset=6, ir=3, **PARAMETERS), normal(8, 3)
    for name in PARAMETERS:
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]))
    result = calibrate(model, None, KEEP)
    assert bool(result) is not test_form
    (node,) = normalizations(result.model)
    assert {a.name: a.i for a in node.attribute}["is_test"] == 1
    assert not bnfold.fold(result.model).kept or bnfold.fold(result.model).kept[0].code != "training"
    expected = run_ort(graph_model(ONE, **PARAMETERS), {"x": x})[0]
    np.testing.assert_allclose(run_reference(result.model, {"x": x})[0], expected, rtol=1e-5, atol=1e-6)


def test_before_opset_7_nothing_can_be_measured_and_that_is_said() -> None:
    with pytest.raises(ModelError, match=r"has opset 6, in which onnxruntime runs no BatchNormalization.*convert it"):
        calibrate(graph_model(ONE, opset=6, ir=8, **PARAMETERS), [{"x": normal(8, 3)}])


@pytest.mark.parametrize(
    ("opset", "outputs"), [(13, ["mean", "saved_var"]), (15, ["mean", "var"]), (9, ["saved_mean"])]
)
@pytest.mark.parametrize("options", [CalibrateOptions(), KEEP], ids=["data", "keep"])
def test_further_outputs_keep_their_names_and_give_the_statistics(
    opset: int, outputs: list[str], options: CalibrateOptions
) -> None:
    model, x = in_training_mode(opset, outputs=outputs), normal(64, 3) + 4
    result = calibrate(model, [{"x": x}], options)
    assert interface(result.model) == interface(model)
    assert_at_inference(result.model)
    assert op_types(result.model).count("Identity") == len(outputs)
    ((mean, variance),) = statistics_of(result.model)
    expected = [mean if "mean" in name else variance for name in outputs]
    for found, wanted in zip(run_ort(result.model, {"x": x})[1:], expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_further_output_that_is_read_is_still_there() -> None:
    text = """(float[N,3] x) => (float[3] z, float[N,3] y) {
        y, mean, var = BatchNormalization<training_mode = 1>(x, s, b, m, v)
        z = Neg(mean) }"""
    x = normal(64, 3)
    result = calibrate(graph_model(text, **PARAMETERS), [{"x": x}])
    np.testing.assert_allclose(run_ort(result.model, {"x": x})[0], -wide(x).mean(0), atol=1e-6)


def test_a_body_loses_training_mode_with_the_statistics_kept_and_is_told_of_otherwise() -> None:
    text = """(bool c, float[N,3] x) => (float[N,3] y) {
        y = If (c) <then_branch = t () => (float[N,3] p) {
                        p, pm, pv = BatchNormalization<training_mode = 1>(x, s, b, m, v) },
                    else_branch = f () => (float[N,3] q) { q = Relu(x) }> }"""
    model, data = graph_model(text, **PARAMETERS), [{"c": np.array(True), "x": normal(8, 3)}]
    measured = calibrate(model, data)
    assert not measured
    assert codes(measured) == ["body"]
    assert "stays in training mode; --keep-statistics" in measured.skipped[0].reason
    kept = calibrate(model, data, KEEP)
    assert len(kept.calibrated) == 1
    expected = run_ort(graph_model(ONE, **PARAMETERS), {"x": data[0]["x"]})[0]
    np.testing.assert_array_equal(run_ort(kept.model, data[0])[0], expected)


def test_a_function_loses_training_mode_with_the_statistics_kept() -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[N,3] x, float[3] s, float[3] b, float[3] m, float[3] v) => (float[N,3] y, float[3] k) {
            y, k = own.norm(x, s, b, m, v) }
        <domain: "own", opset_import: ["" : 20]>
        norm (x, s, b, m, v) => (y, rm) { y, rm, rv = BatchNormalization<training_mode = 1>(x, s, b, m, v) }""")
    x = normal(8, 3)
    result = calibrate(model, None, KEEP)
    assert [one.was_training for one in result.calibrated] == [True]
    y, mean = run_ort(result.model, {"x": x, **PARAMETERS})
    np.testing.assert_array_equal(y, run_ort(graph_model(ONE, **PARAMETERS), {"x": x})[0])
    np.testing.assert_array_equal(mean, PARAMETERS["m"])


def test_a_dropout_that_drops_at_random_is_told() -> None:
    text = """(float[N,3] x) => (float[N,3] y) {
        d = Dropout(x, ratio, on)
        y, mean, var = BatchNormalization<training_mode = 1>(d, s, b, m, v) }"""
    constants: dict[str, Any] = PARAMETERS | {"ratio": np.float32(0.5), "on": np.array(True)}
    result = calibrate(graph_model(text, **constants), [{"x": normal(8, 3)}])
    assert any("Dropout 'Dropout -> d' drops at random" in remark for remark in result.remarks)


@pytest.mark.skipif(not (REAL_MODELS / "train_mode_bn_3out.onnx").is_file(), reason="no folder of real models")
def test_a_training_export_whose_statistics_are_merged_with_scale_and_bias() -> None:
    model = onnx.load(REAL_MODELS / "train_mode_bn_3out.onnx")
    x = normal(20, 100, 35, 45) * 2 + 3
    result = calibrate(model, [{"BatchNorm2D_input": x}])
    assert_at_inference(result.model)
    (node,) = normalizations(result.model)
    assert len(set(node.input)) == 5
    held = numbers_of(result.model)
    np.testing.assert_array_equal(held[node.input[1]], 1)
    np.testing.assert_array_equal(held[node.input[2]], 0)
    made = run_ort(result.model, {"BatchNorm2D_input": x})[0]
    np.testing.assert_allclose(made.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(made.std((0, 2, 3)), 1, atol=1e-4)


@pytest.mark.parametrize("opset", [9, 13, 15])
@pytest.mark.parametrize("options", [CalibrateOptions(), SEQUENTIAL], ids=["one-pass", "sequential"])
def test_statistics_behind_a_node_whose_variance_is_its_scale_too_do_not_drift_from_batch_to_batch(
    opset: int, options: CalibrateOptions
) -> None:
    """onnxruntime writes the running variance over the old one, in place, and so over the scale of the next batch."""
    further, attribute = (", rm, rv", "<training_mode = 1>") if opset >= 14 else (", rm, rv, sm, sv", "")
    text = f"""(float[N,3] x) => (float[N,3] y) {{
        h{further} = BatchNormalization{attribute}(x, one, zero, zero, one)
        y{further.replace(", ", ", second_")} = BatchNormalization{attribute}(h, s, b, zero, one) }}"""
    merged = {"one": np.ones(3, np.float32), "zero": np.zeros(3, np.float32)}
    model = graph_model(text, opset=opset, ir=8, s=PARAMETERS["s"], b=PARAMETERS["b"], **merged)
    parts = [normal(64, 3, seed=seed) * 5 + 3 for seed in range(4)]
    result = calibrate(model, [{"x": part} for part in parts], options)
    mean, variance = statistics_of(result.model)[1]
    np.testing.assert_allclose(mean, 0, atol=1e-5)
    np.testing.assert_allclose(variance, 1, atol=1e-4)
    assert not any("--sequential" in remark for remark in result.remarks), "each batch was normalized in front of it"
    held = numbers_of(result.model)
    np.testing.assert_array_equal(held["one"], 1)
    np.testing.assert_array_equal(held["zero"], 0)


# --- torch ------------------------------------------------------------------------------------------------------------


def _network(torch: Any) -> Any:
    nn = torch.nn
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4, momentum=None),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6, momentum=None),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 8),
        nn.BatchNorm1d(8, momentum=None),
    )
    for module in network:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return network


def _exported(torch: Any, network: Any, x: Array, opset: int) -> ModelProto:
    """The graph in training mode. Exporting runs the network and moves its statistics, which the file has as moved."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that knows training mode is the old one, and says so at length
        torch.onnx.export(
            network.train(),
            (torch.from_numpy(x),),
            file,
            training=torch.onnx.TrainingMode.TRAINING,
            do_constant_folding=False,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
        )
    return onnx.load_from_string(file.getvalue())


def _eval(torch: Any, network: Any, x: Array) -> Array:
    with torch.no_grad():
        return np.asarray(network.eval()(torch.from_numpy(x)).numpy())


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="the exports are torch's")


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_a_training_export_with_its_statistics_kept_is_torch_s_own_eval_mode(torch: Any, opset: int) -> None:
    network, x = _network(torch), normal(32, 1, 8, 8)
    with torch.no_grad():
        for part in np.split(x, 4):
            network.train()(torch.from_numpy(part))
    model = _exported(torch, network, x, opset)
    assert all(len(node.output) > 1 for node in normalizations(model))
    result = calibrate(model, None, KEEP)
    assert len(result.calibrated) == 3
    assert_at_inference(result.model)
    np.testing.assert_allclose(run_ort(result.model, {"x": x})[0], _eval(torch, network, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", [11, 17])
def test_a_training_export_with_data_is_torch_s_eval_mode_after_a_pass_over_them(torch: Any, opset: int) -> None:
    network, x = _network(torch), normal(256, 1, 8, 8)
    result = calibrate(_exported(torch, network, x, opset), [{"x": x}])
    modules = [module for module in network if hasattr(module, "running_mean")]
    for module in modules:
        module.reset_running_stats()
    with torch.no_grad():
        network.train()(torch.from_numpy(x))  # momentum=None: the mean over all forwards, of which there is one
    for (mean, variance), module, rest in zip(statistics_of(result.model), modules, (36, 16, 1), strict=True):
        count = len(x) * rest
        np.testing.assert_allclose(mean, module.running_mean.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(variance * (count / (count - 1)), module.running_var.numpy(), rtol=1e-5)
    # torch keeps the unbiased variance, larger by 1 / 255 for the last layer: half of that in its standard deviation
    exact = _eval(torch, network, x)
    difference = np.abs(run_ort(result.model, {"x": x})[0] - exact).max()
    assert 0 < difference < np.abs(exact).max() / 255


# --- what is shared, dead or computed ---------------------------------------------------------------------------------


def test_shared_statistics_are_parted_and_the_others_stay_as_they_are() -> None:
    text = """(float[N,3] x) => (float[N,3] y) {
        h = BatchNormalization(x, v, m, m, v)
        r = Relu(h)
        k = BatchNormalization(r, s, b, m, v)
        y = Mul(k, m) }"""
    model = graph_model(text, **PARAMETERS)
    result = calibrate(model, [{"x": normal(64, 3)}])
    names = [name for node in normalizations(result.model) for name in node.input[3:]]
    assert names == ["m.calibrated", "v.calibrated", "m.calibrated_1", "v.calibrated_1"]
    assert result.fresh == set(names)
    held = numbers_of(result.model)
    np.testing.assert_array_equal(held["m"], PARAMETERS["m"])
    np.testing.assert_array_equal(held["v"], PARAMETERS["v"])


def test_a_layer_that_is_applied_twice_gets_statistics_per_place() -> None:
    text = """(float[N,3] x) => (float[N,3] y) {
        h = BatchNormalization(x, s, b, m, v)
        y = BatchNormalization(h, s, b, m, v) }"""
    result = calibrate(graph_model(text, **PARAMETERS), [{"x": normal(64, 3)}], SEQUENTIAL)
    assert set(numbers_of(result.model)) == {"s", "b", *result.fresh}
    assert len(result.fresh) == 4


def test_statistics_in_constant_nodes_become_initializers() -> None:
    text = """(float[N,3] x) => (float[N,3] y) {
        m = Constant<value_floats = [1.0, 2.0, 3.0]>()
        root = Sqrt(v) v2 = Mul(root, root)
        y = BatchNormalization(x, s, b, m, v2) }"""
    constants = {name: PARAMETERS[name] for name in "sbv"}
    result = calibrate(graph_model(text, **constants), [{"x": normal(64, 3)}])
    assert [node.op_type for node in result.model.graph.node] == ["BatchNormalization"]
    assert set(numbers_of(result.model)) == {"s", "b", "m.calibrated", "v2.calibrated"}


def test_a_statistic_that_a_caller_may_override_keeps_its_place_among_the_inputs() -> None:
    model = graph_model(ONE, **PARAMETERS)
    model.graph.input.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, [3]))
    x = normal(64, 3)
    result = calibrate(model, [{"x": x}])
    assert [entry.name for entry in result.model.graph.input] == ["x", "m"]
    np.testing.assert_allclose(numbers_of(result.model)["m"], wide(x).mean(0), rtol=1e-6)


def test_a_dead_channel_is_said_and_stays_finite() -> None:
    x = normal(64, 3)
    x[:, 1] = 0.1
    result = calibrate(graph_model(ONE, **PARAMETERS), [{"x": x[:31]}, {"x": x[31:]}])
    assert result.calibrated[0].dead == 1
    assert any("1 of 3 channels" in remark for remark in result.remarks)
    ((mean, variance),) = statistics_of(result.model)
    assert (mean[1], variance[1]) == (np.float32(0.1), 0)
    y = run_ort(result.model, {"x": x})[0]
    np.testing.assert_allclose(y[:, 1], PARAMETERS["b"][1], atol=1e-5)


def test_variances_below_zero_and_of_zero_are_repaired_with_finite_words() -> None:
    broken = PARAMETERS | {"v": np.array([-1, 0, 1], np.float32)}
    result = calibrate(graph_model(ONE.replace("n(x", "n<epsilon = 0.0>(x"), **broken), [{"x": normal(64, 3)}])
    (one,) = result.calibrated
    assert np.isfinite([one.moved, one.smallest_ratio, one.largest_ratio]).all()
    assert (statistics_of(result.model)[0][1] > 0).all()


def _computed() -> ModelProto:
    text = """(float[N,3] x) => (float[N,3] y) {
        mean = ReduceMean<keepdims = 0>(x, zero)
        y, rm, rv = BatchNormalization<training_mode = 1>(x, s, b, mean, v) }"""
    return graph_model(text, zero=np.array([0], np.int64), **PARAMETERS)


def _spatial() -> ModelProto:
    text = ONE.replace("n(x", "n<spatial = 0>(x")
    return graph_model(text, opset=8, ir=8, **PARAMETERS)


def _in_a_function() -> ModelProto:
    return onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[N,3] x, float[3] p) => (float[N,3] y) { y = own.norm(x, p) }
        <domain: "own", opset_import: ["" : 20]>
        norm (x, p) => (y) { y = BatchNormalization(x, p, p, p, p) }""")


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (_computed, "dynamic-parameter", "that the graph computes, and stays in training mode; --keep-statistics"),
        (_spatial, "spatial", "has spatial = 0"),
        (_in_a_function, "function", "inline the functions first"),
    ],
)
def test_what_can_not_be_calibrated_stays_and_says_why(make: Callable[[], ModelProto], code: str, words: str) -> None:
    model = make()
    data: Mapping[str, Array] = {"x": normal(8, 3), "p": normal(3)}
    result = calibrate(model, [data])
    assert not result
    assert codes(result) == [code]
    assert words in result.skipped[0].reason
    assert result.model.SerializeToString() == model.SerializeToString()


# --- data and options -------------------------------------------------------------------------------------------------


NAN = normal(8, 3)
NAN[3, 1] = np.nan


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "takes statistics from data; give some, with --data"),
        ([], "there are no data"),
        ([{"x": normal(1, 3)}], "give 'x' 1 value per channel, and a variance needs 2"),
        ([{"x": normal(8, 3)}, {"x": NAN}], "'x' has NaN or infinite values in batch 2"),
    ],
)
def test_data_that_do_not_do(data: list[Feeds] | None, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        calibrate(graph_model(ONE, **PARAMETERS), data)


def test_one_image_is_enough_where_it_has_several_values_per_channel() -> None:
    text = ONE.replace("N,3", "N,3,4,4")
    x = normal(1, 3, 4, 4)
    result = calibrate(graph_model(text, **PARAMETERS), [{"x": x}])
    np.testing.assert_allclose(statistics_of(result.model)[0][1], wide(x).var((0, 2, 3)), rtol=1e-6)


def test_an_iterator_does_for_one_pass_and_not_for_several() -> None:
    assert calibrate(chain(), iter([{"x": normal(8, 3)}]))
    assert calibrate(graph_model(ONE, **PARAMETERS), iter([{"x": normal(8, 3)}]), SEQUENTIAL)
    with pytest.raises(UsageError, match="reads the data 2 times"):
        calibrate(chain(), iter([{"x": normal(8, 3)}]), SEQUENTIAL)


def test_options_that_do_not_fit_together() -> None:
    with pytest.raises(UsageError, match="nothing to do sequentially"):
        CalibrateOptions(sequential=True, keep_statistics=True)


def test_a_model_without_normalizations_comes_back_as_it_is() -> None:
    model = graph_model("(float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
    for options in (CalibrateOptions(), SEQUENTIAL, KEEP):
        result = calibrate(model, [{"x": normal(8, 3)}], options)
        assert not result
        assert result.model is model


def test_weights_in_a_file_of_their_own_stay_there(tmp_path: Path) -> None:
    text = "(float[N,40] x) => (float[N,3] y) { h = MatMul(x, W) y = BatchNormalization(h, s, b, m, v) }"
    model, x = graph_model(text, W=normal(40, 3), **PARAMETERS), normal(64, 40)
    onnx.save(model, tmp_path / "in.onnx", save_as_external_data=True, location="in.data", size_threshold=0)
    result = calibrate(tmp_path / "in.onnx", [{"x": x}])
    assert result.fresh == {"m", "v"}
    result.save(tmp_path / "out.onnx")
    saved = onnx.load(tmp_path / "out.onnx")
    np.testing.assert_allclose(numbers_of(saved)["m"], (wide(x) @ wide(normal(40, 3))).mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(numbers_of(saved)["W"], normal(40, 3))
