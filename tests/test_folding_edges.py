"""Edges of the search and of the edits, each of which a changed line got wrong without any other test noticing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, ValueInfoProto, helper
from support import check_fold, graph_model, normal, op_types, run_reference, statistics, text_model

import bnfold

PARAMETERS: dict[str, Any] = dict(zip("sbmv", statistics(4, positive=True), strict=True))
BN = "BatchNormalization ({}, s, b, m, v)"
NO_BN: dict[str, Any] = {"prefer": "no-batchnorm"}


@pytest.mark.parametrize("behind", ["y = Sigmoid (n)", "y = MaxPool <kernel_shape = [2, 2]> (n)"])
def test_a_scale_of_zero_is_not_parted_from_its_shift_and_lost(behind: str) -> None:
    scale = np.array([1.5, 0, 0.5, 2], np.float32)
    body = f"(float[2, 4, 5, 5] x) => (float[i, j, k, l] y) {{ t = Tanh (x) n = {BN.format('t')} {behind} }}"
    result = check_fold(graph_model(body, **{**PARAMETERS, "s": scale}), **NO_BN)
    assert [node for node in op_types(result.model) if node in ("Mul", "Add")] == ["Mul", "Add"]


def test_a_map_added_behind_a_padded_convolution_is_scaled_by_the_normalization_behind_it() -> None:
    more: dict[str, Any] = dict(zip("pqrt", statistics(1, seed=3), strict=True))
    nodes = f"h = Tanh (x) n = {BN.format('h')} c = Conv <pads = [1, 1, 1, 1]> (n, w)"
    body = f"(float[2, 4, 9, 7] x) => (float[i, j, k, l] y) {{ {nodes} y = BatchNormalization (c, p, q, r, t) }}"
    model = graph_model(body, w=normal(1, 4, 3, 3), **PARAMETERS, **more)
    check_fold(model, leaves=["Tanh", "Conv", "Add"], **NO_BN)


def test_the_add_behind_a_product_stays_that_node_where_a_factor_goes_with_it() -> None:
    body = "(float[5, 3] x) => (float[i, j] y) { c = MatMul (x, w) a = Add (c, b) y = Mul (a, f) }"
    model = graph_model(body, w=normal(3, 4), b=normal(4), f=normal(4, seed=1))
    model.graph.node[1].name = "bias"
    folded = check_fold(model, leaves=["MatMul", "Add"]).model
    assert folded.graph.node[1].name == "bias"


def test_a_shift_that_undoes_one_already_pushed_on_reaches_what_took_that_one() -> None:
    nodes = "a = Add (t, s) c = MatMul (a, w) b = Add (c, r) p = Mul (b, f) q = Mul (b, g)"
    gemms = "y = Gemm (p, u, v) z = Gemm (q, o, v)"
    body = f"(float[3, 4] x) => (float[i, j] y, float[k, l] z) {{ t = Tanh (x) {nodes} {gemms} }}"
    weight = np.array([[1, -2, 3], [2, 0, -1], [1, 1, 1], [-3, 2, 2]], np.float32)
    shift = np.array([1, -2, 3, 2], np.float32)
    more: dict[str, Any] = {"f": normal(3), "g": normal(3, seed=1), "u": normal(3, 2), "o": normal(3, 2, seed=1)}
    model = graph_model(body, w=weight, s=shift, r=-(shift @ weight), v=normal(2), **more)
    check_fold(model, leaves=["Tanh", "MatMul", "Gemm", "Gemm"])


# --- Names, orders and places ---


@pytest.mark.parametrize("more", ["", " z = Sigmoid (y)"])
def test_a_normalization_that_moves_behind_the_last_operator_keeps_the_name_of_the_output(more: str) -> None:
    nodes = f"t = Tanh (x) n = {BN.format('t')} y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (n){more}"
    outputs = "float[i, j, k, l] y" + (", float[i, j, k, l] z" if more else "")
    model = graph_model(f"(float[2, 4, 6, 6] x) => ({outputs}) {{ {nodes} }}", **PARAMETERS)
    leaves = ["Tanh", "MaxPool", "BatchNormalization", *(["Sigmoid"] if more else [])]
    folded = check_fold(model, leaves=leaves, kept=["barrier"]).model
    assert [list(node.output) for node in folded.graph.node][1:3] == [["y.raw"], ["y"]]
    assert [node.input[0] for node in folded.graph.node][2:] == ["y.raw", *(["y"] if more else [])]


def test_what_one_branch_reads_without_the_map_has_a_name_of_its_own() -> None:
    pool = "MaxPool <kernel_shape = [2, 2], strides = [2, 2]>"
    nodes = f"t = Tanh (x) n = {BN.format('t')} p = {pool} (n) y = Softplus (p) z = Softplus (t)"
    body = f"(float[2, 4, 6, 6] x) => (float[i, j, k, l] y, float[i, j, k, l] z) {{ {nodes} }}"
    folded = check_fold(graph_model(body, **PARAMETERS), kept=["several-readers"]).model
    assert op_types(folded) == ["Tanh", "MaxPool", "BatchNormalization", "Softplus", "Softplus"]


def test_a_normalization_does_not_move_in_front_of_the_node_that_computes_its_scale() -> None:
    resize = 'Resize <mode = "nearest"> (t, "", f)'
    nodes = f"t = Tanh (x) r = {resize} s = Cast <to = 1> (s64) n = {BN.format('r')} y = Softplus (n)"
    constants: dict[str, Any] = {**{key: PARAMETERS[key] for key in "bmv"}, "s64": PARAMETERS["s"].astype(np.float64)}
    body = f"(float[2, 4, 6, 6] x) => (float[i, j, k, l] y) {{ {nodes} }}"
    model = graph_model(body, f=np.array([1, 1, 2, 2], np.float32), **constants)
    folded = check_fold(model, kept=["barrier"]).model
    assert op_types(folded)[:3] == ["Tanh", "BatchNormalization", "Resize"]
    assert folded.graph.node[1].input[1] != "s", "it would read what is not there yet"


def test_a_map_in_front_of_a_body_stays_behind_what_makes_the_value() -> None:
    then = helper.make_graph(
        [helper.make_node("MaxPool", ["n"], ["u"], kernel_shape=[2, 2], strides=[2, 2])], "then", [], [value("u")]
    )
    other = helper.make_graph(
        [helper.make_node("AveragePool", ["n"], ["w"], kernel_shape=[2, 2], strides=[2, 2])], "else", [], [value("w")]
    )
    model = graph_model(
        f"(float[2, 4, 6, 6] x, bool c) => (float[i, j, k, l] y) {{ t = Tanh (x) n = {BN.format('t')} y = Tanh (n) }}",
        **PARAMETERS,
    )
    model.graph.node[-1].CopyFrom(helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other))
    check_fold(model, leaves=["Tanh", "BatchNormalization", "If"], kept=["barrier"])


def value(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["i", "j", "k", "l"])


# --- float16: what is lost ---


@pytest.mark.parametrize("scale", [0.0, 2.0**-12])
def test_a_scale_of_zero_may_stay_in_float16(scale: float) -> None:
    factors: dict[str, Any] = {"k": np.array([1.5, scale, 0.5, 2], np.float16).reshape(4, 1, 1)}
    body = (
        "(float16[2, 4, 5, 5] x) => (float16[i, j, k, l] y) { t = Tanh (x) a = Add (t, b) m = Mul (a, k) y = Tanh (m) }"
    )
    model = graph_model(body, b=normal(4, 1, 1, dtype=np.float16), **factors)
    folded = check_fold(model, run=run_reference, **NO_BN).model
    assert op_types(folded) == ["Tanh", "Add", "Mul", "Tanh"]


def test_a_factor_for_all_takes_one_per_channel_in_float16() -> None:
    body = "(float16[2, 4, 3, 3] x) => (float16[i, j, k, l] y) { m = Mul (x, k) y = Mul (m, v) }"
    factor = np.array([2, -3, 0.5, 1.5], np.float16).reshape(4, 1, 1)
    check_fold(graph_model(body, k=np.float16(0.5), v=factor), leaves=["Mul"], run=run_reference)


def test_scales_in_blocks_near_the_end_of_float16_are_looked_at_with_their_integers() -> None:
    """The largest integers that there are would leave float16 with them; those of the weight do not."""
    nodes = "W = DequantizeLinear <axis = 0, block_size = 3> (Q, qs) c = MatMul (x, W) y = Mul (c, k)"
    integers = np.random.default_rng(1).integers(-3, 4, (6, 4)).astype(np.int8)
    constants: dict[str, Any] = {
        "qs": np.full((2, 4), 200, np.float16),
        "k": np.array([1.5, 1.25, 1, 1.75], np.float16),
    }
    body = f"(float16[5, 6] x) => (float16[5, 4] y) {{ {nodes} }}"
    folded = bnfold.fold(graph_model(body, opset=21, Q=integers, **constants)).model
    assert op_types(folded) == ["DequantizeLinear", "MatMul"]


# --- What a fold says ---


def test_the_size_in_the_remark_on_growth_counts_external_weights(tmp_path: Path) -> None:
    convolutions = " ".join(f"c{k} = Conv (x, w) n{k} = Mul (c{k}, f{k})" for k in range(4))
    body = f"(float[1, 8, 6, 6] x) => (float[i, j, k, l] y) {{ {convolutions} y = Sum (n0, n1, n2, n3) }}"
    factors: dict[str, Any] = {f"f{k}": normal(32, 1, 1, seed=k) for k in range(4)}
    path = tmp_path / "model.onnx"
    model = graph_model(body, w=normal(32, 8, 3, 3), **factors)
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=4096)
    (remark,) = [text for text in bnfold.fold(path).remarks if "the model grows" in text]
    size = path.stat().st_size + 4 * 32 * 8 * 9
    assert f"the model grows from {size:,d} bytes by " in remark


def test_a_normalization_that_has_moved_is_told_where_there_is_no_other_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnfold.folding.fold.MAX_ROUNDS", 1)
    nodes = f"t = Tanh (x) n = {BN.format('t')} y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (n)"
    model = graph_model(f"(float[2, 4, 6, 6] x) => (float[i, j, k, l] y) {{ {nodes} }}", **PARAMETERS)
    check_fold(model, leaves=["Tanh", "MaxPool", "BatchNormalization"], kept=["barrier"])


def called_twice() -> onnx.ModelProto:
    """A BatchNormalization behind one of two calls of a function that ends in a Conv and a Mul."""
    weight = "Constant <value = float[4, 3, 1, 1] {1, -2, 3, 0.5, 1, 2, -1, 1, 0.25, 3, 1, -1}> ()"
    text = (
        '<ir_version: 10, opset_import: ["" : 20, "own" : 1]> g (float[2, 3, 6, 6] x) => (float[i, j, k, l] y) { '
        f"a = own.f (x) [norm] n = {BN.format('a')} e = own.f (x) y = Add (n, e) }} "
        '<domain: "own", opset_import: ["" : 20]> f (u) => (o) { '
        f"l = Constant <value_float = 1.5> () w = {weight} q = Conv (u, w) o = Mul (q, l) }}"
    )
    return text_model(text, **PARAMETERS)


def test_only_the_call_that_needs_it_has_its_body_put_in() -> None:
    result = check_fold(called_twice(), exact_reference=False)
    assert [op_type for op_type in op_types(result.model) if op_type != "Conv"] == ["f", "Add"]
    (remark,) = result.remarks
    assert "in the place of its call 'f -> a'" in remark


@pytest.mark.parametrize("options", [{"only": ["norm"]}, {"skip": ["Add -> y"]}], ids=["only", "skip"])
def test_where_nodes_are_named_no_call_has_its_body_put_in(options: dict[str, Any]) -> None:
    assert op_types(bnfold.fold(called_twice(), **options).model) == ["f", "BatchNormalization", "f", "Add"]


@pytest.mark.parametrize(("factor", "left"), [(1.0, ["Relu"]), (1 + 1e-5, ["BatchNormalization", "Relu"])])
def test_a_scale_that_is_one_but_for_the_rounding_of_its_root_is_one(factor: float, left: list[str]) -> None:
    variance = np.array([0.3, 1.7, 5.1, 0.01], np.float32)
    root = np.sqrt(variance.astype(np.float64) + np.float64(np.float32(1e-5)))
    model = graph_model(
        "(float[N,4,3,3] x) => (float[N,4,3,3] y) { n = BatchNormalization (x, s, b, b, v) y = Relu (n) }",
        s=(factor * root).astype(np.float32),
        b=normal(4),
        v=variance,
    )
    assert op_types(bnfold.fold(model).model) == left


def test_a_shift_in_front_of_a_transposed_convolution_of_stride_two_does_not_reach_every_tap() -> None:
    model = graph_model(
        f"""(float[N,4,H,W] x) => (float[N,4,I,J] y) {{
            r = Relu (x)
            n = {BN.format("r")}
            y = ConvTranspose <strides = [2, 2], pads = [2, 2, 2, 2]> (n, w)
        }}""",
        w=normal(4, 4, 3, 3),
        **PARAMETERS,
    )
    (kept,) = bnfold.fold(model).kept
    assert "output elements that do not see every tap" in kept.reason


def test_affines_in_a_row_on_a_value_of_one_axis_stay_as_they_are() -> None:
    model = graph_model(
        "(float[4] x) => (float[4] y) { r = Sigmoid (x) p = Mul (r, k) q = Add (p, l) y = Sigmoid (q) }",
        k=normal(4),
        l=normal(4, seed=1),
    )
    assert op_types(bnfold.fold(model).model) == ["Sigmoid", "Mul", "Add", "Sigmoid"]


# --- What stays, and what reads beside it ---


def test_a_normalization_that_moves_reads_parameters_computed_in_front_of_it_as_before() -> None:
    nodes = f"s = Cast <to = 1> (s64) t = Tanh (x) n = {BN.format('t')}"
    body = f"{nodes} y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (n)"
    constants: dict[str, Any] = {**{key: PARAMETERS[key] for key in "bmv"}, "s64": PARAMETERS["s"].astype(np.float64)}
    model = graph_model(f"(float[2, 4, 6, 6] x) => (float[i, j, k, l] y) {{ {body} }}", **constants)
    folded = check_fold(model, leaves=["Cast", "Tanh", "MaxPool", "BatchNormalization"], kept=["barrier"]).model
    assert list(folded.graph.node[-1].input[1:]) == ["s", "b", "m", "v"]


def test_a_shape_taken_in_front_of_what_stays_is_still_taken_there() -> None:
    body = f"h = Shape (x) n = {BN.format('x')} r = Softplus (n) y = Reshape (r, h)"
    model = graph_model(f"(float[2, 4, 6, 6] x) => (float[i, j, k, l] y) {{ {body} }}", **PARAMETERS)
    folded = check_fold(model, leaves=["Shape", "Mul", "Add", "Softplus", "Reshape"], **NO_BN).model
    assert folded.graph.node[0].input[0] == "x"


def test_a_factor_for_all_in_float16_does_not_lose_weights_that_are_small_beside_the_largest() -> None:
    weight = np.array([[1, 0.5], [2.0**-13, 2]], np.float16)
    model = graph_model(
        "(float16[5, 2] x) => (float16[i, j] y) { c = MatMul (x, w) y = Mul (c, k) }", w=weight, k=np.float16(0.125)
    )
    check_fold(model, leaves=["MatMul"], run=run_reference)


def test_as_many_folds_as_were_asked_for_are_made_where_they_are_hundreds() -> None:
    nodes = " ".join(f"c{k} = Conv (x, w) y{k} = Mul (c{k}, f)" for k in range(262))
    outputs = ", ".join(f"float[i, j, k, l] y{k}" for k in range(262))
    model = graph_model(f"(float[1, 1, 2, 2] x) => ({outputs}) {{ {nodes} }}", w=normal(1, 1, 1, 1), f=np.float32(3))
    result = bnfold.fold(model, max_folds=260)
    assert op_types(result.model).count("Mul") == 2


# --- What a way costs ---


def test_a_map_does_not_pass_an_activation_that_then_runs_by_itself_where_two_affines_go() -> None:
    """The Relu runs inside the BatchNormalization, and would be a pass of its own behind the Tanh."""
    zero = np.zeros(4, np.float32)
    pool = "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)"
    nodes = f"t = Tanh (x) a = Mul (t, k) n = {BN.format('a')} r = Relu (n) {pool} y = Softplus (p)"
    given: dict[str, Any] = {
        **PARAMETERS,
        "b": zero,
        "m": zero,
        "k": np.array([2, 3, 0.5, 1.5], np.float32).reshape(4, 1, 1),
    }
    model = graph_model(f"(float[2, 4, 6, 6] x) => (float[i, j, k, l] y) {{ {nodes} }}", **given)
    leaves = ["Tanh", "BatchNormalization", "Relu", "MaxPool", "Softplus"]
    check_fold(model, leaves=leaves, kept=["barrier"])


def test_a_factor_passes_an_activation_that_runs_by_itself_before_and_after() -> None:
    pool = "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)"
    nodes = f"t = Tanh (x) m = Mul (t, k) r = Relu (m) {pool} y = Softplus (p)"
    factor: Any = np.array([2, 3, 0.5, 1.5], np.float32).reshape(4, 1, 1)
    model = graph_model(f"(float[2, 4, 6, 6] x) => (float[i, j, k, l] y) {{ {nodes} }}", k=factor)
    check_fold(model, leaves=["Tanh", "Relu", "MaxPool", "Mul", "Softplus"])


@pytest.mark.parametrize("shown", [True, False], ids=["shown", "read twice"])
def test_factors_that_undo_each_other_stay_one_where_the_value_in_front_is_seen(shown: bool) -> None:
    """One would be as cheap with the other's factor lost, as the first one's is read by another node too."""
    first, second = (
        np.array(values, np.float32).reshape(4, 1, 1) for values in ([2, 4, -2, 0.5], [0.5, 0.25, -0.5, 2])
    )
    outputs = "float[i, j, k, l] y, float[a, b, c, d] u" + (", float[2, 4, 6, 6] t" if shown else "")
    seen = "u = Max (x, k)" if shown else "r = Softplus (t) u = Max (r, k)"
    body = f"(float[2, 4, 6, 6] x) => ({outputs}) {{ t = Tanh (x) m = Mul (t, k) y = Mul (m, f) {seen} }}"
    folded = check_fold(graph_model(body, k=first, f=second)).model
    assert op_types(folded).count("Mul") == 1
