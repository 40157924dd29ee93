"""Instance-, Group-, Layer- and RMSNormalization take the affine behind them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import (
    REAL_MODELS,
    check_fold,
    graph_model,
    needs_real_models,
    normal,
    refusal,
    run_ort,
    run_reference,
    statistics,
)

import bnfold

NEWEST = onnx.defs.onnx_opset_version()
OWN: dict[str, Any] = {"S": normal(4, seed=7), "B": normal(4, seed=8)}
PARAMETERS: dict[str, Any] = dict(zip("sbmv", statistics(4), strict=True))
BN = "BatchNormalization (c, s, b, m, v)"
INSTANCE, GROUP = "InstanceNormalization (x, S, B)", "GroupNormalization <num_groups = 2> (x, S, B)"
LAYER, RMS = "LayerNormalization (x, S, B)", "RMSNormalization (x, S)"
PAIRS = np.array([-2.0, -2.0, 0.5, 0.5], np.float32)
"""One number per group of two channels."""


def behind(norm: str, after: str = BN, *, x: str = "float[2,4,5,6] x", opset: int = 21, **constants: Any) -> ModelProto:
    """A normalization, and an affine behind it."""
    return graph_model(f"({x}) => (float[] y) {{ c = {norm} y = {after} }}", opset=opset, **{**OWN, **constants})


def parameters(result: bnfold.FoldResult, op_type: str) -> dict[str, Any]:
    """The normalization's constants by position, and its epsilon."""
    (node,) = [node for node in result.model.graph.node if node.op_type == op_type]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer}
    constants = {str(index): values[name] for index, name in enumerate(node.input) if name in values}
    return constants | {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


BEHIND = {
    "InstanceNormalization": (INSTANCE, BN, "float[2,4,5,6] x"),
    "InstanceNormalization, 1-D": (INSTANCE, BN, "float[2,4,7] x"),
    "InstanceNormalization, 3-D": (INSTANCE, BN, "float[2,4,3,2,3] x"),
    "InstanceNormalization, open shape": (INSTANCE, BN, "float[n,4,h,w] x"),
    "GroupNormalization": (GROUP, BN, "float[2,4,5,6] x"),
    "GroupNormalization, one group": ("GroupNormalization <num_groups = 1> (x, S, B)", BN, "float[2,4,5,6] x"),
    "GroupNormalization, a group per channel": ("GroupNormalization <num_groups = 4> (x, S, B)", BN, "float[2,4,9] x"),
    "LayerNormalization over the last axis": (LAYER, "Mul (c, k)", "float[2,3,4] x"),
    "LayerNormalization of rows": (LAYER, BN, "float[5,4] x"),
    "LayerNormalization, open shape": (LAYER, "Mul (c, k)", "float[n,t,4] x"),
}


@pytest.mark.parametrize(("norm", "after", "x"), BEHIND.values(), ids=BEHIND)
def test_a_normalization_takes_the_affine_behind_it(norm: str, after: str, x: str) -> None:
    model = behind(norm, after, x=x, **(PARAMETERS if after == BN else {"k": normal(4)}))
    check_fold(model, leaves=[norm.split()[0]], feeds=fed(model))


def fed(model: ModelProto) -> dict[str, Any]:
    """More than one number along every open axis: what is normalized over one number is nothing."""
    (entry,) = model.graph.input
    sizes = [dim.dim_value or 3 for dim in entry.type.tensor_type.shape.dim]
    kind = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    return {entry.name: normal(*sizes).astype(kind)}


@pytest.mark.parametrize("opset", [6, 7, 8, 13, 20, 21, 22, NEWEST])
def test_instance_normalization_of_every_opset(opset: int) -> None:
    after = BN if opset >= 7 else "BatchNormalization <is_test = 1> (c, s, b, m, v)"
    run = run_ort if 14 <= opset <= 22 else run_reference
    model = behind(INSTANCE, after, opset=opset, **PARAMETERS)
    if run is run_reference and opset < 14:  # onnx.reference has no BatchNormalization at inference before
        model = behind(INSTANCE, "Mul (c, k)", opset=opset, k=normal(1, 4, 1, 1)) if opset >= 7 else model
    check_fold(model, leaves=["InstanceNormalization"], run=run)


@pytest.mark.parametrize(("opset", "scales"), [(18, 2), (20, 2), (21, 4), (22, 4), (NEWEST, 4)])
def test_group_normalization_of_every_opset(opset: int, scales: int) -> None:
    own: dict[str, Any] = {"S": normal(scales, seed=7), "B": normal(scales, seed=8)}
    per_group: dict[str, Any] = {"s": np.ones(4, np.float32), "b": PAIRS, "m": -PAIRS, "v": np.abs(PAIRS)}
    model = behind(GROUP, opset=opset, **own, **per_group)
    check_fold(model, leaves=["GroupNormalization"], run=run_ort if opset <= 22 else run_reference)


@pytest.mark.parametrize("norm", [INSTANCE, GROUP, LAYER])
@pytest.mark.parametrize("kind", ["float16", "double", "bfloat16"])
def test_other_types(norm: str, kind: str) -> None:
    dtype: Any = {"float16": np.float16, "double": np.float64, "bfloat16": ml_dtypes.bfloat16}[kind]
    constants: dict[str, Any] = {
        name: np.asarray(value).astype(dtype) for name, value in {**OWN, "k": normal(4, 1, 1)}.items()
    }
    model = behind(norm, "Mul (c, k)", x=f"{kind}[2,4,5,4] x", **constants)
    model.graph.output[0].type.tensor_type.elem_type = model.graph.input[0].type.tensor_type.elem_type
    if norm == LAYER:
        model.graph.initializer[-1].dims[:] = [4]
    is_run = kind != "bfloat16" and (kind, norm) != ("double", INSTANCE)  # what onnxruntime's CPU provider has
    check_fold(model, leaves=[norm.split()[0]], run=run_ort if is_run else run_reference)


def test_the_numbers_are_the_formula_s() -> None:
    made = parameters(check_fold(behind(INSTANCE, **PARAMETERS)), "InstanceNormalization")
    scale, bias, mean, variance = (PARAMETERS[name].astype(np.float64) for name in "sbmv")
    a = scale / np.sqrt(variance + np.float64(np.float32(1e-5)))
    assert np.array_equal(made["1"], (a * OWN["S"]).astype(np.float32))
    assert np.array_equal(made["2"], (a * OWN["B"] + (bias - mean * a)).astype(np.float32))


def test_a_group_with_one_scale_takes_no_two() -> None:
    own: dict[str, Any] = {"S": normal(2, seed=7), "B": normal(2, seed=8)}
    kept = refusal(behind(GROUP, opset=18, **own, **PARAMETERS))
    assert kept.code == "not-uniform"
    assert "treats the channels of a group as one, and the affine differs between them" in kept.reason


def test_groups_that_do_not_divide_the_channels_are_malformed() -> None:
    own: dict[str, Any] = {"S": normal(3, seed=7), "B": normal(3, seed=8)}
    norm = "GroupNormalization <num_groups = 3> (x, S, B)"
    (kept,) = bnfold.fold(behind(norm, opset=18, **own, **PARAMETERS)).kept
    assert kept.code == "malformed"
    assert "has 4 channels, which do not divide into 3 groups" in kept.reason


LAYERS: dict[str, tuple[str, list[int], list[int], str]] = {
    "a bias": ("<axis = -1> (x, S, B)", [6], [6], "k6"),
    "no bias": ("<axis = -1> (x, S)", [6], [6], "k6"),
    "no bias, an empty name": ('<axis = -1> (x, S, "")', [6], [6], "k6"),
    "three axes": ("<axis = 1> (x, S, B)", [4, 5, 6], [4, 5, 6], "k4"),
    "three axes, no bias": ("<axis = 1> (x, S)", [4, 5, 6], [4, 5, 6], "k4"),
    "the middle one of three axes": ("<axis = 1> (x, S, B)", [4, 5, 6], [4, 5, 6], "k5"),
    "counted from the end": ("<axis = -3> (x, S, B)", [4, 5, 6], [4, 5, 6], "k4"),
    "one number for all": ("(x, S, B)", [6], [6], "k"),
    "one number for all, no bias": ("(x, S)", [6], [6], "k"),
}


@pytest.mark.parametrize("op", ["Mul", "Add"])
@pytest.mark.parametrize(("how", "scale", "bias", "by"), LAYERS.values(), ids=LAYERS)
def test_layer_normalization_over_any_axes(how: str, scale: list[int], bias: list[int], by: str, op: str) -> None:
    factors: dict[str, Any] = {"k6": normal(6), "k5": normal(5, 1), "k4": normal(4, 1, 1), "k": np.float32(-1.7)}
    own: dict[str, Any] = {"S": normal(*scale, seed=7), "B": normal(*bias, seed=8), "k": factors[by]}
    model = behind(f"LayerNormalization {how}", f"{op} (c, k)", **own)
    folded = check_fold(model, leaves=["LayerNormalization"]).model
    shapes = [list(t.dims) for t in folded.graph.initializer if t.name in folded.graph.node[0].input]
    assert all(shape == scale for shape in shapes)
    assert len(shapes) == 2 if "B" in how or op == "Add" else len(shapes) == 1


def test_layer_normalization_has_no_scale_along_another_axis() -> None:
    kept = refusal(behind(LAYER, **PARAMETERS, x="float[2,4,5,4] x"))
    assert kept.code == "axis"


def test_layer_normalization_of_an_input_of_unknown_rank() -> None:
    nodes = f"q = Reshape (x, to) c = LayerNormalization (q, S, B) y = {BN}"
    model = graph_model(f"(float[5,4] x, int64[d] to) => (float[] y) {{ {nodes} }}", **OWN, **PARAMETERS)
    feeds = {"x": normal(5, 4), "to": np.array([5, 4])}
    check_fold(model, kept=["unknown-shape"], feeds=feeds, exact_reference=False)


def test_statistics_that_are_read_stay_what_they_are() -> None:
    """An affine at the first output is no matter of the other two."""
    nodes = "c, e, d = LayerNormalization (x, S, B) y = Mul (c, k)"
    body = f"(float[2,3,4] x) => (float[] y, float[] e, float[] d) {{ {nodes} }}"
    check_fold(graph_model(body, **OWN, k=normal(4)), leaves=["LayerNormalization"])


def test_rms_normalization_takes_the_scale_and_leaves_the_shift_behind() -> None:
    model = behind(RMS, opset=23, x="float[5,4] x", **PARAMETERS)
    check_fold(model, leaves=["RMSNormalization", "Add"], run=run_reference)
    model = behind(RMS, "Mul (c, k)", opset=23, x="float[2,3,4] x", k=normal(4))
    check_fold(model, leaves=["RMSNormalization"], run=run_reference)


# --- Constants that are not to be had, or are somebody else's ---


@pytest.mark.parametrize("norm", [INSTANCE, GROUP])
@pytest.mark.parametrize(("name", "code"), [("S", "dynamic-weight"), ("B", "dynamic-bias")])
def test_a_parameter_that_is_fed_takes_nothing(norm: str, name: str, code: str) -> None:
    own = {key: value for key, value in {**OWN, **PARAMETERS}.items() if key != name}
    body = f"(float[2,4,5,6] x, float[4] {name}) => (float[] y) {{ c = {norm} y = {BN} }}"
    kept = refusal(graph_model(body, opset=21, **own))
    assert kept.code == code
    assert f"has a {'scale' if name == 'S' else 'bias'} that is no constant" in kept.reason


def test_a_scale_that_a_caller_may_override_takes_nothing_unless_it_is_frozen() -> None:
    model = behind(INSTANCE, **PARAMETERS)
    model.graph.input.append(helper.make_tensor_value_info("S", TensorProto.FLOAT, [4]))
    assert [kept.code for kept in bnfold.fold(model).kept] == ["overridable"]
    assert not bnfold.fold(model, freeze_initializers=True).kept


def test_two_normalizations_that_share_their_parameters_get_their_own() -> None:
    second = dict(zip("tcnw", statistics(4, seed=1), strict=True))
    nodes = f"c = {INSTANCE} y = {BN} d = {INSTANCE} z = BatchNormalization (d, t, c2, n, w) e = {INSTANCE}"
    constants = {**OWN, **PARAMETERS, **{"c2" if name == "c" else name: value for name, value in second.items()}}
    body = f"(float[2,4,5,6] x) => (float[] y, float[] z, float[] e) {{ {nodes} }}"
    check_fold(graph_model(body, **constants), leaves=["InstanceNormalization"] * 3)


def test_one_vector_as_scale_and_bias_becomes_two() -> None:
    made = parameters(
        check_fold(behind("InstanceNormalization (x, S, S)", **PARAMETERS), leaves=["InstanceNormalization"]),
        "InstanceNormalization",
    )
    assert not np.array_equal(made["1"], made["2"])


def test_a_normalization_that_something_else_reads_keeps_its_output() -> None:
    body = f"(float[2,4,5,6] x) => (float[] y, float[] z) {{ c = {INSTANCE} y = {BN} z = Relu (c) }}"
    assert refusal(graph_model(body, **OWN, **PARAMETERS)).code == "several-readers"


INTEGERS: dict[str, Any] = {
    "Q": np.array([30, -50, 70, 110], np.int8),
    "f": np.float32(0.02),
    "P": np.array([500, -900, 30, 70], np.int32),
    "h": np.float32(0.02) * np.float32(0.04),
    "z": np.uint8(128),
    "g": np.float32(0.04),
}


def in_integers(norm: str, after: str, k: Any) -> ModelProto:
    """As onnxruntime quantizes a normalization: the scale in int8, the bias in int32 of both scales, x in uint8."""
    nodes = "q = QuantizeLinear (r, g, z) x = DequantizeLinear (q, g, z) S = DequantizeLinear (Q, f)"
    body = f"(float[2,4,5,4] r) => (float[] y) {{ {nodes} B = DequantizeLinear (P, h) c = {norm} y = {after} }}"
    return graph_model(body, opset=21, **INTEGERS, k=k)


def stored(model: ModelProto) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("norm", [INSTANCE, GROUP, LAYER])
def test_parameters_in_integers_keep_their_integers_and_take_the_scale(norm: str) -> None:
    k = normal(4) if norm == LAYER else normal(4, 1, 1)
    folded = check_fold(in_integers(norm, "Mul (c, k)", k)).model
    made = stored(folded)
    assert "Mul" not in [node.op_type for node in folded.graph.node]
    assert np.array_equal(made["Q"], INTEGERS["Q"])
    assert np.array_equal(made["P"], INTEGERS["P"])
    reads = {node.output[0]: list(node.input) for node in folded.graph.node if node.op_type == "DequantizeLinear"}
    (node,) = [node for node in folded.graph.node if node.op_type == norm.split()[0]]
    scale, shift = (made[reads[node.input[index]][1]] for index in (1, 2))
    assert scale.tolist() == (np.float32(0.02) * k.astype(np.float64).reshape(-1)).astype(np.float32).tolist()
    assert np.allclose(shift, scale * INTEGERS["g"], rtol=1e-6)


def test_a_shift_goes_into_a_bias_in_integers_by_whole_steps() -> None:
    k = normal(4, 1, 1)
    result = bnfold.fold(in_integers(INSTANCE, "Add (c, k)", k))
    steps = np.round(k.astype(np.float64).reshape(-1) / np.float64(INTEGERS["h"])).astype(np.int32)
    kept = [values for values in stored(result.model).values() if values.dtype == np.int32]
    assert [values.tolist() for values in kept] == [(INTEGERS["P"] + steps).tolist()]
    assert any("rounded by" in remark for remark in result.remarks)


@needs_real_models
def test_a_real_style_network_takes_normalizations_behind_its_own() -> None:
    """Each of its 15 InstanceNormalizations gets a BatchNormalization behind it, and takes it in."""
    model = onnx.load(REAL_MODELS / "nobn_candy_style.onnx")
    names = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for number, node in enumerate(model.graph.node):
        nodes.append(node)
        if node.op_type != "InstanceNormalization":
            continue
        channels = names[node.input[1]].dims[0]
        output, node.output[0] = node.output[0], f"plain_{number}"
        vectors = [f"{name}_{number}" for name in "sbmv"]
        for name, values in zip(vectors, statistics(channels, seed=number, positive=True), strict=True):
            model.graph.initializer.append(numpy_helper.from_array(values, name))
        nodes.append(helper.make_node("BatchNormalization", [f"plain_{number}", *vectors], [output], f"bn_{number}"))
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    result = bnfold.fold(model)
    assert (len(result.folded), result.kept) == (15, ())
    feeds = {"inputImage": 255 * np.random.default_rng(0).uniform(size=(1, 3, 720, 720)).astype(np.float32)}
    (before,), (after,) = run_ort(model, feeds), run_ort(result.model, feeds)
    assert np.ptp(before) > 100
    assert np.abs(before - after).max() <= 16 * np.sqrt(1 + 16) * 2.0**-23 * np.abs(before).max()  # as a check has it
