"""Weights and biases behind DequantizeLinear: the scales take the map, the integers stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from support import Array, check_fold, graph_model, normal, op_types, run_ort, run_reference, statistics

import bnfold
from bnfold.folding.quantized import requantized
from bnfold.model.constants import Constants
from bnfold.model.graph import Graph
from bnfold.model.shapes import Shapes
from bnfold.ops.rule import Operator, Refusal, Rescale, Taken

NEWEST = 25
"""The newest version of DequantizeLinear that onnx 1.23 knows."""

KINDS: dict[str, tuple[npt.DTypeLike, int, int, int]] = {
    "int8": (np.int8, 10, -128, 127),
    "uint8": (np.uint8, 10, 0, 255),
    "int32": (np.int32, 10, -(2**20), 2**20),
    "float8e4m3fn": (ml_dtypes.float8_e4m3fn, 19, -200, 200),
    "float8e5m2": (ml_dtypes.float8_e5m2, 19, -200, 200),
    "int16": (np.int16, 21, -(2**15), 2**15 - 1),
    "uint16": (np.uint16, 21, 0, 2**16 - 1),
    "int4": (ml_dtypes.int4, 21, -8, 7),
    "uint4": (ml_dtypes.uint4, 21, 0, 15),
    "float4e2m1": (ml_dtypes.float4_e2m1fn, 23, -6, 6),
    "int2": (ml_dtypes.int2, 25, -2, 1),
    "uint2": (ml_dtypes.uint2, 25, 0, 3),
}
"""Type, the opset that brought it, and the range to draw from."""

ON_ONNXRUNTIME = {"int8", "uint8", "int32", "int16", "uint16", "int4", "uint4", "float8e4m3fn", "float8e5m2"}


def drawn(kind: str, *shape: int, seed: int = 7) -> Array:
    """Integers (or floats of few bits) of a type over its whole range."""
    dtype, _, low, high = KINDS[kind]
    return np.random.default_rng([seed, *shape]).integers(low, high, shape, endpoint=True).astype(dtype)


def positive(*shape: int, seed: int = 0, dtype: npt.DTypeLike = np.float32) -> Array:
    return np.random.default_rng([seed, 3, *shape]).uniform(0.5, 1.5, shape).astype(dtype)


def stats(channels: int, **options: Any) -> dict[str, Any]:
    return dict(zip(("s", "b", "m", "v"), statistics(channels, **options), strict=True))


NORMALIZE = "BatchNormalization({}, s, b, m, v)"


class Op(NamedTuple):
    """An operator whose weight is W, with the axes of W that run along its outputs and its inputs."""

    text: str
    x: tuple[int, ...]
    weight: tuple[int, ...]
    outputs: int
    inputs: int
    channels: int
    behind: str
    in_front: str


FOR_CHANNELS = (NORMALIZE, NORMALIZE)
OPERATORS: dict[str, Op] = {
    "Conv": Op("Conv({x}, W)", (2, 6, 5, 5), (4, 6, 3, 3), 0, 1, 4, *FOR_CHANNELS),
    "Conv, depthwise": Op("Conv<group = 6>({x}, W)", (2, 6, 5, 5), (6, 1, 3, 3), 0, 0, 6, *FOR_CHANNELS),
    "Conv, 1-D": Op("Conv({x}, W)", (2, 6, 9), (4, 6, 3), 0, 1, 4, *FOR_CHANNELS),
    "ConvTranspose": Op("ConvTranspose({x}, W)", (2, 6, 5, 5), (6, 4, 1, 1), 1, 0, 4, *FOR_CHANNELS),
    "Gemm": Op("Gemm({x}, W)", (5, 6), (6, 4), 1, 0, 4, *FOR_CHANNELS),
    "Gemm, transB": Op("Gemm<transB = 1>({x}, W)", (5, 6), (4, 6), 0, 1, 4, *FOR_CHANNELS),
    "Gemm, constant A": Op("Gemm(W, {x})", (6, 5), (4, 6), 0, 1, 4, "Mul({}, k)", "Mul({}, k)"),
    "MatMul": Op("MatMul({x}, W)", (2, 5, 6), (6, 4), 1, 0, 4, "Mul({}, k)", "Mul({}, k)"),
    "MatMul, constant left": Op("MatMul(W, {x})", (2, 6, 5), (4, 6), 0, 1, 4, "Mul({}, k)", "Mul({}, k)"),
}
COLUMNS = {"MatMul"}
"""Operators along whose last axis the channels lie."""


def dims(shape: Sequence[int]) -> str:
    return "float[" + ", ".join(map(str, shape)) + "]"


def unknown(rank: int) -> str:
    return "float[" + ", ".join(f"d{k}" for k in range(rank)) + "]"


def quantized(weight: tuple[int, ...], layout: str, along: int, kind: str = "int8") -> tuple[str, dict[str, Any]]:
    """``W = DequantizeLinear(...)`` and its constants.

    Args:
        weight: the shape.
        layout: "tensor", "one" (a list of one scale), "axis" or "blocks".
        along: the axis of the map; scales per axis lie along it, blocks along the next one.
        kind: the type of the integers.
    """
    attributes, shape = "", tuple[int, ...]()
    if layout == "one":
        shape = (1,)
    if layout == "axis":
        attributes, shape = f"<axis = {along}>", (weight[along],)
    if layout == "blocks":
        other = (along + 1) % 2
        size = min(4, weight[other])
        attributes = f"<axis = {other}, block_size = {size}>"
        shape = tuple(-(-length // size) if axis == other else length for axis, length in enumerate(weight))
    constants: dict[str, Any] = {"Q": drawn(kind, *weight), "qs": positive(*shape) / np.float32(KINDS[kind][3] or 1)}
    zero = [] if kind.startswith("float") or kind == "int32" else ["qz"]
    if zero:
        constants["qz"] = drawn(kind, *shape, seed=8)
    return f"W = DequantizeLinear{attributes}({', '.join(['Q', 'qs', *zero])})", constants


def network(
    op: Op, layout: str, *, pushing: bool = False, kind: str = "int8", opset: int = 21, uniform: bool = False
) -> ModelProto:
    """An operator with a quantized weight, and an affine behind it or in front of it."""
    along, channels = (op.inputs, op.x[1]) if pushing else (op.outputs, op.channels)
    if op.text.startswith("MatMul({x}") and pushing:
        channels = op.x[-1]
    if op.text.startswith(("MatMul(W", "Gemm(W")) and pushing:
        channels = op.x[-2]
    head, constants = quantized(op.weight, layout, along, kind)
    affine = "Mul({}, k)" if uniform else (op.in_front if pushing else op.behind)
    if affine == NORMALIZE:
        constants |= stats(channels)
    else:
        rows = () if op.text.startswith("MatMul({x}") else (1,)
        constants["k"] = np.float32(-1.5) if uniform else -positive(channels, *rows, seed=5)
    if pushing:
        body = f"n = {affine.format('x')} y = {op.text.format(x='n')}"
    else:
        body = f"c = {op.text.format(x='x')} y = {affine.format('c')}"
    return graph_model(
        f"({dims(op.x)} x) => ({unknown(len(op.x))} y) {{ {head} {body} }}", opset=opset, ir=13, **constants
    )


def initializers(model: ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def of_type(model: ModelProto, op_type: str) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == op_type]


def assert_integers_stay(before: ModelProto, after: ModelProto) -> None:
    """Every integer weight is there, byte for byte; zero points too, or repeated where one became a list."""
    old, new = initializers(before), initializers(after)
    pairs = zip(of_type(before, "DequantizeLinear"), of_type(after, "DequantizeLinear"), strict=True)
    for first, second in (pair for pair in pairs if pair[0].input[0] in old):
        assert second.input[0] == first.input[0]
        assert new[second.input[0]] == old[first.input[0]]
        assert len(second.input) == len(first.input)
        if len(first.input) < 3:
            continue
        zeros = [numpy_helper.to_array(tensors[node.input[2]]) for tensors, node in ((old, first), (new, second))]
        assert zeros[0].dtype == zeros[1].dtype
        assert zeros[1].shape == numpy_helper.to_array(new[second.input[1]]).shape
        if zeros[0].shape == zeros[1].shape:
            assert new[second.input[2]] == old[first.input[2]]
        else:
            assert zeros[0].size == 1
            assert np.array_equal(np.full(zeros[1].shape, zeros[0].reshape(-1)[0], zeros[0].dtype), zeros[1])


def codes(model: ModelProto) -> list[str]:
    """Why each affine that stays does."""
    return [info.code for info in bnfold.inspect(model) if not info.folds]


# --- Every operator, in both directions, with every layout of scales ---


@pytest.mark.parametrize("layout", ["tensor", "one", "axis", "blocks"])
@pytest.mark.parametrize("pushing", [False, True], ids=["pull", "push"])
@pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)
def test_the_scales_take_the_map(op: Op, pushing: bool, layout: str) -> None:
    model = network(op, layout, pushing=pushing)
    result = check_fold(model, leaves=["DequantizeLinear", op.text.partition("(")[0].partition("<")[0]])
    assert_integers_stay(model, result.model)
    (dequantize,) = of_type(result.model, "DequantizeLinear")
    if layout in ("tensor", "one"):
        axis = op.inputs if pushing else op.outputs
        assert helper.get_node_attr_value(dequantize, "axis") == axis


@pytest.mark.parametrize("layout", ["tensor", "axis"])
@pytest.mark.parametrize("kind", KINDS)
def test_integers_of_every_type_stay(kind: str, layout: str) -> None:
    run = run_ort if kind in ON_ONNXRUNTIME else run_reference
    model = network(OPERATORS["Gemm"], layout, kind=kind, opset=max(13, KINDS[kind][1]))
    exact = KINDS[kind][1] >= 19  # before, onnx.reference dequantizes in float32
    result = check_fold(model, leaves=["DequantizeLinear", "Gemm"], run=run, exact_reference=exact)
    assert_integers_stay(model, result.model)


@pytest.mark.parametrize("opset", [10, 11, 12, 13, 19, 21, 23, NEWEST])
@pytest.mark.parametrize("name", ["Conv", "Gemm", "MatMul"])
def test_one_scale_takes_a_uniform_map_at_every_opset(name: str, opset: int) -> None:
    model = network(OPERATORS[name], "tensor", uniform=True, opset=opset)
    if name == "Gemm" and opset < 11:  # an addend was required
        model.graph.initializer.append(numpy_helper.from_array(normal(4), "C"))
        of_type(model, name)[0].input.append("C")
    result = check_fold(model, leaves=["DequantizeLinear", name], exact_reference=opset >= 19)
    assert_integers_stay(model, result.model)
    made = initializers(result.model)
    assert made["qs"].dims == []
    assert made["qz"] == initializers(model)["qz"]


@pytest.mark.parametrize("opset", [13, 19, 21, 23, NEWEST])
@pytest.mark.parametrize("layout", ["tensor", "axis"])
@pytest.mark.parametrize("name", ["Conv", "ConvTranspose", "MatMul"])
def test_scales_take_a_map_per_channel_from_opset_13_on(name: str, layout: str, opset: int) -> None:
    model = network(OPERATORS[name], layout, opset=opset)
    result = check_fold(model, leaves=["DequantizeLinear", name], exact_reference=opset >= 19)
    assert_integers_stay(model, result.model)


@pytest.mark.parametrize("layout", ["axis", "blocks"])
def test_scales_in_a_list_take_a_uniform_map(layout: str) -> None:
    model = network(OPERATORS["Conv"], layout, uniform=True)
    before = numpy_helper.to_array(initializers(model)["qs"])
    result = check_fold(model, leaves=["DequantizeLinear", "Conv"])
    after = numpy_helper.to_array(initializers(result.model)["qs"])
    assert np.array_equal(after, before * np.float32(-1.5))


def test_a_map_by_blocks_goes_into_scales_of_blocks() -> None:
    op = OPERATORS["MatMul"]
    head, constants = quantized((8, 4), "blocks", 1)  # along axis 0, two blocks of 4
    k = np.repeat(np.array([2.0, -3.0], np.float32), 4)
    model = graph_model(
        f"(float[2,5,8] x) => (float[2,5,4] y) {{ {head} n = Mul(x, k) y = {op.text.format(x='n')} }}",
        opset=21,
        k=k,
        **constants,
    )
    result = check_fold(model, leaves=["DequantizeLinear", "MatMul"])
    assert_integers_stay(model, result.model)
    made = numpy_helper.to_array(initializers(result.model)["qs"])
    assert np.array_equal(made, constants["qs"] * np.array([[2.0], [-3.0]], np.float32))


def test_equal_scales_in_a_list_are_one_scale_and_move_to_another_axis() -> None:
    constants: dict[str, Any] = {
        "Q": drawn("int8", 4, 6, 3, 3),
        "qs": np.full(6, 0.01, np.float32),
        "qz": np.full(6, 3, np.int8),
    }
    model = graph_model(
        "(float[2,6,5,5] x) => (float[2,4,3,3] y) "
        f"{{ W = DequantizeLinear<axis = 1>(Q, qs, qz) c = Conv(x, W) y = {NORMALIZE.format('c')} }}",
        **constants,
        **stats(4),
    )
    result = check_fold(model, leaves=["DequantizeLinear", "Conv"])
    (dequantize,) = of_type(result.model, "DequantizeLinear")
    assert helper.get_node_attr_value(dequantize, "axis") == 0
    assert initializers(result.model)["Q"] == initializers(model)["Q"]


HALVES = {"float16": (np.float16, "float16"), "bfloat16": (ml_dtypes.bfloat16, "bfloat16")}


@pytest.mark.parametrize(("dtype", "name"), HALVES.values(), ids=HALVES)
def test_scales_are_rounded_once_in_their_own_type(dtype: npt.DTypeLike, name: str) -> None:
    constants: dict[str, Any] = {"Q": drawn("int8", 6, 4), "qs": (positive(4) / np.float32(64)).astype(dtype)}
    model = graph_model(
        f"({name}[5,6] x) => ({name}[5,4] y) "
        "{ W = DequantizeLinear<axis = 1>(Q, qs) c = MatMul(x, W) y = Mul(c, k) }",
        k=(-positive(4, seed=1)).astype(dtype),
        **constants,
    )
    result = check_fold(model, leaves=["DequantizeLinear", "MatMul"], run=run_reference)
    made = numpy_helper.to_array(initializers(result.model)["qs"])
    exact = constants["qs"].astype(np.float64) * -positive(4, seed=1).astype(dtype).astype(np.float64)
    assert made.dtype == np.dtype(dtype)
    assert np.array_equal(made, exact.astype(np.float32).astype(dtype))


def test_the_output_may_have_another_type_than_the_scales() -> None:
    constants: dict[str, Any] = {"Q": drawn("int8", 6, 4), "qs": positive(4) / np.float32(64)}
    model = graph_model(
        "(float16[5,6] x) => (float16[5,4] y) "
        "{ W = DequantizeLinear<axis = 1, output_dtype = 10>(Q, qs) c = MatMul(x, W) y = Mul(c, k) }",
        opset=23,
        ir=11,
        k=positive(4, seed=1, dtype=np.float16),
        **constants,
    )
    result = check_fold(model, leaves=["DequantizeLinear", "MatMul"], run=run_reference, exact_reference=False)
    assert initializers(result.model)["qs"].data_type == TensorProto.FLOAT
    assert_integers_stay(model, result.model)


# --- Who else reads it, and what stands between ---

SHARED = {"Q": drawn("int8", 4, 6, 3, 3), "qs": positive(4) / np.float32(64), "qz": drawn("int8", 4)}
BRANCHES = "c = Conv(x, W) d = Conv(x, W) n = BatchNormalization(c, s, b, m, v)"
W = "W = DequantizeLinear<axis = 0>(Q, qs, qz)"


def reading(body: str, outputs: str = "float[2,4,3,3] y", *, x: str = "float[2,6,5,5] x", **how: Any) -> ModelProto:
    return graph_model(f"({x}) => ({outputs}) {{ {body} }}", **{**SHARED, **stats(4), **how})


def test_a_shared_weight_gets_a_dequantizer_of_its_own_and_shares_the_integers() -> None:
    model = reading(f"{W} {BRANCHES} y = Add(n, d)")
    result = check_fold(model, leaves=["DequantizeLinear", "DequantizeLinear", "Conv", "Conv", "Add"])
    nodes, made = of_type(result.model, "DequantizeLinear"), initializers(result.model)
    assert {node.input[0] for node in nodes} == {"Q"}
    assert {node.input[2] for node in nodes} == {"qz"}
    assert len({node.input[1] for node in nodes}) == 2
    assert made["qs"] == initializers(model)["qs"]
    assert made["Q"] == initializers(model)["Q"]


def test_where_every_reader_of_a_shared_weight_folds_the_old_dequantizer_goes() -> None:
    model = reading(f"{W} {BRANCHES} o = BatchNormalization(d, s, m, b, v) y = Add(n, o)")
    result = check_fold(model)
    assert op_types(result.model).count("DequantizeLinear") == 2
    assert "qs" not in initializers(result.model)
    assert initializers(result.model)["Q"] == initializers(model)["Q"]


def test_shared_scales_are_not_changed_for_another_weight() -> None:
    model = reading(
        f"{W} V = DequantizeLinear<axis = 0>(R, qs, qz) c = Conv(x, W) d = Conv(x, V) "
        f"n = {NORMALIZE.format('c')} y = Add(n, d)",
        R=drawn("int8", 4, 6, 3, 3)[::-1],
    )
    result = check_fold(model)
    assert initializers(result.model)["qs"] == initializers(model)["qs"]
    assert_integers_stay(model, result.model)


def test_a_dequantized_weight_that_is_a_graph_output_stays() -> None:
    model = reading(f"{W} c = Conv(x, W) y = {NORMALIZE.format('c')}", "float[2,4,3,3] y, float[4,6,3,3] W")
    assert op_types(check_fold(model).model).count("DequantizeLinear") == 2


def test_an_operator_that_reads_its_weight_twice_gets_one_of_its_own() -> None:
    model = reading(
        f"{W} w = Identity(W) c = Conv(x, w) y = {NORMALIZE.format('c')} z = Shape(W)", "float[2,4,3,3] y, int64[4] z"
    )
    result = check_fold(model, leaves=["DequantizeLinear", "Identity", "Conv", "Shape"])
    assert_integers_stay(model, result.model)


TRANSPOSED: dict[str, Any] = {"Q": drawn("int8", 4, 6), "qs": positive(4) / np.float32(64), "k": positive(4, seed=2)}


@pytest.mark.parametrize(
    "between", ["T = Transpose(W)", "V = Identity(W) U = Transpose<perm = [1, 0]>(V) T = Identity(U)"]
)
def test_scales_are_found_behind_a_transpose(between: str) -> None:
    model = graph_model(
        f"(float[5,6] x) => (float[5,4] y) "
        f"{{ W = DequantizeLinear<axis = 0>(Q, qs) {between} c = MatMul(x, T) y = Mul(c, k) }}",
        **TRANSPOSED,
    )
    result = check_fold(model)
    assert "Mul" not in op_types(result.model)
    assert op_types(result.model).count("DequantizeLinear") == 1
    assert_integers_stay(model, result.model)


def test_one_scale_behind_a_transpose_becomes_one_per_axis_of_the_integers() -> None:
    model = graph_model(
        "(float[5,6] x) => (float[5,4] y) "
        "{ W = DequantizeLinear(Q, qs) T = Transpose(W) c = MatMul(x, T) y = Mul(c, k) }",
        **{**TRANSPOSED, "qs": np.float32(0.01)},
    )
    (dequantize,) = of_type(
        check_fold(model, leaves=["DequantizeLinear", "Transpose", "MatMul"]).model, "DequantizeLinear"
    )
    assert helper.get_node_attr_value(dequantize, "axis") == 0


def test_a_transpose_with_two_readers_is_copied_with_its_dequantizer() -> None:
    model = graph_model(
        "(float[5,6] x) => (float[5,4] y) { W = DequantizeLinear<axis = 0>(Q, qs) T = Transpose(W) "
        "c = MatMul(x, T) d = MatMul(x, T) n = Mul(c, k) y = Add(n, d) }",
        **TRANSPOSED,
    )
    result = check_fold(model)
    assert op_types(result.model).count("Transpose") == 2
    assert "Mul" not in op_types(result.model)
    assert initializers(result.model)["Q"] == initializers(model)["Q"]


def test_scales_are_found_behind_a_cast() -> None:
    model = graph_model(
        "(float16[5,6] x) => (float16[5,4] y) "
        "{ W = DequantizeLinear<axis = 1>(Q, qs) T = Cast<to = 10>(W) c = MatMul(x, T) y = Mul(c, k) }",
        Q=drawn("int8", 6, 4),
        qs=positive(4) / np.float32(64),
        k=positive(4, seed=1, dtype=np.float16),
    )
    result = check_fold(model, leaves=["DequantizeLinear", "Cast", "MatMul"], exact_reference=False)
    assert_integers_stay(model, result.model)


class Reshaped(NamedTuple):
    """A weight in integers whose axes of size 1 stand elsewhere than in the operator."""

    integers: tuple[int, ...]
    axis: int
    between: str
    operator: str
    x: tuple[int, ...]
    channels: int


UNITS: dict[str, Reshaped] = {
    "depthwise, as TensorFlow lays it": Reshaped(
        (3, 2, 6, 1), 2, "R = Reshape(W, to) T = Transpose<perm = [3, 2, 0, 1]>(R)", "Conv<group = 6>", (2, 6, 5, 5), 6
    ),
    "Unsqueeze": Reshaped((4, 6, 3), 0, "T = Unsqueeze(W, to)", "Conv", (2, 6, 1, 5), 4),
    "Squeeze": Reshaped((1, 6, 1, 4), 3, "T = Squeeze(W, to)", "Gemm", (5, 6), 4),
    "behind a Transpose": Reshaped(
        (1, 4, 6), 1, "R = Transpose<perm = [2, 0, 1]>(W) T = Reshape(R, to)", "MatMul", (5, 6), 4
    ),
    "of one output": Reshaped((6, 1, 1), 1, "T = Reshape(W, to)", "MatMul", (5, 6), 1),
}
TO = {
    "depthwise, as TensorFlow lays it": [3, 2, 1, 6],
    "Unsqueeze": [2],
    "Squeeze": [0, 2],
    "behind a Transpose": [6, 4],
    "of one output": [6, 1],
}


@pytest.mark.parametrize("one_scale", [True, False], ids=["one scale", "a scale per channel"])
@pytest.mark.parametrize("name", UNITS)
def test_scales_are_found_where_only_axes_of_size_1_are_moved(name: str, one_scale: bool) -> None:
    case = UNITS[name]
    outputs = case.integers[case.axis]
    model = graph_model(
        f"(float[{','.join(map(str, case.x))}] x) => (float[i] y) {{ W = DequantizeLinear<axis = {case.axis}>(Q, qs) "
        f"{case.between} c = {case.operator}(x, T) y = Mul(c, k) }}",
        Q=drawn("int8", *case.integers),
        qs=(positive() if one_scale else positive(outputs)) / np.float32(64),
        to=np.array(TO[name]),
        k=positive(*(case.channels, 1, 1)[: len(case.x) - 1] if "Conv" in case.operator else (case.channels,), seed=1),
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    result = check_fold(model)
    assert "Mul" not in op_types(result.model)
    assert_integers_stay(model, result.model)


def test_a_bias_in_integers_takes_a_shift_behind_a_squeeze() -> None:
    scale, step = np.float32(0.02), np.float32(0.01)
    model = graph_model(
        "(uint8[5,6] q) => (float[5,4] y) { x = DequantizeLinear(q, xs) W = DequantizeLinear(Q, qs) "
        "D = DequantizeLinear(B, bs) R = Squeeze(D, to) c = Gemm(x, W, R) n = Mul(c, k) y = Add(n, l) }",
        Q=drawn("int8", 6, 4),
        B=np.arange(4, dtype=np.int32).reshape(1, 4),
        xs=scale,
        qs=step,
        bs=scale * step,
        to=np.array([0]),
        k=positive(seed=1),
        l=positive(4, seed=2),
    )
    result = bnfold.fold(model)
    assert op_types(result.model).count("DequantizeLinear") == 3
    assert not {"Mul", "Add"} & set(op_types(result.model))
    report = bnfold.check(model, result.model)
    assert report, [(output.needed, output.tolerance) for output in report.outputs]


@pytest.mark.parametrize(
    ("integers", "between"),
    [((2, 3, 4), "T = Reshape(W, shape)"), ((6, 4), "T = Mul(W, k)"), ((4, 6), "T = Reshape(W, shape)")],
    ids=["Reshape of two axes to one", "Mul", "Reshape to another order"],
)
def test_a_weight_computed_from_integers_is_not_made_a_float_one(integers: tuple[int, ...], between: str) -> None:
    axis = len(integers) - 1
    model = graph_model(
        f"(float[5,6] x) => (float[5,4] y) "
        f"{{ W = DequantizeLinear<axis = {axis}>(Q, qs) {between} c = Gemm(x, T) y = {NORMALIZE.format('c')} }}",
        Q=drawn("int8", *integers),
        qs=positive(integers[-1]) / np.float32(64),
        k=positive(4, seed=1),
        shape=np.array([6, 4]),
        **stats(4),
    )
    (kept,) = bnfold.fold(model).kept
    assert kept.code == "quantized"
    assert "computed from integers" in kept.reason
    assert bnfold.fold(model).model == model


IN_A_BODY = """
agraph (bool flag, float[2,6,5,5] x) => (float[2,4,3,3] y) {
  W = DequantizeLinear<axis = 0>(Q, qs, qz)
  y = If(flag) <
    then_branch = g1 () => (float[2,4,3,3] t) { c = Conv(x, W) t = BatchNormalization(c, s, b, m, v) },
    else_branch = g2 () => (float[2,4,3,3] e) { OTHER }
  >
}"""


@pytest.mark.parametrize(
    ("other", "dequantizers"), [("d = Conv(x, W) e = Neg(d)", 2), ("e = Conv(x, V)", 1)], ids=["shared", "alone"]
)
def test_a_body_reads_integers_of_the_graph_around_it(other: str, dequantizers: int) -> None:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]> {IN_A_BODY.replace("OTHER", other)}')
    constants = {**SHARED, **stats(4), "V": normal(4, 6, 3, 3)}
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    for flag in (True, False):
        feeds = {"flag": np.array(flag), "x": normal(2, 6, 5, 5)}
        result = check_fold(model, feeds=feeds, exact_reference=False)
    bodies = [
        attribute.g for node in result.model.graph.node for attribute in node.attribute if attribute.HasField("g")
    ]
    found = [node.op_type for graph in (result.model.graph, *bodies) for node in graph.node]
    assert found.count("DequantizeLinear") == dequantizers
    assert "BatchNormalization" not in found
    assert initializers(result.model)["Q"] == initializers(model)["Q"]


# --- Biases ---

INTEGER_CONV = "Conv(X, W, B)"
ACTIVATION = "q = QuantizeLinear(x, xs, xz) X = DequantizeLinear(q, xs, xz)"
BIAS = "B = DequantizeLinear<axis = 0>(bq, bs)"


def integer_conv(
    head: str = f"{ACTIVATION} {W} {BIAS} c = Conv(X, W, B)",
    *,
    shift: float = 1.0,
    normalize: str = NORMALIZE.format("c"),
    **how: Any,
) -> ModelProto:
    xs = np.float32(0.02)
    parameters = stats(4)
    parameters["b"] = parameters["b"] * np.float32(shift)
    given = {
        "xs": xs,
        "xz": np.uint8(128),
        "bq": np.array([1000, -2000, 30, 40000], np.int32),
        "bs": xs * SHARED["qs"],
        **parameters,
    }
    return reading(f"{head} y = {normalize}", **{**given, **how})


def bias_of(model: ModelProto) -> tuple[NodeProto, Array, Array]:
    """The DequantizeLinear of the convolution's bias, its integers and its scales."""
    (conv,) = of_type(model, "Conv")
    node = next(node for node in model.graph.node if conv.input[2] in node.output)
    integers, scales = (numpy_helper.to_array(initializers(model)[name]) for name in node.input[:2])
    return node, integers, scales


def assert_rounded_shift_only(model: ModelProto, result: bnfold.FoldResult) -> None:
    """The outputs differ by half a step of the bias at most, and by rounding in float32."""
    feeds = {"x": normal(2, 6, 5, 5)}
    (before,), (after,) = run_ort(model, feeds), run_ort(result.model, feeds)
    _, _, scales = bias_of(result.model)
    most = np.abs(scales).max() / 2
    assert 0 < np.abs(before - after).max() <= most + 1e-5 * np.abs(before).max()
    assert most < 0.02


def test_a_bias_in_integers_stays_one_where_the_operator_works_in_integers() -> None:
    model = integer_conv()
    result = bnfold.fold(model)
    assert result.kept == ()
    old, new = bias_of(model), bias_of(result.model)
    _, _, weight_scales = bias_of(model)
    (conv,) = of_type(result.model, "Conv")
    weight = next(node for node in result.model.graph.node if conv.input[1] in node.output)
    scales = numpy_helper.to_array(initializers(result.model)[weight.input[1]])
    assert new[1].dtype == np.int32
    assert np.allclose(new[2], np.float32(0.02) * scales, rtol=1e-6, atol=0)
    assert not np.array_equal(old[1], new[1])
    assert weight_scales.shape == scales.shape
    assert initializers(result.model)["Q"] == initializers(model)["Q"]
    assert any("rounded by" in remark for remark in result.remarks)
    assert_rounded_shift_only(model, result)


def test_a_bias_in_integers_keeps_them_where_there_is_no_shift() -> None:
    model = integer_conv(normalize="Mul(c, k)", k=-positive(4, 1, 1))
    result = check_fold(model, exact_reference=False)
    assert_integers_stay(model, result.model)
    assert not any("rounded by" in remark for remark in result.remarks)


def test_one_scale_for_the_bias_becomes_one_per_channel_with_that_of_the_weight() -> None:
    scale = np.float32(0.01)
    model = integer_conv(
        f"{ACTIVATION} W = DequantizeLinear(Q, qs, qz) B = DequantizeLinear(bq, bs) c = Conv(X, W, B)",
        qs=scale,
        qz=np.int8(0),
        bs=np.float32(0.02) * scale,
    )
    result = bnfold.fold(model)
    node, integers, scales = bias_of(result.model)
    assert (integers.shape, scales.shape) == ((4,), (4,))
    assert helper.get_node_attr_value(node, "axis") == 0
    assert_rounded_shift_only(model, result)


@pytest.mark.parametrize("opset", [10, 13, 20])
def test_a_uniform_map_and_a_shift_go_into_one_scale_and_its_integers(opset: int) -> None:
    model = integer_conv(
        f"{ACTIVATION} W = DequantizeLinear(Q, qs, qz) B = DequantizeLinear(bq, bs) c = Conv(X, W, B) d = Mul(c, k)",
        normalize="Add(d, l)",
        opset=opset,
        qs=np.float32(0.01),
        qz=np.int8(0),
        bs=np.float32(0.02) * np.float32(0.01),
        k=np.float32(2.5),
        l=normal(4, 1, 1),
    )
    result = bnfold.fold(model)
    assert op_types(result.model) == ["QuantizeLinear", *["DequantizeLinear"] * 3, "Conv"]
    assert bias_of(result.model)[2].shape == ()
    assert_rounded_shift_only(model, result)


def test_an_operator_in_integers_without_a_bias_gets_one_in_integers() -> None:
    model = integer_conv(f"{ACTIVATION} {W} c = Conv(X, W)")
    result = bnfold.fold(model)
    onnx.checker.check_model(result.model, full_check=True)
    node, integers, _ = bias_of(result.model)
    assert integers.dtype == np.int32
    places = [list(result.model.graph.node).index(of) for of in (node, *of_type(result.model, "Conv"))]
    assert places[0] < places[1]
    assert_rounded_shift_only(model, result)


@pytest.mark.parametrize("group", [1, 2])
def test_a_transposed_convolution_in_integers_gets_a_bias_in_integers(group: int) -> None:
    model = reading(
        f"{ACTIVATION} W = DequantizeLinear<axis = 1>(Q, qs) c = ConvTranspose<group = {group}>(X, W) "
        f"y = {NORMALIZE.format('c')}",
        "float[2,4,7,7] y",
        xs=np.float32(0.02),
        xz=np.uint8(128),
        Q=drawn("int8", 6, 4 // group, 3, 3),
        qs=np.full(4 // group, 0.01, np.float32),
        s=np.full(4, 1.5, np.float32),
        v=np.full(4, 0.7, np.float32),
    )
    result = bnfold.fold(model)
    assert result.kept == ()
    assert op_types(result.model).count("DequantizeLinear") == 3
    feeds = {"x": normal(2, 6, 5, 5)}
    (before,), (after,) = run_ort(model, feeds), run_ort(result.model, feeds)
    assert 0 < np.abs(before - after).max() < 1e-3


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_in_integers_gets_a_bias_in_integers(transposed: int) -> None:
    shape = (4, 6) if transposed else (6, 4)
    model = reading(
        f"{ACTIVATION} W = DequantizeLinear<axis = {1 - transposed}>(Q, qs) c = Gemm<transB = {transposed}>(X, W) "
        f"y = {NORMALIZE.format('c')}",
        "float[5,4] y",
        x="float[5,6] x",
        xs=np.float32(0.02),
        xz=np.uint8(128),
        Q=drawn("int8", *shape),
    )
    result = bnfold.fold(model)
    assert op_types(result.model) == ["QuantizeLinear", *["DequantizeLinear"] * 3, "Gemm"]
    feeds = {"x": normal(5, 6)}
    (before,), (after,) = run_ort(model, feeds), run_ort(result.model, feeds)
    assert 0 < np.abs(before - after).max() < 1e-3


@pytest.mark.parametrize(
    "head",
    [
        f"{W} {BIAS} c = Conv(x, W, B)",
        f"{W} xd = Mul(xs, xs) q = QuantizeLinear(x, xs, xz) X = DequantizeLinear(q, xr, xz) {BIAS} c = Conv(X, W, B)",
        f"{ACTIVATION} {BIAS} c = Conv(X, F, B)",
        f"{ACTIVATION} {W} c = Conv(X, W, fb)",
        f"{ACTIVATION} {W} B = DequantizeLinear<axis = 0>(b8, bs) c = Conv(X, W, B)",
    ],
    ids=["weight only", "a scale that is no constant", "weight in floats", "bias in floats", "bias in int8"],
)
def test_elsewhere_the_bias_becomes_an_ordinary_constant(head: str) -> None:
    scalar = "float xr, float[2,6,5,5] x" if "xr" in head else "float[2,6,5,5] x"
    head = head.replace("xd = Mul(xs, xs) ", "")
    constants: dict[str, Any] = {"F": normal(4, 6, 3, 3), "fb": normal(4), "b8": drawn("int8", 4)}
    model = integer_conv(head, x=scalar, **constants)
    feeds = {"x": normal(2, 6, 5, 5)} | ({"xr": np.array(0.02, np.float32)} if "xr" in head else {})
    result = check_fold(model, feeds=feeds, exact_reference=False)
    (conv,) = of_type(result.model, "Conv")
    assert initializers(result.model)[conv.input[2]].data_type == TensorProto.FLOAT


REFUSED_BIASES: Mapping[str, tuple[ModelProto, str]] = {
    "another scale": (integer_conv(bs=np.float32(0.021) * SHARED["qs"]), "times that of its weight"),
    "beyond int32": (integer_conv(shift=1e8), "beyond int32"),
    "a scale of 0": (integer_conv(s=np.array([0, 1, 1, 1], np.float32)), "scale is 0"),
    "computed": (
        integer_conv(f"{ACTIVATION} {W} {BIAS} C = Neg(B) c = Conv(X, W, C)"),
        "a bias that is computed from integers",
    ),
}


@pytest.mark.parametrize(("model", "reason"), REFUSED_BIASES.values(), ids=REFUSED_BIASES)
def test_a_bias_in_integers_that_can_not_stay_one_is_refused(model: ModelProto, reason: str) -> None:
    result = bnfold.fold(model)
    (kept,) = result.kept
    assert kept.code == "quantized"
    assert reason in kept.reason
    assert result.model == model


# --- What does not go ---


def test_negative_scales_are_remarked_upon() -> None:
    model = reading(f"{W} c = Conv(x, W) y = Mul(c, k)", k=-positive(4, 1, 1))
    assert any("negative scales" in remark for remark in check_fold(model).remarks)
    positive_only = reading(f"{W} c = Conv(x, W) y = Mul(c, k)", k=positive(4, 1, 1))
    assert check_fold(positive_only).remarks == ()


REFUSED: Mapping[str, tuple[ModelProto, str, str]] = {
    "one scale before opset 13": (
        reading(
            f"W = DequantizeLinear(Q, qs, qz) c = Conv(x, W) y = {NORMALIZE.format('c')}",
            opset=10,
            qs=np.float32(0.01),
            qz=np.int8(0),
        ),
        "quantized",
        "opset 13",
    ),
    "scales along the inputs": (
        reading(f"W = DequantizeLinear<axis = 1>(Q, qs) c = Conv(x, W) y = {NORMALIZE.format('c')}", qs=positive(6)),
        "quantized",
        "along axis 1",
    ),
    "different zero points along the inputs": (
        reading(
            f"W = DequantizeLinear<axis = 1>(Q, qs, qz) c = Conv(x, W) y = {NORMALIZE.format('c')}",
            qs=np.full(6, 0.01, np.float32),
            qz=drawn("int8", 6),
        ),
        "quantized",
        "along axis 1",
    ),
    "inside a block": (
        reading(
            f"W = DequantizeLinear<axis = 0, block_size = 2>(Q, qs) c = Gemm<transB = 1>(x, W) "
            f"y = {NORMALIZE.format('c')}",
            "float[5,4] y",
            x="float[5,6] x",
            opset=21,
            Q=drawn("int8", 4, 6),
            qs=positive(2, 6),
        ),
        "quantized",
        "inside its blocks",
    ),
    "groups of a transposed convolution": (
        reading(
            f"W = DequantizeLinear(Q, qs) c = ConvTranspose<group = 2>(x, W) y = {NORMALIZE.format('c')}",
            "float[2,4,7,7] y",
            Q=drawn("int8", 6, 2, 3, 3),
            qs=np.float32(0.01),
        ),
        "quantized",
        "two of its axes",
    ),
    "an activation": (
        reading(
            f"c = Conv(x, F) q = QuantizeLinear(c, xs, xz) d = DequantizeLinear(q, xs, xz) y = {NORMALIZE.format('d')}",
            F=normal(4, 6, 3, 3),
            xs=np.float32(0.1),
            xz=np.uint8(128),
        ),
        "barrier",
        "DequantizeLinear",
    ),
    "scales that do not fit": (
        reading(f"W = DequantizeLinear<axis = 1>(Q, qs) c = Conv(x, W) y = {NORMALIZE.format('c')}"),
        "dynamic-weight",
        "no constant",
    ),
}


@pytest.mark.parametrize(("model", "code", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_no_scales_can_say_is_refused(model: ModelProto, code: str, reason: str) -> None:
    result = bnfold.fold(model)
    (kept,) = result.kept
    assert kept.code == code
    assert reason in kept.reason
    assert result.model == model


@pytest.mark.parametrize(
    ("k", "scale", "code"),
    [(1e4, 100.0, "overflow"), (1e3, 1.0, "overflow"), (1e-3, 1e-4, "underflow")],
    ids=["the scale", "what it makes of the integers", "below the normal numbers"],
)
def test_scales_that_leave_float16_are_refused(k: float, scale: float, code: str) -> None:
    model = graph_model(
        "(float16[5,6] x) => (float16[5,4] y) { W = DequantizeLinear(Q, qs) c = MatMul(x, W) y = Mul(c, k) }",
        Q=drawn("int8", 6, 4),
        qs=np.float16(scale),
        k=np.float16(k),
    )
    assert codes(model) == [code]
    assert bnfold.fold(model).model == model


def test_no_shift_goes_into_a_weight_in_integers() -> None:
    graph = Graph(reading(f"{W} y = Conv(x, W)"))
    node = next(node for node in graph.nodes() if node.op_type == "Conv")
    shapes = Shapes(graph)
    op = Operator(node, Constants(graph, None, shapes=shapes), shapes)
    refused = requantized(op, Taken(constants={1: Rescale(np.ones(()), np.ones(()))}), 1)
    assert isinstance(refused, Refusal)
    assert refused.code == "quantized"


def test_the_parameters_of_an_affine_may_be_dequantized() -> None:
    model = reading(
        "k = DequantizeLinear<axis = 0>(kq, ks) c = Conv(x, F) y = Mul(c, k)",
        F=normal(4, 6, 3, 3),
        kq=drawn("int8", 4, 1, 1),
        ks=positive(4),
    )
    check_fold(model, leaves=["Conv"])


def test_a_map_that_differs_inside_a_block_of_two_is_refused() -> None:
    body = "(float[5,6] x) => (float[5,2] y) { W = DequantizeLinear<axis = 1, block_size = 2>(Q, qs) "
    body += "c = MatMul(x, W) y = Mul(c, k) }"
    constants: dict[str, Any] = {"Q": drawn("int8", 6, 2), "qs": positive(6, 1), "k": positive(2, seed=5)}
    model = graph_model(body, opset=21, **constants)
    assert op_types(bnfold.fold(model).model) == ["DequantizeLinear", "MatMul", "Mul"]


@pytest.mark.parametrize("scales", [SHARED["qs"], np.float32(0.01)], ids=["per channel", "one"])
def test_an_add_behind_an_operator_in_integers_becomes_its_bias_in_integers(scales: Array) -> None:
    head = W if scales.ndim else "W = DequantizeLinear(Q, qs)"
    model = integer_conv(f"{ACTIVATION} {head} c = Conv(X, W)", normalize="Add(c, l)", qs=scales, l=normal(4, 1, 1))
    result = bnfold.fold(model)
    assert "Add" not in op_types(result.model)
    assert bias_of(result.model)[1].dtype == np.int32
    assert_rounded_shift_only(model, result)
