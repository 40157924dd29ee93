"""The search: what blocks a wire and what does not, chains, branches, and how much it takes."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import Array, check_fold, graph_model, normal, op_types, refusal, statistics
from visits import counted

import bnfold

CONV = "c = Conv<pads = [1, 1, 1, 1]>(x, W)"
X, Y = "(float[N,3,6,6] x)", "(float[N,4,6,6] y)"


def model(body: str, *, inputs: str = X, outputs: str = Y, **more: Any) -> ModelProto:
    s, b, m, v = statistics(4, positive=True)
    weight = normal(4, 3, 3, 3)
    return graph_model(f"{inputs} => {outputs} {{ {body} }}", W=weight, s=s, b=b, m=m, v=v, **more)


def bn(wire: str) -> str:
    return f"BatchNormalization({wire}, s, b, m, v)"


def test_a_reader_of_the_shape_does_not_block() -> None:
    outputs = "(float[N,4,6,6] y, int64[4] z, int64 n)"
    seen = model(f"{CONV} y = {bn('c')} z = Shape(c) n = Size(c)", outputs=outputs)
    folded = check_fold(seen, leaves=["Conv", "Shape", "Size"]).model
    assert [list(node.input) for node in folded.graph.node[1:]] == [["y"], ["y"]]


def test_a_reader_of_the_shape_on_the_way_does_not_block() -> None:
    body = f"{CONV} r = Relu(c) s4 = Shape(r) k = Mul(r, scale) y = Reshape(k, s4)"
    seen = model(body, scale=np.array(2.5, np.float32))
    check_fold(seen, leaves=["Conv", "Relu", "Shape", "Reshape"])


def test_a_shape_reader_in_a_body_reads_the_new_name() -> None:
    body = f"""{CONV} y = {bn("c")} z = If (cond) <
        then_branch = t () => (int64[4] p) {{ p = Shape(c) }},
        else_branch = e () => (int64[4] q) {{ q = Shape(x) }}>"""
    seen = model(body, inputs="(float[N,3,6,6] x, bool cond)", outputs="(float[N,4,6,6] y, int64[4] z)")
    check_fold(seen, leaves=["Conv", "If"], feeds={"x": normal(2, 3, 6, 6), "cond": np.array(True)})


def test_a_weight_whose_shape_is_read_keeps_its_name() -> None:
    body = f"dims = Shape(W) {CONV} y = {bn('c')}"
    seen = model(body, outputs="(float[N,4,6,6] y, int64[4] dims)")
    folded = check_fold(seen, leaves=["Shape", "Conv"]).model
    assert folded.graph.node[1].input[1] == "W"


def test_two_normalizations_meet_in_one_weight_and_round_once() -> None:
    body = f"{CONV} n = {bn('c')} r = Relu(n) y = Mul(r, k)"
    k = np.abs(normal(4, 1, 1)) + np.float32(0.5)
    folded = check_fold(model(body, k=k), leaves=["Conv", "Relu"]).model
    s, _, _, v = (values.astype(np.float64) for values in statistics(4, positive=True))
    a = k.astype(np.float64).ravel() * (s / np.sqrt(v + np.float64(np.float32(1e-5))))
    weight = next(numpy_helper.to_array(t) for t in folded.graph.initializer if t.name == "W")
    assert np.array_equal(weight, (normal(4, 3, 3, 3).astype(np.float64) * a[:, None, None, None]).astype(np.float32))


def test_what_can_not_go_with_the_chain_goes_alone() -> None:
    """The last of the two can not pass the Relu; the first still folds."""
    body = f"{CONV} n = {bn('c')} r = Relu(n) y = {bn('r')}"
    check_fold(model(body), leaves=["Conv", "Relu", "BatchNormalization"], kept=["shift"])


def test_a_graph_output_in_the_middle_of_a_chain_splits_it() -> None:
    body = f"{CONV} n = {bn('c')} y = Mul(n, k)"
    split = model(body, outputs="(float[N,4,6,6] y, float[N,4,6,6] n)", k=normal(4, 1, 1))
    check_fold(split, leaves=["Conv", "Mul"])


def test_the_shift_goes_to_the_branch_that_can_take_it() -> None:
    body = f"{CONV} r = Relu(c) d = Conv<pads = [1, 1, 1, 1]>(x, V) u = Add(r, d) y = {bn('u')}"
    check_fold(model(body, V=normal(4, 3, 3, 3, seed=1)), leaves=["Conv", "Relu", "Conv", "Add"])


def test_the_shift_finds_its_way_through_nested_sums() -> None:
    convs = " ".join(f"c{k} = Conv<pads = [1, 1, 1, 1]>(x, W{k}) r{k} = Relu(c{k})" for k in range(6))
    sums = "a0 = Add(r0, r1) a1 = Add(a0, r2) a2 = Add(r3, a1) a3 = Add(a2, c5x) "
    body = f"{convs} c5x = Conv<pads = [1, 1, 1, 1]>(x, V) {sums} a4 = Add(r4, a3) a5 = Add(a4, r5) y = {bn('a5')}"
    weights: dict[str, Any] = {f"W{k}": normal(4, 3, 3, 3, seed=k) for k in range(6)}
    result = check_fold(model(body, V=normal(4, 3, 3, 3, seed=9), **weights))
    assert not result.kept
    biased = [node for node in result.model.graph.node if node.op_type == "Conv" and len(node.input) == 3]
    assert [node.output[0] for node in biased] == ["c5x"]


def test_a_hundred_sums_that_no_shift_can_pass_are_refused_before_each_way_through_them_is_tried() -> None:
    nodes = [helper.make_node("Conv", ["x", "W"], ["c"])]
    for k in range(100):
        nodes += [helper.make_node("Conv", ["x", f"W{k}"], [f"p{k}"]), helper.make_node("Relu", [f"p{k}"], [f"q{k}"])]
        nodes.append(helper.make_node("Add", ["r" if k == 0 else f"a{k - 1}", f"q{k}"], [f"a{k}"]))
    nodes.insert(1, helper.make_node("Relu", ["c"], ["r"]))
    nodes.append(helper.make_node("BatchNormalization", ["a99", *"sbmv"], ["y"]))
    tensors = {"W": normal(4, 3, 3, 3), **{f"W{k}": normal(4, 3, 3, 3, seed=k) for k in range(100)}}
    tensors |= dict(zip("sbmv", statistics(4, positive=True), strict=True))
    deep = of_nodes(nodes, tensors, [2, 3, 6, 6], [2, 4, 4, 4])
    with counted() as found:
        (kept,) = bnfold.fold(deep).kept
    assert kept.code == "shift"
    assert found["questions"] <= 50 * 100, "at most 50 a sum, however many there are"


def of_nodes(nodes: list[onnx.NodeProto], tensors: dict[str, Array], x: list[int], y: list[int]) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_wide_concat_folds_every_branch() -> None:
    width = 60
    nodes = [helper.make_node("Conv", ["x", f"W{k}"], [f"c{k}"]) for k in range(width)]
    nodes.append(helper.make_node("Concat", [f"c{k}" for k in range(width)], ["j"], axis=1))
    nodes.append(helper.make_node("BatchNormalization", ["j", *"sbmv"], ["y"]))
    tensors = {f"W{k}": normal(2, 3, 3, 3, seed=k) for k in range(width)}
    tensors |= dict(zip("sbmv", statistics(2 * width), strict=True))
    check_fold(of_nodes(nodes, tensors, [1, 3, 4, 4], [1, 2 * width, 2, 2]), leaves=["Conv"] * width + ["Concat"])


def test_a_function_that_hides_an_operator_is_not_taken_for_it() -> None:
    """A model-local function of the default domain takes the place of the operator of that name."""
    hidden = model(f"{CONV} r = Relu(c) y = Mul(r, k)", k=np.array(2.0, np.float32))
    body = [helper.make_node("Mul", ["a", "a"], ["o"])]
    hidden.functions.append(helper.make_function("", "Relu", ["a"], ["o"], body, [helper.make_opsetid("", 20)]))
    assert op_types(bnfold.fold(hidden).model) == ["Conv", "Relu", "Mul"]


def test_an_attribute_that_the_call_of_a_function_gives_is_not_read_in_the_function() -> None:
    """Nor is the function put in the place of the call, since it means operators of another opset."""
    text = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[2,3,6,6] x) => (float[2,4,6,6] y) { y = own.block<alpha = 3.0>(x) }
        <domain: "own", opset_import: ["" : 19]> block <alpha: float> (x) => (y) {
            W = Constant<value: tensor = @W>()
            c = Conv<pads = [1, 1, 1, 1]>(x, W)
            r = LeakyRelu<alpha: float = @alpha>(c)
            k = Constant<value_float = 2.0>()
            y = Mul(r, k)
        }"""
    called = onnx.parser.parse_model(text.replace("<value: tensor = @W>", "<value_float = 1.0>"))
    constant = called.functions[0].node[0]
    del constant.attribute[:]
    constant.attribute.append(helper.make_attribute("value", numpy_helper.from_array(normal(4, 3, 3, 3))))
    assert not bnfold.fold(called), "LeakyRelu's alpha may be negative, or anything"


def test_initializers_that_training_updates_stay_as_they_are() -> None:
    trained = model(f"{CONV} y = {bn('c')}")
    info = trained.training_info.add()
    for name in ("W", "s"):
        info.update_binding.add(key=name, value=f"{name}.new")
    folded = check_fold(trained, leaves=["Conv"]).model
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in folded.graph.initializer}
    assert np.array_equal(tensors["W"], normal(4, 3, 3, 3))
    assert "s" in tensors
    assert folded.training_info[0] == trained.training_info[0]


@pytest.mark.parametrize("newer", [onnx.defs.onnx_opset_version() + 1, 99])
def test_an_opset_that_onnx_does_not_know_yet_is_left_alone(newer: int) -> None:
    future = model(f"{CONV} y = {bn('c')}")
    future.opset_import[0].version = newer
    result = bnfold.fold(future)
    assert not result
    assert [kept.code for kept in result.kept] == ["opset"]


def test_a_reason_names_the_blocking_node() -> None:
    named = model(f"{CONV} t = Tanh(c) y = {bn('t')}")
    named.graph.node[1].name = "the culprit"
    assert refusal(named).reason == (
        "Tanh 'the culprit' lets no affine pass; the other way, 'y' is a graph output, which would miss the affine; "
        "put the BatchNormalization right behind a linear operator when the network is trained"
    )


def chain(pairs: int) -> bytes:
    """Conv(8x8x3x3)-BN-Relu, many times."""
    nodes, tensors, wire = [], {}, "x"
    for k in range(pairs):
        nodes.append(helper.make_node("Conv", [wire, f"W{k}"], [f"c{k}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("BatchNormalization", [f"c{k}", *(f"{p}{k}" for p in "sbmv")], [f"n{k}"]))
        wire = "y" if k == pairs - 1 else f"r{k}"
        nodes.append(helper.make_node("Relu", [f"n{k}"], [wire]))
        tensors[f"W{k}"] = normal(8, 8, 3, 3)
        tensors |= {f"{p}{k}": values for p, values in zip("sbmv", statistics(8), strict=True)}
    return of_nodes(nodes, tensors, [1, 8, 8, 8], [1, 8, 8, 8]).SerializeToString()


def test_thousands_of_pairs_in_a_row_are_no_deeper_than_one() -> None:
    """Python gives up where a function has called itself a thousand times."""
    result = bnfold.fold(chain(3000))
    assert len(result.folded) == 3000
    assert len(result.model.graph.node) == 2 * 3000


def test_a_cycle_of_affines_is_left_alone_and_ends() -> None:
    s, b, m, v = statistics(4, positive=True)
    nodes = [
        helper.make_node("BatchNormalization", ["z", *"sbmv"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    tensors = {"s": s / 8, "b": b * 0, "m": m * 0, "v": v}
    assert [kept.code for kept in bnfold.fold(of_nodes(nodes, tensors, [1], [2, 4, 4, 4])).kept] == ["cycle"]
    nodes.append(helper.make_node("Relu", ["x"], ["w"]))
    cyclic = of_nodes(nodes, tensors, [1], [1])
    cyclic.graph.output[0].name = "w"
    assert [kept.code for kept in bnfold.fold(cyclic).kept] == ["cycle"]


def test_an_addend_over_another_axis_takes_the_map_itself() -> None:
    body = f"{CONV} a = Add(c, k) y = {bn('a')}"
    check_fold(model(body, k=normal(6)), leaves=["Conv", "Add"])


def test_an_addend_that_was_rescaled_is_not_folded_a_second_time() -> None:
    body = f"{CONV} a = Add(c, k) n = {bn('a')} t = Transpose<perm = [0, 1, 3, 2]>(n) y = Mul(t, q)"
    check_fold(model(body, k=normal(6), q=normal(4, 1, 1)), leaves=["Conv", "Add", "Transpose"])


@pytest.mark.parametrize("op_type", ["DepthToSpace", "Concat", "Cast"])
def test_a_node_that_lacks_a_required_attribute_blocks(op_type: str) -> None:
    broken = model(f"{CONV} z = Relu(c) y = {bn('z')}")
    broken.graph.node[1].op_type = op_type
    assert [kept.code for kept in bnfold.fold(broken).kept] == ["malformed"]


def test_a_name_that_is_defined_twice_is_an_error() -> None:
    twice = model(f"{CONV} y = {bn('c')}")
    twice.graph.node[0].output[0] = "y"
    with pytest.raises(bnfold.ModelError, match="'y' is defined twice"):
        bnfold.fold(twice)


def test_branches_that_part_and_join_again_and_again_do_not_double_the_work() -> None:
    nodes, wire = [helper.make_node("Conv", ["x", "W"], ["c"])], "c"
    for k in range(30):
        nodes.append(helper.make_node("Split", [wire], [f"l{k}", f"r{k}"], axis=1, num_outputs=2))
        nodes.append(helper.make_node("Concat", [f"r{k}", f"l{k}"], [f"j{k}"], axis=1))
        wire = f"j{k}"
    nodes.append(helper.make_node("BatchNormalization", [wire, *"sbmv"], ["y"]))
    tensors = {"W": normal(4, 3, 3, 3), **dict(zip("sbmv", statistics(4), strict=True))}
    ladder = of_nodes(nodes, tensors, [2, 3, 6, 6], [2, 4, 4, 4])
    check_fold(ladder, leaves=["Conv"] + ["Split", "Concat"] * 30)


def test_affines_whose_product_overflows_stay_apart_without_a_warning() -> None:
    """Sixty times 2^20: no two halves of the chain have a product that float64, let alone float32, can hold."""
    names = ["x", *(f"w{k}" for k in range(59)), "y"]
    nodes = [helper.make_node("Mul", [names[k], "k"], [names[k + 1]]) for k in range(60)]
    result = bnfold.fold(of_nodes(nodes, {"k": np.array(2.0**20, np.float32)}, [2], [2]))
    assert len(result.folded) < 60
    factors = [numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer]
    assert all(np.isfinite(factor).all() for factor in factors)


def test_a_reader_of_the_type_alone_does_not_block() -> None:
    """As torch's exporter writes a Conv without bias: a zero of the type of the Conv's input."""
    body = f"""{CONV} n = {bn("c")} r = Relu(n) k = Mul(r, scale)
        like = CastLike(zero, r) bias = Expand(like, four) y = Conv(k, V, bias)"""
    more: dict[str, Any] = {
        "scale": np.array(2.5, np.float32),
        "zero": np.array(0.0, np.float32),
        "four": np.array([4]),
    }
    typed = model(body, outputs="(float[N,4,4,4] y)", V=normal(4, 4, 3, 3), **more)
    result = check_fold(typed)
    assert [node.op_type for node in result.model.graph.node if node.op_type != "CastLike"][:2] == ["Conv", "Relu"]
    assert {"BatchNormalization", "Mul"}.isdisjoint(op_types(result.model))


def test_a_reader_of_the_type_of_an_input_does_not_block_pushing() -> None:
    body = """n = BatchNormalization(x, s, b, m, v)
        like = CastLike(zero, n) bias = Expand(like, four) y = Conv(n, V, bias)"""
    more: dict[str, Any] = {"zero": np.array(0.5, np.float32), "four": np.array([4])}
    pushed = model(body, inputs="(float[N,4,6,6] x)", outputs="(float[N,4,4,4] y)", V=normal(4, 4, 3, 3), **more)
    check_fold(pushed, leaves=["Conv"])
