"""What breaks BatchNormalization folding in the field, each by its symptom; the numbers are those of the issues met.

What concerns the file, the command line, or one operator's own attributes is tested beside those.
"""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper
from support import Runner, check_fold, graph_model, normal, op_types, refusal, run_ort, run_reference, statistics

import bnfold

CONV = "c = Conv<pads = [1, 1, 1, 1]>(x, W)"
BN = "BatchNormalization({}, s, b, m, v)"
X, Y = "(float[N,3,6,6] x)", "(float[N,4,6,6] y)"


def model(body: str, *, inputs: str = X, outputs: str = Y, opset: int = 20, positive: bool = False) -> ModelProto:
    s, b, m, v = statistics(4, positive=positive)
    return graph_model(f"{inputs} => {outputs} {{ {body} }}", opset=opset, W=normal(4, 3, 3, 3), s=s, b=b, m=m, v=v)


def bn(wire: str) -> str:
    return BN.format(wire)


# 1. Folding across a nonlinearity: glow#5892, opencv#28689.


@pytest.mark.parametrize("nonlinear", ["Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Elu", "Abs", "Exp"])
def test_a_normalization_is_not_folded_across_a_nonlinearity(nonlinear: str) -> None:
    check_fold(model(f"{CONV} r = {nonlinear}(c) y = {bn('r')}"), kept=["shift" if nonlinear == "Relu" else "barrier"])


# 3. Training mode taken for inference: onnxscript 0.7.2, aimet-onnx 2.42, tf2onnx 1.17.


def test_training_mode_is_left_alone() -> None:
    trained = model(f"{CONV} y, rm, rv = BatchNormalization<training_mode = 1>(c, s, b, m, v)")
    assert refusal(trained).code == "training"
    assert bnfold.fold(trained).model == trained


# 5. Shared weights and biases: TNN#808, onnxscript PR#2883.


def test_a_weight_that_another_conv_reads_is_cloned() -> None:
    shared = model(
        f"{CONV} y = {bn('c')} z = Conv<pads = [1, 1, 1, 1]>(x, W)", outputs="(float[N,4,6,6] y, float[N,4,6,6] z)"
    )
    folded = check_fold(shared, leaves=["Conv", "Conv"]).model
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in folded.graph.initializer}
    assert np.array_equal(tensors["W"], normal(4, 3, 3, 3)), "the other reader lost its weight"
    assert folded.graph.node[1].input[1] == "W"
    assert folded.graph.node[0].input[1] != "W"


def test_one_weight_behind_two_normalizations_becomes_two_weights() -> None:
    body = f"{CONV} y = {bn('c')} d = Conv<pads = [1, 1, 1, 1]>(x, W) z = BatchNormalization(d, b, s, m, v)"
    tied = model(body, outputs="(float[N,4,6,6] y, float[N,4,6,6] z)")
    folded = check_fold(tied, leaves=["Conv", "Conv"]).model
    assert "W" not in {tensor.name for tensor in folded.graph.initializer}, "nobody reads the old weight any more"


def test_a_bias_that_another_node_reads_is_cloned() -> None:
    body = f"c = Conv<pads = [1, 1, 1, 1]>(x, W, b) y = {bn('c')} z = Mul(y, shaped)"
    shared = model(
        f"shape = Constant<value_ints = [1, 4, 1, 1]>() shaped = Reshape(b, shape) {body}",
        outputs="(float[N,4,6,6] y, float[N,4,6,6] z)",
    )
    check_fold(shared, leaves=["Reshape", "Conv", "Mul"])


def test_a_weight_that_is_a_graph_output_is_cloned() -> None:
    shown = model(f"{CONV} y = {bn('c')}", outputs="(float[N,4,6,6] y, float[4,3,3,3] W)")
    check_fold(shown, leaves=["Conv"])


# 6. Several readers, or the wire is a graph output: pytorch PR#52758.


def test_a_wire_with_a_second_reader_stays() -> None:
    read_twice = model(f"{CONV} y = {bn('c')} z = Relu(c)", outputs="(float[N,4,6,6] y, float[N,4,6,6] z)")
    reason = refusal(read_twice)
    assert reason.code == "several-readers"
    assert "Relu" in reason.reason


def test_a_wire_that_is_a_graph_output_stays() -> None:
    assert (
        refusal(model(f"{CONV} y = {bn('c')}", outputs="(float[N,4,6,6] y, float[N,4,6,6] c)")).code == "graph-output"
    )


def test_a_wire_that_a_subgraph_captures_stays() -> None:
    body = f"""{CONV} y = {bn("c")} z = If (cond) <
        then_branch = t () => (float[N,4,6,6] p) {{ p = Relu(c) }},
        else_branch = e () => (float[N,4,6,6] q) {{ q = Neg(c) }}>"""
    captured = model(body, inputs="(float[N,3,6,6] x, bool cond)", outputs="(float[N,4,6,6] y, float[N,4,6,6] z)")
    feeds = {"x": normal(2, 3, 6, 6), "cond": np.array(True)}
    check_fold(captured, kept=["several-readers"], feeds=feeds)


# 7. Output names lost: onnx#3460, onnxruntime#4110.


def test_the_name_of_a_graph_output_survives() -> None:
    folded = check_fold(model(f"{CONV} y = {bn('c')}"), leaves=["Conv"]).model
    assert list(folded.graph.node[0].output) == ["y"]


# 8. Arithmetic nodes instead of constants: onnx/optimizer#133, #178.


def test_a_fold_leaves_no_arithmetic_behind() -> None:
    folded = check_fold(model(f"{CONV} y = {bn('c')}")).model
    assert [node.op_type for node in folded.graph.node] == ["Conv"]
    assert sorted(tensor.name for tensor in folded.graph.initializer) == ["W", "W.bias"]


# 10. Precision: in float64, rounded once: pytorch/TensorRT PR#1450, tensorflow-onnx PR#1106.


def test_a_weight_is_the_float64_product_rounded_once() -> None:
    s, b, m, v = statistics(4)
    folded = bnfold.fold(model(f"{CONV} y = {bn('c')}")).model
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in folded.graph.initializer}
    wide = [values.astype(np.float64) for values in (normal(4, 3, 3, 3), s, b, m, v)]
    a = wide[1] / np.sqrt(wide[4] + np.float64(np.float32(1e-5)))
    assert np.array_equal(tensors["W"], (wide[0] * a[:, None, None, None]).astype(np.float32))
    assert np.array_equal(tensors["W.bias"], (wide[2] - wide[3] * a).astype(np.float32))


# 14. Identity, Reshape, Mul, Add in between, or left over: tensorflow-onnx#1079, #2300, PR#871.


def test_a_scale_layer_behind_the_normalization_goes_with_it() -> None:
    body = f"{CONV} i = Identity(c) n = {bn('i')} g = Mul(n, k) y = Add(k, g)"
    scaled = model(body)
    scaled.graph.initializer.append(numpy_helper.from_array(normal(4, 1, 1), "k"))
    check_fold(scaled, leaves=["Conv", "Identity"])


# 15. Chains, and normalizations that share parameters: tensorflow-onnx#2186.


def test_parameters_that_two_normalizations_share_serve_both() -> None:
    body = f"{CONV} n = {bn('c')} y = BatchNormalization(n, v, s, b, v)"
    check_fold(model(body), leaves=["Conv"])


def test_a_normalization_behind_a_blocked_one_stays_and_says_why() -> None:
    body = f"{CONV} r = Sigmoid(c) n = {bn('r')} t = Tanh(n) y = {bn('t')}"
    check_fold(model(body), kept=["barrier", "barrier"])


def test_two_normalizations_that_both_stay_become_one() -> None:
    body = f"{CONV} r = Sigmoid(c) n = {bn('r')} y = {bn('n')}"
    check_fold(model(body), leaves=["Conv", "Sigmoid", "BatchNormalization"], kept=["barrier"])


# 18. Initializers that are graph inputs are overridable from IR version 4 on: onnxruntime#4507.


def test_an_overridable_weight_stays_and_the_flag_is_named() -> None:
    overridable = model(f"{CONV} y = {bn('c')}")
    overridable.graph.input.append(helper.make_tensor_value_info("W", onnx.TensorProto.FLOAT, [4, 3, 3, 3]))
    reason = refusal(overridable)
    assert reason.code == "overridable"
    assert "--freeze-initializers" in reason.reason
    frozen = check_fold(overridable, leaves=["Conv"], freeze_initializers=True).model
    assert [entry.name for entry in frozen.graph.input] == ["x"]


# 19. Names that are taken, and odd ones: onnxscript PR#2680, pytorch#68724.


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    crowded = model(
        f"{CONV} y = {bn('c')} z = Relu(q)",
        inputs="(float[N,3,6,6] x, float[2] q)",
        outputs="(float[N,4,6,6] y, float[2] z)",
    )
    crowded.graph.input[1].name = crowded.graph.node[2].input[0] = "W.bias"  # what the new bias would be called
    folded = check_fold(crowded, leaves=["Conv", "Relu"]).model
    assert folded.graph.node[0].input[2] == "W.bias_1"


@pytest.mark.parametrize("name", ["a/b:0", "with space", "Größe", "conv.weight", "-", "0"])
def test_odd_names_survive(name: str) -> None:
    odd = model(f"{CONV} y = {bn('c')}")
    odd.graph.initializer[0].name = odd.graph.node[0].input[1] = name
    odd.graph.node[0].output[0] = odd.graph.node[1].input[0] = name + " out"
    folded = check_fold(odd, leaves=["Conv"]).model
    assert name in {tensor.name for tensor in folded.graph.initializer}


# Also seen: an empty optional bias, eps = 0 read as the default, a spatial kernel of three dimensions, ...


def test_an_empty_optional_bias_is_no_bias() -> None:
    empty = model(f"{CONV} y = {bn('c')}")
    empty.graph.node[0].input.append("")
    check_fold(empty, leaves=["Conv"])


def test_epsilon_zero_is_not_the_default() -> None:
    small = model(f"{CONV} y = BatchNormalization<epsilon = 0.0>(c, s, b, m, v)")
    next(t for t in small.graph.initializer if t.name == "v").CopyFrom(
        numpy_helper.from_array(np.full(4, 1e-6, np.float32), "v")
    )
    check_fold(small, leaves=["Conv"])


def test_a_constant_as_long_as_the_last_axis_does_not_scale_the_channels() -> None:
    square = graph_model(
        "(float[N,3,6,6] x) => (float[N,4,4,4] y) { c = Conv(x, W) y = Mul(c, k) }", W=normal(4, 3, 3, 3), k=normal(4)
    )
    check_fold(square, leaves=["Conv", "Mul"])


@pytest.mark.parametrize("shape", [(8, 1, 1, 1), (1, 1, 4, 1, 1), (1, 4, 4, 1), (4, 4)], ids=str)
def test_a_constant_that_is_no_map_per_channel_stays(shape: tuple[int, ...]) -> None:
    dims = ",".join(str(size) for size in np.broadcast_shapes((1, 4, 4, 4), shape))
    trap = graph_model(
        f"(float[1,3,6,6] x) => (float[{dims}] y) {{ c = Conv(x, W) y = Mul(c, k) }}",
        W=normal(4, 3, 3, 3),
        k=normal(*shape),
    )
    check_fold(trap, leaves=["Conv", "Mul"])


def test_a_uniform_constant_that_grows_the_batch_stays() -> None:
    grown = graph_model(
        "(float[1,3,6,6] x) => (float[8,4,4,4] y) { c = Conv(x, W) y = Mul(c, k) }",
        W=normal(4, 3, 3, 3),
        k=np.full((8, 1, 1, 1), 2, np.float32),
    )
    check_fold(grown, leaves=["Conv", "Mul"])


def test_a_constant_divided_by_the_wire_is_no_affine() -> None:
    inverse = model(f"{CONV} n = {bn('c')} y = Div(k, n)")
    inverse.graph.initializer.append(numpy_helper.from_array(normal(4, 1, 1), "k"))
    check_fold(inverse, leaves=["Conv", "Div"])


def test_statistics_per_element_stay() -> None:
    """Opset 7 and 8 with spatial = 0; onnxruntime has never run it, the reference implementation ignores it."""
    per_element = model(f"{CONV} y = BatchNormalization<spatial = 0>(c, s, b, m, v)", opset=7)
    (kept,) = bnfold.fold(per_element).kept
    assert kept.code == "spatial"
    assert bnfold.fold(per_element).model == per_element


def test_a_local_function_is_not_dropped() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[N,3,6,6] x) => (float[N,4,6,6] y) {
            c = Conv<pads = [1, 1, 1, 1]>(x, W)
            n = BatchNormalization(c, s, b, m, v)
            y = own.twice(n)
        }
        <domain: "own", opset_import: ["" : 20]> twice (a) => (o) { o = Add(a, a) }"""
    called = onnx.parser.parse_model(text)
    for name, values in zip("Wsbmv", (normal(4, 3, 3, 3), *statistics(4)), strict=True):
        called.graph.initializer.append(numpy_helper.from_array(values, name))
    folded = check_fold(called, leaves=["Conv", "twice"]).model
    assert list(folded.functions) == list(called.functions)


def test_below_ir_version_4_the_inputs_that_a_caller_feeds_stay_and_new_constants_are_listed() -> None:
    old = model(f"{CONV} y = {bn('c')}", opset=9)
    old.ir_version = 3
    for tensor in old.graph.initializer:
        old.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    folded = check_fold(old, leaves=["Conv"]).model
    assert folded.ir_version == 3
    assert [entry.name for entry in folded.graph.input] == ["x", "W", "W.bias"]


def test_all_branches_or_none() -> None:
    """One branch of the sum takes the map, the other can not: then the first does not take it either."""
    body = f"{CONV} d = Conv<pads = [1, 1, 1, 1]>(x, W2) t = Tanh(d) u = Add(c, t) y = {bn('u')}"
    half = model(body)
    half.graph.initializer.append(numpy_helper.from_array(normal(4, 3, 3, 3, seed=1), "W2"))
    assert refusal(half).code == "barrier"
    assert bnfold.fold(half).model == half


def test_folding_twice_folds_nothing_more() -> None:
    once = bnfold.fold(model(f"{CONV} n = {bn('c')} r = Relu(n) p = MaxPool<kernel_shape = [1, 1]>(r) y = Identity(p)"))
    assert op_types(once.model) == ["Conv", "Relu", "MaxPool", "Identity"]
    assert not bnfold.fold(once.model)


@pytest.mark.parametrize("run", [run_ort, run_reference], ids=["onnxruntime", "onnx.reference"])
def test_the_proof_does_not_depend_on_who_runs_it(run: Runner) -> None:
    check_fold(model(f"{CONV} y = {bn('c')}"), leaves=["Conv"], run=run)
