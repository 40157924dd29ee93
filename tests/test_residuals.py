"""What stays of an affine that can not go altogether: the form, the place, the cost, and how a caller chooses."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import check_fold, graph_model, normal, op_types, statistics

import bnfold

X = "(float[2,3,8,8] x) => (float[] y)"
CONV = "c = Conv(x, W)"
NEXT = "Conv<pads = [1,1,1,1]>({}, V)"
BN = "BatchNormalization({}, s, b, m, v)"
NO_BN: dict[str, Any] = {"prefer": "no-batchnorm"}


def model(nodes: str, *, positive: bool = True, header: str = X, opset: int = 20, **more: Any) -> ModelProto:
    scale, bias, mean, variance = statistics(4, positive=positive)
    known: dict[str, Any] = {"W": normal(4, 3, 3, 3), "V": normal(5, 4, 3, 3), "s": scale, "b": bias, "m": mean}
    known |= {"v": variance, **more}
    used = {name: values for name, values in known.items() if f"({name}" in nodes or f" {name}" in nodes}
    return graph_model(f"{header} {{ {nodes} }}", opset=opset, **used)


# --- Forms ---

MIXED: dict[str, Any] = {"k": normal(4, 1, 1), "l": normal(4, 1, 1, seed=1), "n": normal(4, 1, 1, seed=2)}
SPEED: dict[str, tuple[str, list[str]]] = {
    "one BatchNormalization stays": (f"q = Sigmoid(x3) y0 = {BN.format('q')} y = Tanh(y0)", ["BatchNormalization"]),
    "Sub, Mul, Add are one": ("q = Sigmoid(x3) a = Sub(q, k) d = Mul(a, l) e = Add(d, n) y = Tanh(e)", []),
    "Mul, Add are one": ("q = Sigmoid(x3) d = Mul(q, l) e = Add(d, n) y = Tanh(e)", []),
}


@pytest.mark.parametrize("case", list(SPEED))
def test_an_affine_written_out_between_barriers_becomes_one_normalization(case: str) -> None:
    nodes, _ = SPEED[case]
    header = "(float[2,4,5,5] x3) => (float[] y)"
    result = check_fold(
        model(nodes, header=header, **MIXED),
        leaves=["Sigmoid", "BatchNormalization", "Tanh"],
        kept=["barrier"],
    )
    assert bool(result) == (case != "one BatchNormalization stays")


def test_on_the_last_axis_three_nodes_become_a_factor_and_a_shift() -> None:
    nodes = "q = Sigmoid(x3) a = Sub(q, k) d = Mul(a, l) e = Add(d, n) y = Tanh(e)"
    flat: dict[str, Any] = {name: values.reshape(4) for name, values in MIXED.items()}
    check_fold(
        model(nodes, header="(float[2,5,6,4] x3) => (float[] y)", **flat), leaves=["Sigmoid", "Mul", "Add", "Tanh"]
    )


WITHOUT: dict[str, tuple[str, list[str]]] = {
    "Relu, padded Conv": (f"{CONV} r = Relu(c) n = {BN.format('r')} y = {NEXT.format('n')}", ["Conv", "Max", "Conv"]),
    "Relu, pool, padded Conv": (
        f"{CONV} r = Relu(c) n = {BN.format('r')} p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(n) "
        f"y = {NEXT.format('p')}",
        ["Conv", "Max", "MaxPool", "Conv"],
    ),
    "barrier, padded Conv": (f"{CONV} r = Tanh(c) n = {BN.format('r')} y = {NEXT.format('n')}", ["Conv", "Tanh"]),
    "between barriers": (
        f"{CONV} r = Tanh(c) n = {BN.format('r')} y = Sigmoid(n)",
        ["Conv", "Tanh", "Mul", "Add", "Sigmoid"],
    ),
    "an output": (f"{CONV} r = Tanh(c) y = {BN.format('r')}", ["Conv", "Tanh", "Mul", "Add"]),
    "LeakyRelu, an output": (f"{CONV} r = LeakyRelu(c) y = {BN.format('r')}", ["Conv", "LeakyRelu", "Add"]),
}


@pytest.mark.parametrize("case", list(WITHOUT))
def test_no_normalization_is_left_where_none_is_wanted(case: str) -> None:
    nodes, leaves = WITHOUT[case]
    result = check_fold(model(nodes), **NO_BN)
    assert "BatchNormalization" not in op_types(result.model)
    assert op_types(result.model)[: len(leaves)] == leaves
    assert len(result.settled) == 1
    assert result.settled[0].reason


@pytest.mark.parametrize("case", ["Relu, padded Conv", "barrier, padded Conv", "between barriers"])
def test_by_default_a_single_normalization_that_can_not_go_stays_as_it_is(case: str) -> None:
    graph = model(WITHOUT[case][0])
    result = bnfold.fold(graph)
    assert not result
    assert result.model == graph


def test_scales_of_both_signs_go_on_and_the_relu_takes_the_shift() -> None:
    nodes = f"{CONV} r = Relu(c) n = {BN.format('r')} y = {NEXT.format('n')}"
    folded = check_fold(model(nodes, positive=False), **NO_BN).model
    assert op_types(folded) == ["Conv", "Max", "Conv"]


def test_negative_scales_make_a_min_of_a_relu() -> None:
    nodes = f"{CONV} r = Relu(c) n = {BN.format('r')} y = {NEXT.format('n')}"
    folded = check_fold(model(nodes, s=-np.abs(normal(4)) - np.float32(0.1)), **NO_BN).model
    assert op_types(folded) == ["Conv", "Min", "Conv"]


def test_a_relu_of_opset_7_can_not_become_a_max() -> None:
    nodes = f"{CONV} r = Relu(c) n = {BN.format('r')} y = {NEXT.format('n')}"
    folded = check_fold(model(nodes, opset=7), exact_reference=False, **NO_BN).model
    assert op_types(folded) == ["Conv", "Relu", "Add", "Conv"]


@pytest.mark.parametrize(
    "attributes", ["pads = [1,1,1,1]", "pads = [2,0,1,3], strides = [2,3]", 'auto_pad = "SAME_LOWER"']
)
def test_a_small_output_of_a_padded_convolution_takes_the_shift_as_a_map(attributes: str) -> None:
    """One output channel of four: the map touches a quarter of what an Add in front would."""
    nodes = f"t = Tanh(x4) n = {BN.format('t')} y = Conv<{attributes}>(n, U, B)"
    more: dict[str, Any] = {"U": normal(1, 4, 3, 3), "B": normal(1)}
    header = "(float[2,4,9,7] x4) => (float[] y)"
    folded = check_fold(model(nodes, header=header, **more), exact_reference="auto" not in attributes, **NO_BN).model
    assert op_types(folded) == ["Tanh", "Conv", "Add"]


def test_without_static_sizes_there_is_no_map() -> None:
    nodes = f"t = Tanh(x4) n = {BN.format('t')} y = Conv<pads = [1,1,1,1]>(n, U)"
    dynamic = model(nodes, header="(float[2,4,H,W] x4) => (float[] y)", U=normal(1, 4, 3, 3))
    folded = check_fold(dynamic, feeds={"x4": normal(2, 4, 5, 6)}, **NO_BN).model
    assert op_types(folded) == ["Tanh", "Add", "Conv"]


# --- Places ---


def test_a_normalization_moves_behind_a_pool_as_it_is() -> None:
    nodes = f"{CONV} r = Relu(c) n = {BN.format('r')} p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(n) y = Tanh(p)"
    graph = model(nodes)
    graph.graph.node[2].name = "bn"
    result = check_fold(graph, leaves=["Conv", "Relu", "MaxPool", "BatchNormalization", "Tanh"], kept=["shift"])
    moved = result.model.graph.node[3]
    assert (moved.name, list(moved.input[1:])) == ("bn", ["s", "b", "m", "v"])
    assert [kept.node for kept in result.kept] == ["bn"]
    assert not result.folded
    assert result.settled[0].elements == {"": -2 * 4 * 27}


def test_a_normalization_moves_in_front_of_a_resize() -> None:
    nodes = f't = Tanh(x4) r = Resize<mode = "nearest">(t, , k) y = {BN.format("r")}'
    scales = np.array([1, 1, 2, 2], np.float32)
    graph = model(nodes, header="(float[2,4,5,5] x4) => (float[] y)", k=scales)
    check_fold(graph, leaves=["Tanh", "BatchNormalization", "Resize"], kept=["barrier"])


def test_behind_a_concat_the_branch_that_can_not_take_its_part_keeps_it() -> None:
    nodes = f"{CONV} t = Tanh(x2) u = Concat<axis = 1>(c, t) y0 = BatchNormalization(u, s, b, m, v) y = Sin(y0)"
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(7), strict=True))
    header = "(float[2,3,8,8] x, float[2,3,6,6] x2) => (float[] y)"
    result = check_fold(model(nodes, header=header, **parameters), kept=["barrier"])
    assert op_types(result.model) == ["Conv", "Tanh", "BatchNormalization", "Concat", "Sin"]
    assert result.settled[0].elements == {"": -2 * 4 * 36}


def dense_block(readers: str, **more: Any) -> ModelProto:
    """Conv and Tanh joined, a BatchNormalization, and what reads it: the Conv could take its part."""
    nodes = f"{CONV} t = Tanh(x2) u = Concat<axis = 1>(c, t) n = BatchNormalization(u, s, b, m, v) {readers}"
    header = "(float[2,3,8,8] x, float[2,3,6,6] x2) => (float[] y)"
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(7), strict=True))
    return model(nodes, header=header, **parameters, **more)


INSIDE = ["HardSigmoid", "HardSwish", "Relu", "Sigmoid", "Tanh"]
OUTSIDE = ["Clip", "Elu", "Gelu", "LeakyRelu", "Softplus"]


@pytest.mark.parametrize("op_type", INSIDE)
def test_an_activation_that_runs_inside_a_normalization_keeps_it_whole(op_type: str) -> None:
    result = bnfold.fold(dense_block(f"r = {op_type}(n) y = Sin(r)"))
    assert not result
    assert not result.settled


@pytest.mark.parametrize(
    "readers",
    [
        *(f"r = {op_type}(n) y = Sin(r)" for op_type in OUTSIDE),
        "r = Relu(n) q = Sin(n) y = Mul(r, q)",
    ],
)
def test_what_runs_behind_a_normalization_anyway_lets_a_branch_take_its_part(readers: str) -> None:
    result = check_fold(dense_block(readers), kept=["barrier"])
    assert op_types(result.model)[:4] == ["Conv", "Tanh", "BatchNormalization", "Concat"]


def test_affines_in_a_row_become_one_normalization_that_the_activation_runs_inside_of() -> None:
    graph = dense_block("d = Mul(n, k) e = Add(d, l) r = Relu(e) y = Sin(r)", k=normal(7, 1, 1), l=normal(7, 1, 1))
    check_fold(graph, leaves=["Conv", "Tanh", "Concat", "BatchNormalization", "Relu", "Sin"], kept=["barrier"])


@pytest.mark.parametrize("op_type", INSIDE + OUTSIDE)
def test_onnxruntime_runs_those_activations_alone_inside_of_a_normalization(op_type: str, tmp_path: Path) -> None:
    nodes = f"c = Conv(x, K) p = MaxPool<kernel_shape = [2,2]>(c) n = {BN.format('p')} r = {op_type}(n) y = Conv(r, L)"
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(32), strict=True))
    graph = model(nodes, K=normal(32, 3, 3, 3), L=normal(32, 32, 1, 1), **parameters)
    optimized = optimized_by_onnxruntime(graph, tmp_path / "optimized.onnx")
    if "com.microsoft.nchwc" not in {node.domain for node in optimized.graph.node}:
        pytest.skip("onnxruntime has no layout of its own between convolutions on this processor")
    assert "BatchNormalization" not in op_types(optimized)
    inside = [a.s.decode() for node in optimized.graph.node for a in node.attribute if a.name == "activation"]
    assert inside == ([op_type] if op_type in INSIDE else [])


def optimized_by_onnxruntime(graph: ModelProto, path: Path) -> ModelProto:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3  # it warns that the file suits this processor alone
    onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


def test_a_part_that_stays_behind_what_is_gone_holds_no_map_twice() -> None:
    """The first two go into the Conv; what is left of the chain must not hold them again (off by 28 % once)."""
    nodes = f"{CONV} p = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>(c) "
    nodes += "d = Mul(p, k) a = Sub(l, d) y = Mul(a, n)"
    check_fold(model(nodes, **MIXED), leaves=["Conv", "AveragePool", "BatchNormalization"], kept=["shift"])


# --- What a caller chooses ---

TWO = f"{CONV} n = {BN.format('c')} r = Relu(n) d = Conv(r, U) y = {BN.format('d')}"


def two() -> ModelProto:
    graph = model(TWO, U=normal(4, 4, 1, 1))
    for node, name in zip(graph.graph.node, ["conv1", "block/bn1", "relu", "conv2", "block/bn2"], strict=True):
        node.name = name
    return graph


@pytest.mark.parametrize(
    ("options", "folded"),
    [
        ({"only": ["block/bn1"]}, ["block/bn1"]),
        ({"only": ["*2"]}, ["block/bn2"]),
        ({"skip": ["block/bn2"]}, ["block/bn1"]),
        ({"skip": ["conv1"]}, ["block/bn2"]),
        ({"only": ["block/*"], "skip": ["conv*"]}, []),
        ({"max_folds": 0}, []),
        ({"max_folds": 1}, ["block/bn2"]),
        ({"max_folds": 2}, ["block/bn1", "block/bn2"]),
    ],
)
def test_a_caller_chooses_what_folds(options: dict[str, Any], folded: list[str]) -> None:
    codes = {"max-folds" if "max_folds" in options else "skipped"}
    kept = [entry.code for entry in bnfold.fold(two(), **options).kept]
    result = check_fold(two(), kept=kept, **options)
    assert set(kept) <= codes
    assert [entry.node for entry in result.folded] == folded


def test_a_skipped_node_comes_out_byte_for_byte() -> None:
    before, after = two(), bnfold.fold(two(), skip=["conv2"], prefer="no-batchnorm").model
    assert before.graph.node[3] in list(after.graph.node)
    assert next(t for t in after.graph.initializer if t.name == "U") == next(
        t for t in before.graph.initializer if t.name == "U"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"only": ["nothing"]}, "no node of the model is called 'nothing'"),
        ({"skip": ["conv1", "bn9"]}, "'bn9'"),
        ({"prefer": "size"}, "there is no preference 'size'"),
        ({"max_folds": -1}, "0 or more"),
        ({"prefer": "no-batchnorm", "residuals": False}, "forbids"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(bnfold.UsageError, match=text):
        bnfold.fold(two(), **options)


def test_strict_raises_when_a_normalization_stays() -> None:
    assert bnfold.fold(two(), strict=True)
    with pytest.raises(bnfold.NormalizationsStayed, match="Relu"):
        bnfold.fold(model(WITHOUT["Relu, padded Conv"][0]), strict=True)


# --- Growth ---


def test_a_model_that_grows_by_more_than_half_says_so_and_why() -> None:
    nodes = f"W5 = ConstantOfShape<value = float[1] {{0.1}}>(dims) c = Conv(x, W5) y = {BN.format('c')}"
    result = bnfold.fold(model(nodes, dims=np.array([4, 3, 3, 3], np.int64)))
    (remark,) = result.remarks
    assert "grows from" in remark
    assert "'W5.folded'" in remark


def test_a_shared_weight_that_is_cloned_says_so() -> None:
    nodes = f"c = Conv(x, Big) d = Conv(x, Big) n = {BN.format('c')} y = Mul(n, d)"
    result = bnfold.fold(model(nodes, Big=normal(4, 3, 3, 3)))
    assert any("'Big.folded'" in remark for remark in result.remarks)
    assert not bnfold.fold(two()).remarks


def overridable(graph: ModelProto, name: str) -> ModelProto:
    tensor = next(tensor for tensor in graph.graph.initializer if tensor.name == name)
    graph.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    return graph


def test_a_normalization_that_stays_for_an_overridable_weight_says_what_else_that_costs() -> None:
    graph = overridable(model(f"{CONV} y = {BN.format('c')}"), "W")
    (remark,) = bnfold.fold(graph).remarks
    assert "(1, as 'W')" in remark
    assert "--freeze-initializers" in remark
    assert not bnfold.fold(graph, freeze_initializers=True).remarks


def test_an_overridable_weight_that_no_normalization_needs_is_not_remarked_on() -> None:
    result = bnfold.fold(overridable(model(f"{CONV} n = {BN.format('c')} y = MatMul(n, M)", M=normal(6, 6)), "M"))
    assert result.folded
    assert not result.remarks


def test_a_second_round_takes_what_the_first_has_made_possible() -> None:
    """A shift that a product leaves behind goes into the sum that follows it."""
    weight = numpy_helper.from_array(normal(4, 4), "M")
    nodes = [
        helper.make_node("MatMul", ["M", "x"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        helper.make_node("Add", ["one", "n"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(values, name) for name, values in zip("sbmv", statistics(4), strict=True)]
    tensors += [weight, numpy_helper.from_array(np.ones((1, 1, 3), np.float32), "one")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4, 3]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    result = check_fold(whole)
    assert not bnfold.fold(result.model)


def test_a_normalization_that_took_another_affine_in_says_both_ways_that_block() -> None:
    nodes = (
        "t = Tanh(x2) h = Mul(t, half) u = Concat<axis = 1>(x, h) n = BatchNormalization(u, s, b, m, v) "
        "y = Conv<pads = [1,1,1,1]>(n, K)"
    )
    more: dict[str, Any] = {**dict(zip("sbmv", statistics(6), strict=True)), "half": np.float32(0.5)}
    header = "(float[2,3,8,8] x, float[2,3,8,8] x2) => (float[] y)"
    result = check_fold(model(nodes, header=header, K=normal(9, 6, 3, 3), **more), kept=["graph-input"])
    assert [entry.node for entry in result.folded] == ["Mul -> h"]
    assert "the other way, Conv 'Conv -> y' pads with zeros" in result.kept[0].reason
