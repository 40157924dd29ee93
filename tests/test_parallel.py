"""An affine beside a linear operator that reads the same value, added to it: the operator's weights take it in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper
from support import check_fold, feeds_for, graph_model, normal, op_types, refusal, run_ort

import bnfold

IMAGES = "(float[N,4,5,6] x) => (float[N,4,5,6] y)"
SAME = "pads = [1, 1, 1, 1]"
THREE = normal(4, 4, 3, 3, seed=1)


def parameters(name: str, channels: int = 4, seed: int = 0) -> dict[str, Any]:
    """Of a BatchNormalization, under names that begin with that."""
    drawn = [normal(channels, seed=seed + k) for k in range(4)]
    return dict(zip((f"{name}{k}" for k in range(4)), [*drawn[:3], np.abs(drawn[3]) + 0.5], strict=True))


def bn(wire: str, name: str = "n") -> str:
    return f"BatchNormalization({wire}, {', '.join(f'{name}{k}' for k in range(4))})"


def images(body: str, **constants: Any) -> ModelProto:
    """A graph whose first node is a Relu, so that nothing in front takes an affine of its output ``r``."""
    return graph_model(f"{IMAGES} {{ r = Relu(x) {body} }}", **{"W": THREE, **parameters("n"), **constants})


def test_all_three_normalizations_of_a_block_of_repvgg_fold() -> None:
    body = f"""c = Conv <{SAME}> (r, W) d = {bn("c", "k")} e = Conv(r, V) f = {bn("e", "l")}
        s = Add(d, f) i = {bn("r")} t = Add(s, i) y = Relu(t)"""
    model = images(body, V=normal(4, 4, 1, 1, seed=2), **parameters("k", seed=5), **parameters("l", seed=9))
    result = check_fold(model, leaves=["Relu", "Conv", "Conv", "Add", "Relu"])
    assert [(entry.node, entry.direction) for entry in result.folded][-1] == ("BatchNormalization -> i", "push")
    assert len(result.folded) == 3
    assert len(result.rounds) == 1, "each weight is rounded once"


OPERATORS = {
    "3x3": (f"Conv <{SAME}> (r, W)", [4, 4, 3, 3]),
    "1x1": ("Conv(r, W)", [4, 4, 1, 1]),
    "groups": (f"Conv <{SAME}, group = 2> (r, W)", [4, 2, 3, 3]),
    "depthwise": (f"Conv <{SAME}, group = 4> (r, W)", [4, 1, 3, 3]),
    "dilated": ("Conv <pads = [2, 2, 2, 2], dilations = [2, 2]> (r, W)", [4, 4, 3, 3]),
    "padded at one end": ("Conv <pads = [0, 2, 2, 0]> (r, W)", [4, 4, 3, 3]),
    "upper": ('Conv <auto_pad = "SAME_UPPER"> (r, W)', [4, 4, 4, 2]),
    "lower": ('Conv <auto_pad = "SAME_LOWER"> (r, W)', [4, 4, 4, 2]),
    "with a bias": (f"Conv <{SAME}> (r, W, B)", [4, 4, 3, 3]),
    "transposed": (f"ConvTranspose <{SAME}, group = 2> (r, W)", [4, 2, 3, 3]),
    "transposed, padded at one end": ("ConvTranspose <pads = [0, 2, 2, 0]> (r, W, B)", [4, 4, 3, 3]),
}


@pytest.mark.parametrize("joined", ["Add(c, n)", "Add(n, c)", "Sub(c, n)", "Sub(n, c)", "Sum(c, n)"])
@pytest.mark.parametrize("operator", list(OPERATORS))
def test_what_each_convolution_computes_stays(operator: str, joined: str) -> None:
    text, shape = OPERATORS[operator]
    made = text.partition(" ")[0].partition("(")[0]
    weight = {"W": normal(*shape, seed=3), "B": normal(4, seed=4)}
    exact = operator != "transposed"  # onnx.reference can not run one in groups
    model = images(f"c = {text} n = {bn('r')} y = {joined}", **weight)
    check_fold(model, leaves=["Relu", made], exact_reference=exact)


@pytest.mark.parametrize("size", ["5", "3,4,5"])
def test_one_and_three_axes_of_space(size: str) -> None:
    rank = size.count(",") + 1
    body = f"(float[2,4,{size}] x) => (float[2,4,{size}] y) {{ r = Relu(x) c = Conv <pads = {[1] * 2 * rank}> (r, W)"
    model = graph_model(f"{body} n = {bn('r')} y = Add(c, n) }}", W=normal(4, 4, *[3] * rank), **parameters("n"))
    check_fold(model, leaves=["Relu", "Conv"])


MATRICES = {
    "Gemm": ("Gemm(r, W)", ["Gemm"]),
    "Gemm, transposed": ("Gemm <transB = 1, alpha = 0.5> (r, W)", ["Gemm"]),
    "Gemm, with an addend": ("Gemm <alpha = 2.0, beta = 0.25> (r, W, B)", ["Gemm"]),
    "MatMul": ("MatMul(r, W)", ["MatMul", "Add"]),
    "MatMul, from the left": ("MatMul(W, r)", ["MatMul", "Add"]),
}


@pytest.mark.parametrize("operator", list(MATRICES))
def test_what_each_matrix_computes_stays(operator: str) -> None:
    text, leaves = MATRICES[operator]
    left = text == "MatMul(W, r)"
    affine = f"m = Mul(r, {'R' if left else 'S'}) n = Add(m, {'P' if left else 'T'})"
    constants: dict[str, Any] = {"W": normal(4, 4), "R": normal(4, 1, seed=3), "P": normal(4, 1, seed=4)}
    constants |= {name: normal(4, seed=seed) for seed, name in enumerate("BST")}
    head = "(float[4,N] x) => (float[4,N] y)" if left else "(float[N,4] x) => (float[N,4] y)"
    model = graph_model(f"{head} {{ r = Relu(x) c = {text} {affine} y = Add(n, c) }}", **constants)
    check_fold(model, leaves=["Relu", *leaves])


def test_what_an_operator_has_taken_in_already_is_turned_around_with_it() -> None:
    body = f"c = Conv <{SAME}> (r, W) d = {bn('c', 'k')} n = {bn('r')} y = Sub(n, d)"
    check_fold(images(body, **parameters("k", seed=7)), leaves=["Relu", "Conv"])


def test_a_matrix_that_takes_a_scale_alone_needs_no_addend() -> None:
    body = "(float[N,2,4] x) => (float[N,2,4] y) { r = Relu(x) c = MatMul(r, W) n = Mul(r, S) y = Add(n, c) }"
    check_fold(graph_model(body, W=normal(4, 4), S=normal(4, seed=3)), leaves=["Relu", "MatMul"])


def test_an_affine_that_is_the_same_for_all_channels() -> None:
    body = f"c = Conv <{SAME}> (r, W) n = Mul(r, S) y = Add(n, c)"
    check_fold(images(body, S=np.float32(1.5)), leaves=["Relu", "Conv"])


TREES = {
    "in front of the sum with the operator": ("s = Add(u, n) y = Add(s, c)", ["Add"]),
    "behind the sum with the operator": ("s = Add(u, c) y = Add(s, n)", ["Add"]),
    "on either side": ("s = Sub(u, n) t = Add(c, x) y = Sub(t, s)", ["Add", "Sub"]),
    "with the other sign": ("s = Sub(u, c) y = Sub(s, n)", ["Sub"]),
    "taken from what the operator is taken from": ("s = Sub(u, c) y = Add(s, n)", ["Sub"]),
    "one of three": ("y = Sum(u, n, c)", ["Sum"]),
    "the last of three": ("y = Sum(c, u, n)", ["Sum"]),
    "three in front": ("s = Sum(n, u, x) y = Add(c, s)", ["Sum", "Add"]),
}


@pytest.mark.parametrize("tree", list(TREES))
def test_several_sums_are_as_one(tree: str) -> None:
    text, leaves = TREES[tree]
    body = f"u = Sigmoid(x) c = Conv <{SAME}> (r, W) n = {bn('r')} {text}"
    check_fold(images(body), leaves=["Relu", "Sigmoid", "Conv", *leaves])


def test_a_constant_is_left_where_the_affine_was_added_to_it() -> None:
    """What stays is read by its own name: no node makes it, which could take that of the sum."""
    body = f"c = Conv <{SAME}> (r, W) n = {bn('r')} s = Add(x, n) y = Add(s, c)"
    folded = check_fold(images(body), leaves=["Relu", "Conv", "Add"]).model
    assert sorted(folded.graph.node[-1].input) == ["c", "x"]


def test_a_smaller_value_is_left_where_the_affine_was_added_to_it() -> None:
    """The sum was as large as the affine; what is left of it is not, so that it can not have its name and shape."""
    body = f"g = GlobalAveragePool(x) u = Sigmoid(g) c = Conv <{SAME}> (r, W) n = {bn('r')} s = Add(u, n) y = Add(s, c)"
    model = onnx.shape_inference.infer_shapes(images(body))
    check_fold(model, leaves=["Relu", "GlobalAveragePool", "Sigmoid", "Conv", "Add"])


def test_an_affine_behind_the_sum_that_does_nothing_does_not_lose_what_it_read() -> None:
    """It is pulled out first, so that what stands in front of it has its name: that was the sum, which was gone too."""
    nothing = {"o0": np.ones(4, np.float32), "o1": np.zeros(4, np.float32)}
    body = f"""{IMAGES.replace("x)", "x, float[a,b,c,d] q)", 1)} {{
        r = Relu(x) c = Conv <{SAME}> (r, W) d = Sub(c, q) n = {bn("r")} s = Add(n, d)
        k = BatchNormalization <epsilon = 0.0> (s, o0, o1, o1, o0) y = Sigmoid(k) }}"""
    model = graph_model(body, **{"W": THREE, **parameters("n"), **nothing})
    feeds = {"x": normal(2, 4, 5, 6), "q": normal(2, 4, 5, 6, seed=9)}
    check_fold(model, leaves=["Relu", "Conv", "Sub", "Sigmoid"], feeds=feeds)


def test_a_normalization_that_is_written_out_goes_as_a_whole() -> None:
    constants = {name: normal(4, 1, 1, seed=k) for k, name in enumerate("PQST")}
    body = f"c = Conv <{SAME}> (r, W) a = Sub(r, P) b = Mul(a, S) d = Add(b, T) y = Add(c, d)"
    assert len(check_fold(images(body, **constants), leaves=["Relu", "Conv"]).folded) == 3


@pytest.mark.parametrize("normalized", [False, True])
def test_channels_that_are_last_around_the_operator(normalized: bool) -> None:
    """As in what Keras exports."""
    normal_or_not = f"f = {bn('c')} " if normalized else ""
    conv = f"t = Transpose <perm = [0, 3, 1, 2]> (r) c = Conv <{SAME}> (t, W) {normal_or_not}"
    behind = f"d = Transpose <perm = [0, 2, 3, 1]> ({'f' if normalized else 'c'}) e = Identity(d)"
    body = f"r = Relu(x) {conv} {behind} m = Mul(r, S) n = Add(m, T) y = Add(e, n)"
    constants: dict[str, Any] = {"W": THREE, "S": normal(4, seed=3), "T": normal(4, seed=4), **parameters("n")}
    model = graph_model(f"(float[N,5,6,4] x) => (float[N,5,6,4] y) {{ {body} }}", **constants)
    check_fold(model, leaves=["Relu", "Transpose", "Conv", "Transpose", "Identity"])


def test_an_operator_that_is_turned_another_way_is_none_beside_the_affine() -> None:
    turned = "t = Transpose <perm = [0, 3, 2, 1]> (r) c = Conv <pads = [1, 1, 1, 1]> (t, W)"
    head = "(float[N,5,5,4] x) => (float[N,5,5,4] y)"
    body = f"{head} {{ r = Relu(x) {turned} d = Transpose <perm = [0, 2, 3, 1]> (c) m = Mul(r, S) y = Add(d, m) }}"
    model = graph_model(body, W=THREE, S=normal(4, seed=3))
    assert not check_fold(model, leaves=["Relu", "Transpose", "Conv", "Transpose", "Mul", "Add"]).folded


def test_a_default_transpose_turns_all_axes_around() -> None:
    body = """(float[5,4] x) => (float[5,4] y) {
        r = Relu(x) t = Transpose(r) c = MatMul(W, t) d = Transpose(c) m = Mul(r, S) y = Add(d, m) }"""
    model = graph_model(body, W=normal(4, 4), S=normal(4, seed=3))
    check_fold(model, leaves=["Relu", "Transpose", "MatMul", "Transpose"])


def test_who_reads_the_shape_of_the_affine_reads_that_of_the_value() -> None:
    model = images(f"c = Conv <{SAME}> (r, W) n = {bn('r')} z = Shape(n) y = Add(c, n)")
    model.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.INT64, [4]))
    check_fold(model, leaves=["Relu", "Conv", "Shape"])


def test_a_weight_that_others_read_is_copied() -> None:
    body = f"c = Conv <{SAME}> (r, W) n = {bn('r')} s = Add(c, n) t = Relu(s) y = Conv <{SAME}> (t, W)"
    assert len(check_fold(images(body), leaves=["Relu", "Conv", "Relu", "Conv"]).model.graph.initializer) == 3


def test_two_affines_beside_one_operator_go_one_after_the_other() -> None:
    body = f"c = Conv <{SAME}> (r, W) n = {bn('r')} k = {bn('r', 'k')} s = Add(c, n) y = Add(s, k)"
    check_fold(images(body, **parameters("k", seed=7)), leaves=["Relu", "Conv"])


def test_an_affine_behind_the_sum_goes_too() -> None:
    body = f"c = Conv <{SAME}> (r, W) n = {bn('r')} s = Add(c, n) y = {bn('s', 'k')}"
    check_fold(images(body, **parameters("k", seed=7)), leaves=["Relu", "Conv"])


def test_weights_in_a_file_take_it_as_those_in_memory_do(tmp_path: Path) -> None:
    size = 64  # large enough that new weights are made when they are written
    body = f"(float[1,{size},4,4] x) => (float[1,{size},4,4] y) {{ r = Relu(x) c = Conv <{SAME}> (r, W)"
    weight = normal(size, size, 3, 3)
    model = graph_model(f"{body} n = {bn('r')} y = Add(c, n) }}", W=weight, **parameters("n", size))
    onnx.save(model, tmp_path / "m.onnx")
    bnfold.fold(tmp_path / "m.onnx").save(tmp_path / "folded.onnx")
    folded, feeds = onnx.load(tmp_path / "folded.onnx"), feeds_for(model)
    assert op_types(folded) == ["Relu", "Conv"]
    assert folded.SerializeToString() == bnfold.fold(model).model.SerializeToString()
    np.testing.assert_allclose(run_ort(folded, feeds)[0], run_ort(model, feeds)[0], rtol=1e-5, atol=1e-3)


CONV = f"c = Conv <{SAME}> (r, W)"
STAYING = {
    "the operator reads another value": f"c = Conv <{SAME}> (x, W) n = {bn('r')} y = Add(c, n)",
    "something else reads what the operator makes": f"{CONV} n = {bn('r')} s = Add(c, n) y = Mul(c, s)",
    "something else reads the sum between": f"{CONV} s = Add(c, x) n = {bn('r')} t = Add(s, n) y = Mul(s, t)",
    "something else reads the affine": f"{CONV} n = {bn('r')} s = Add(c, n) y = Mul(s, n)",
    "more than the operator is taken from the affine": f"{CONV} s = Add(c, x) n = {bn('r')} y = Sub(n, s)",
    "the two are multiplied": f"{CONV} n = {bn('r')} y = Mul(c, n)",
    "no tap sees each element at its own place": (
        f"c = Conv <{SAME}, dilations = [2, 1]> (r, V) n = {bn('r')} y = Add(c, n)"
    ),
    "there is one channel": f"c = Conv(r, U) n = {bn('r')} y = Add(c, n)",
}


@pytest.mark.parametrize("reason", list(STAYING))
def test_it_stays_where(reason: str) -> None:
    kept = refusal(images(STAYING[reason], V=normal(4, 4, 2, 3), U=normal(1, 4, 1, 1)))
    assert kept.code == ("shift" if reason == "the operator reads another value" else "several-readers")


def test_it_stays_where_the_sum_between_is_an_output() -> None:
    model = images(f"c = Conv <{SAME}> (r, W) s = Add(c, x) n = {bn('r')} y = Add(s, n)")
    model.graph.output.append(helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, ["N", 4, 5, 6]))
    assert refusal(model).code == "several-readers"


def test_it_stays_where_the_weight_would_not_fit_its_type() -> None:
    head = "(float16[N,4,5,6] x) => (float16[N,4,5,6] y)"
    body = f"{head} {{ r = Relu(x) {CONV} n = {bn('r')} y = Add(c, n) }}"
    values: dict[str, Any] = {name: value.astype(np.float16) for name, value in parameters("n").items()}
    values |= {"n0": np.full(4, 60000, np.float16), "n3": np.full(4, 0.25, np.float16)}
    model = graph_model(body, W=THREE.astype(np.float16), **values)
    (kept,) = bnfold.fold(model).kept
    assert "beside it, Conv" in kept.reason
    assert "not finite in float16" in kept.reason


def test_it_stays_where_the_weight_is_stored_in_integers_and_says_so() -> None:
    body = f"w = DequantizeLinear(Q, z) c = Conv <{SAME}> (r, w) n = {bn('r')} y = Add(c, n)"
    integers = np.random.default_rng(0).integers(-127, 127, (4, 4, 3, 3)).astype(np.int8)
    kept = refusal(images(body, Q=integers, z=np.float32(0.01)))
    assert "beside it, Conv" in kept.reason
    assert "has a weight in integers, which no shift can go into" in kept.reason


@pytest.mark.parametrize("name", ["the conv", "the sum"])
def test_what_is_to_be_left_alone_is(name: str) -> None:
    model = images(f"c = Conv <{SAME}> (r, W) n = {bn('r')} y = Add(c, n)")
    model.graph.node[1].name, model.graph.node[3].name = "the conv", "the sum"
    folded = check_fold(model, kept=["several-readers"], skip=[name])
    assert not folded.folded


def test_of_many_that_read_one_value_each_takes_the_one_that_is_added_to_it() -> None:
    many = 70
    body = " ".join(f"c{k} = Conv <{SAME}> (r, W) b{k} = {bn('r')} a{k} = Add(c{k}, b{k})" for k in range(many))
    ends = " ".join(f"z{k} = Sigmoid(a{k})" for k in range(many))
    result = bnfold.fold(images(f"{body} {ends} y = Sum({', '.join(f'z{k}' for k in range(many))})"))
    assert [entry.into for entry in result.folded] == [(f"Conv -> c{k}",) for k in range(many)]
    assert not result.kept


FUNCTION = """<ir_version: 10, opset_import: ["": 20, "own": 1]>
g (float[N,2] x) => (float[N,2] y) { y = own.block <alpha = 3.0> (x) }
<domain: "own", opset_import: ["": 20]> block <alpha> (x) => (y) {
    [the_relu] r = Relu(x) w = Constant <value = float[2,2] {0.5, -1.0, 2.0, 0.25}> ()
    k = Constant <value = float[2] {2.0, 3.0}> () c = Gemm <alpha: float = @alpha> (r, w)
    n = BatchNormalization(r, k, k, k, k) y = Add(c, n) }"""


def test_an_operator_whose_attribute_is_the_call_s_is_none_that_could_take_it() -> None:
    """Where a node is named, bodies stay functions: alpha is 3 there, and not 1 as where a Gemm states none."""
    model = onnx.parser.parse_model(FUNCTION)
    assert not bnfold.fold(model, skip=["the_relu"]).folded
    check_fold(model, exact_reference=False)  # and where nothing is named, the body with its alpha comes in its place


@pytest.mark.parametrize("perm", [[0, 9, 1, 2], [0, -1, 1, 2], [0, 1]])
@pytest.mark.parametrize("back", [[0, 2, 3, 1], [7, 7, 7, 7]])
def test_a_transpose_that_contradicts_itself_is_none_to_look_through(perm: list[int], back: list[int]) -> None:
    turned = f"t = Transpose <perm = {perm}> (r) c = Conv <{SAME}> (t, W) d = Transpose <perm = {back}> (c)"
    assert not bnfold.fold(images(f"{turned} n = {bn('r')} y = Add(d, n)")).folded


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_any_tree_of_sums_computes_what_it_did(data: st.DataObject) -> None:
    leaves = ["c", "n", *data.draw(st.lists(st.sampled_from(["x", "u"]), max_size=3))]
    leaves = data.draw(st.permutations(leaves))
    body, number = f"u = Sigmoid(x) c = Conv <{SAME}> (r, W) n = {bn('r')} ", 0
    while len(leaves) > 1:
        at = data.draw(st.integers(0, len(leaves) - 2))
        made = "y" if len(leaves) == 2 else f"s{number}"
        body += f"{made} = {data.draw(st.sampled_from(['Add', 'Sub', 'Sum']))}({leaves[at]}, {leaves[at + 1]}) "
        leaves[at : at + 2] = [made]
        number += 1
    model = images(body)
    check_fold(model, kept=[entry.code for entry in bnfold.fold(model).kept])
