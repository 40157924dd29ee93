"""What counts as an affine: BatchNormalization of every opset, and constant Mul, Add, Sub, Div."""

from typing import Any

import numpy as np
import onnx.version_converter
import pytest
from onnx import ModelProto, TensorProto, defs, helper, numpy_helper
from support import (
    Array,
    Feeds,
    check_fold,
    compare,
    graph_model,
    normal,
    op_types,
    refusal,
    run_ort,
    run_reference,
    statistics,
)

import bnfold

C, X = 8, "float[2, 3, 4, 6] x"
NEWEST = defs.onnx_opset_version()


def behind_conv(
    nodes: str, *, x: str = X, outputs: str = "float[2, 8, 4, 6] y", opset: int = 20, ir: int = 10, **constants: Any
) -> ModelProto:
    """Conv to c, shape (2, 8, 4, 6); then `nodes`, with s, b, m, v the parameters of a BatchNormalization."""
    given: dict[str, Any] = {
        name: v for name, v in zip("sbmv", statistics(C), strict=True) if any(f"{name}{end}" in nodes for end in ",)")
    }
    return graph_model(
        f"({x}) => ({outputs}) {{ c = Conv <pads = [1, 1, 1, 1]> (x, w) {nodes} }}",
        opset=opset,
        ir=ir,
        w=normal(C, 3, 3, 3),
        **{**given, **constants},
    )


def normalized(attributes: str = "", parameters: str = "s, b, m, v", outputs: str = "y") -> str:
    return f"{outputs} = BatchNormalization {f'<{attributes}>' if attributes else ''} (c, {parameters})"


def per_channel(seed: int = 0) -> Array:
    return normal(C, 1, 1, seed=seed)


def run_converted(model: ModelProto, feeds: Feeds) -> list[Array]:
    """For opsets below 7, which onnxruntime does not run: onnx's converter says what the operators mean."""
    return run_ort(onnx.version_converter.convert_version(model, 9), feeds)


OPSETS = {
    **dict.fromkeys(range(1, 7), "is_test = 1"),
    **dict.fromkeys(range(7, NEWEST + 1), ""),
}


@pytest.mark.parametrize(("opset", "attributes"), OPSETS.items(), ids=[f"opset {opset}" for opset in OPSETS])
def test_batch_normalization_of_every_opset_folds(opset: int, attributes: str) -> None:
    # onnx.reference has no BatchNormalization before opset 6, and the one before 9 gives no array.
    model = behind_conv(normalized(attributes), opset=opset)
    check_fold(model, leaves=["Conv"], run=run_converted if opset < 7 else run_ort)


def test_batch_normalization_of_an_opset_that_onnx_does_not_know_is_refused() -> None:
    model = behind_conv(normalized(), opset=NEWEST + 1)
    result = bnfold.fold(model)
    assert [kept.code for kept in result.kept] == ["opset"]
    assert result.model == model


WRITTEN = {
    "opset 1, consumed_inputs": ("is_test = 1, consumed_inputs = [0, 0, 0, 1, 1]", 1),
    "opset 6, spatial": ("is_test = 1, spatial = 1", 6),
    "opset 7, spatial": ("spatial = 1", 7),
    "opset 9, momentum": ("momentum = 0.5", 9),
    "opset 14, training_mode = 0": ("training_mode = 0", 14),
}


@pytest.mark.parametrize(("attributes", "opset"), WRITTEN.values(), ids=WRITTEN)
def test_attributes_that_change_nothing_do_not_block(attributes: str, opset: int) -> None:
    model = behind_conv(normalized(attributes), opset=opset)
    check_fold(model, leaves=["Conv"], run=run_converted if opset < 7 else run_ort)


@pytest.mark.parametrize("epsilon", ["", "epsilon = 0.0", "epsilon = 1.0", "epsilon = 0.001"])
def test_epsilon_is_read_as_written(epsilon: str) -> None:
    variance = np.geomspace(1e-5, 1e-3, C).astype(np.float32)
    check_fold(behind_conv(normalized(epsilon), v=variance), leaves=["Conv"])


@pytest.mark.parametrize("opset", [14, 15, 20, NEWEST])
def test_training_mode_is_refused(opset: int) -> None:
    assert refusal(behind_conv(normalized("training_mode = 1", outputs="y, n, a"), opset=opset)).code == "training"


def test_training_mode_without_its_other_outputs_is_refused() -> None:
    kept = bnfold.fold(behind_conv(normalized("training_mode = 1"))).kept
    assert [entry.code for entry in kept] == ["training"]


TRAINING = {
    "opset 1, is_test by default": ("training", normalized(), 1),
    "opset 6, is_test by default": ("training", normalized(), 6),
    "opset 6, is_test = 0": ("training", normalized("is_test = 0"), 6),
    "opset 6, spatial = 0": ("spatial", normalized("is_test = 1, spatial = 0"), 6),
    "opset 7, spatial = 0": ("spatial", normalized("spatial = 0"), 7),
    "opset 8, spatial = 0": ("spatial", normalized("spatial = 0"), 8),
    "opset 15, statistics in use": ("training", normalized("training_mode = 1", outputs="y, n, a"), 15),
    "opset 15, statistics in use, training_mode = 0": (
        "statistics",
        normalized(outputs="y, n, a") + " o = Relu (n)",
        15,
    ),
    "opset 9, statistics in use": ("statistics", normalized(outputs="y, n, a, e, d") + " o = Relu (n)", 9),
    # Before opset 14 it is the number of outputs that says training, and onnxruntime takes it so.
    "opset 7, statistics listed": ("training", normalized(outputs="y, n, a, e, d"), 7),
    "opset 9, statistics listed": ("training", normalized(outputs="y, n, a, e, d"), 9),
    "opset 13, statistics listed": ("training", normalized(outputs="y, n, a, e, d"), 13),
}


@pytest.mark.parametrize(("code", "nodes", "opset"), TRAINING.values(), ids=TRAINING)
def test_batch_normalization_that_is_no_affine_is_refused(code: str, nodes: str, opset: int) -> None:
    outputs = "float[2, 8, 4, 6] y" + (", float[8] o" if " o = " in nodes else "")
    model = behind_conv(nodes, opset=opset, outputs=outputs)
    result = bnfold.fold(model)
    assert [kept.code for kept in result.kept] == [code]
    assert result.model == model


def test_statistics_that_are_listed_but_unused_mean_training_to_onnxruntime_too() -> None:
    quiet, listed = (behind_conv(normalized(outputs=outputs), opset=9) for outputs in ("y", "y, n, a, e, d"))
    feeds = {"x": normal(2, 3, 4, 6)}
    assert not np.allclose(run_ort(quiet, feeds)[0], run_ort(listed, feeds)[0], atol=0.1)


def numbers(values: Array) -> str:
    return "[" + ", ".join(repr(float(value)) for value in values) + "]"


S = statistics(C)[0]
SPELLED = {
    "Constant, value": (f"S = Constant <value = float[{C}] {{{numbers(S)[1:-1]}}}> ()", {}),
    "Constant, value_floats": (f"S = Constant <value_floats = {numbers(S)}> ()", {}),
    "Constant of constants": ("n = Constant <value_ints = [8]> () S = Expand (one, n)", {"one": np.float32(1.5)}),
    "ConstantOfShape": ("S = ConstantOfShape <value = float[1] {1.5}> (n)", {"n": np.array([C], np.int64)}),
    "Identity": ("S = Identity (o)", {"o": S}),
    "Cast": ("S = Cast <to = 1> (o)", {"o": S.astype(np.float64)}),
    "Cast from integers": ("S = Cast <to = 1> (o)", {"o": np.arange(1, C + 1)}),
    "Reshape": ("S = Reshape (o, n)", {"o": S.reshape(2, 4, 1), "n": np.array([-1], np.int64)}),
    "Transpose": ("t = Transpose (o) S = Squeeze (t, n)", {"o": S[None], "n": np.array([1], np.int64)}),
    "Unsqueeze": ("t = Unsqueeze (o, n) S = Squeeze (t)", {"o": S, "n": np.array([0], np.int64)}),
    "arithmetic": ("t = Mul (o, o) u = Add (t, o) S = Neg (u)", {"o": S}),
}


@pytest.mark.parametrize(("nodes", "constants"), SPELLED.values(), ids=SPELLED)
def test_parameter_that_is_a_constant_expression_folds(nodes: str, constants: dict[str, Any]) -> None:
    model = behind_conv(f"{nodes} {normalized(parameters='S, b, m, v')}", **constants)
    check_fold(model, leaves=["Conv"])


def test_parameters_shared_between_roles_and_nodes_fold() -> None:
    shared = np.abs(S) + np.float32(0.5)
    nodes = "a = BatchNormalization (c, k, k, k, k) t = Conv (a, P) y = BatchNormalization (t, k, b, m, k)"
    check_fold(behind_conv(nodes, P=normal(C, C, 1, 1), k=shared), leaves=["Conv", "Conv"])


@pytest.mark.parametrize(("beside", "is_one"), [(0.0, True), (2.0**-20, False)])
def test_scale_that_is_the_root_as_float32_holds_it_changes_no_bit_of_the_weights(beside: float, is_one: bool) -> None:
    """Its quotient in float64 is not 1, and left a shift of 1e-9 behind a MatMul, which has no bias to take it."""
    variance, mean = np.geomspace(1e-3, 9.0, C).astype(np.float32), normal(C)
    scale = np.sqrt(variance + np.float32(1e-5)) * np.float32(1 + beside)
    model = graph_model(
        "(float[N,4] x) => (float[N,8] y) { h = MatMul(x, w) y = BatchNormalization(h, s, m, m, v) }",
        w=normal(4, C),
        s=scale,
        m=mean,
        v=variance,
    )
    check_fold(model, leaves=["MatMul"] if is_one else ["MatMul", "Add"])
    weight = next(tensor for tensor in bnfold.fold(model).model.graph.initializer if tensor.dims == [4, C])
    assert np.array_equal(numpy_helper.to_array(weight), normal(4, C)) == is_one


def test_one_channel_folds() -> None:
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(1), strict=True))
    model = graph_model(
        f"({X}) => (float[] y) {{ c = Conv (x, w) {normalized()} }}", w=normal(1, 3, 3, 3), **parameters
    )
    check_fold(model, leaves=["Conv"])


def test_batch_normalization_of_a_matrix_folds() -> None:
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(C), strict=True))
    model = graph_model(
        f"(float[4, 5] x) => (float[] y) {{ c = Gemm (x, w) {normalized()} }}", w=normal(5, C), **parameters
    )
    check_fold(model, leaves=["Gemm"])


REFUSED = {
    "a parameter that is fed": ("dynamic-parameter", normalized(parameters="f, b, m, v"), {}),
    "a parameter computed from an input": (
        "dynamic-parameter",
        "d = Exp (f) " + normalized(parameters="s, b, m, d"),
        {},
    ),
    "a variance that is below -epsilon": ("not-finite", normalized(), {"v": np.linspace(-1, 1, C).astype("f")}),
    "a variance of zero without epsilon": ("not-finite", normalized("epsilon = 0.0"), {"v": np.zeros(C, "f")}),
    "a scale that is not finite": ("not-finite", normalized(), {"s": np.full(C, np.inf, "f")}),
    "parameters of two lengths": ("malformed", normalized(), {"m": np.zeros(C - 1, "f")}),
    "parameters of rank 2": (
        "malformed",
        normalized(),
        dict(zip("sbmv", (v[:, None] for v in statistics(C)), strict=True)),
    ),
    "parameters of another length": ("malformed", normalized(), dict(zip("sbmv", statistics(C - 1), strict=True))),
    "a parameter left out": ("malformed", normalized(parameters='s, b, m, ""'), {}),
    "a parameter of integers": ("type", normalized(), {"b": np.arange(C)}),
}


@pytest.mark.parametrize(("code", "nodes", "constants"), REFUSED.values(), ids=REFUSED)
def test_parameters_that_make_no_affine_are_refused(code: str, nodes: str, constants: dict[str, Any]) -> None:
    model = behind_conv(nodes, x=f"{X}, float[8] f", **constants)
    result = bnfold.fold(model)
    assert [kept.code for kept in result.kept] == [code]
    assert result.model == model


def listed(model: ModelProto) -> ModelProto:
    """With every initializer listed among the inputs."""
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


@pytest.mark.parametrize("ir", [4, 8, 10])
def test_initializer_that_a_caller_may_override_is_refused_and_the_flag_is_named(ir: int) -> None:
    kept = refusal(listed(behind_conv(normalized(), opset=9, ir=ir)))
    assert kept.code == "overridable"
    assert "--freeze-initializers" in kept.reason


@pytest.mark.parametrize("ir", [4, 10])
def test_frozen_initializers_fold_and_stop_being_inputs(ir: int) -> None:
    model = listed(behind_conv(normalized(), opset=9, ir=ir))
    result = check_fold(model, leaves=["Conv"], freeze_initializers=True)
    assert [entry.name for entry in result.model.graph.input] == ["x"]


def test_weight_that_a_caller_may_override_is_refused() -> None:
    model = behind_conv(normalized(), opset=9)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [C, 3, 3, 3]))
    assert refusal(model).code == "overridable"


def test_initializers_listed_as_inputs_are_constants_below_ir_version_4() -> None:
    result = check_fold(listed(behind_conv(normalized(), opset=8, ir=3)), leaves=["Conv"], exact_reference=False)
    initializers = {tensor.name for tensor in result.model.graph.initializer}
    assert {entry.name for entry in result.model.graph.input} == {"x", *initializers}


SHAPES: list[tuple[int, ...]] = [(), (1,), (C, 1, 1), (1, C, 1, 1), (1, 1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "node", ["Mul (c, k)", "Mul (k, c)", "Add (c, k)", "Add (k, c)", "Sub (c, k)", "Sub (k, c)", "Div (c, k)"]
)
def test_constant_arithmetic_folds(node: str, shape: tuple[int, ...]) -> None:
    check_fold(behind_conv(f"y = {node}", k=normal(*shape)), leaves=["Conv"])


@pytest.mark.parametrize("ir_and_opset", [(8, 7), (8, 13), (10, NEWEST)], ids=["opset 7", "opset 13", "newest opset"])
def test_constant_arithmetic_of_other_opsets_folds(ir_and_opset: tuple[int, int]) -> None:
    ir, opset = ir_and_opset
    nodes = "a = Mul (c, k) d = Sub (l, a) e = Div (d, k) y = Add (e, l)"
    check_fold(behind_conv(nodes, ir=ir, opset=opset, k=per_channel(), l=per_channel(1)), leaves=["Conv"])


CHAINS = {
    "mul, add": "a = Mul (c, k) y = Add (a, l)",
    "c - x twice": "a = Sub (k, c) y = Sub (l, a)",
    "everything": "a = Mul (c, k) d = Add (l, a) e = Sub (one, d) f = Div (e, l) y = Sub (f, k)",
    "around a BatchNormalization": "a = Mul (c, k) d = BatchNormalization (a, s, b, m, v) y = Add (d, one)",
    "behind Identity": "a = Identity (c) d = Mul (a, k) e = Identity (d) y = Add (e, l)",
}


@pytest.mark.parametrize("nodes", CHAINS.values(), ids=CHAINS)
def test_chain_of_affines_folds_in_one(nodes: str) -> None:
    constants: dict[str, Any] = {
        name: values
        for name, values in {"k": per_channel(), "l": per_channel(1), "one": np.float32(1)}.items()
        if f"{name}," in nodes or f"{name})" in nodes
    }
    check_fold(behind_conv(nodes, **constants), leaves=["Conv", *["Identity"] * nodes.count("Identity")])


SQUARE = "float[2, 3, 8, 8] x"
NO_AFFINES = {
    "c / x": ("y = Div (k, c)", X, per_channel()),
    "x / 0": ("d = Div (c, k) y = Relu (d)", X, np.where(np.arange(C) < 4, 0, 1).astype("f")[:, None, None]),
    "the batch grows": ("y = Mul (c, k)", "float[1, 3, 4, 6] x", normal(C, 1, 1, 1)),
    "the rank grows": ("y = Mul (c, k)", X, normal(1, 1, C, 1, 1)),
    "the rank grows, one number": ("y = Add (c, k)", X, normal(1, 1, 1, 1, 1)),
    "the channels grow": ("g = Conv (x, one) y = Mul (g, k)", X, per_channel()),
    "two axes": ("y = Mul (c, k)", X, normal(C, 4, 1)),
    "the batch may grow": ("y = Mul (c, k)", "float[N, 3, 4, 6] x", normal(C, 1, 1, 1)),
    "the whole shape": ("y = Mul (c, k)", X, normal(2, C, 4, 6)),
}
OTHER_AXES = {
    "[W] with W == C": ("y = Mul (c, k)", SQUARE, normal(C)),
    "[H, 1] with H == C": ("y = Mul (c, k)", SQUARE, normal(C, 1)),
    "along the batch": ("y = Mul (c, k)", X, normal(2, 1, 1, 1)),
}


@pytest.mark.parametrize(
    ("nodes", "x", "constant", "codes"),
    [*[(*case, []) for case in NO_AFFINES.values()], *[(*case, ["axis"]) for case in OTHER_AXES.values()]],
    ids=[*NO_AFFINES, *OTHER_AXES],
)
def test_constant_that_is_no_affine_over_the_channels_does_not_fold(
    nodes: str, x: str, constant: Array, codes: list[str]
) -> None:
    one: dict[str, Any] = {"one": normal(1, 3, 3, 3)} if "one)" in nodes else {}
    model = behind_conv(nodes, x=x, outputs="float[] y", k=constant, **one)
    result = bnfold.fold(model)
    assert [outcome.refusal.code for outcome in result.plan.outcomes if outcome.refusal] == codes
    assert result.model == model
    feeds = {"x": normal(2 if x in (X, SQUARE) else 1, 3, 8 if x == SQUARE else 4, 8 if x == SQUARE else 6)}
    assert run_ort(model, feeds)[0].size  # what is refused here is a model that runs


def test_integer_arithmetic_does_not_fold() -> None:
    model = graph_model(
        f"({X}, int64[2, 3] i) => (float[] y, int64[] o) {{ y = Relu (x) o = Mul (i, k) }}", k=np.int64(3)
    )
    result = bnfold.fold(model)
    assert not result
    assert not result.plan.outcomes


OLD = {
    "axis 1": ("y = Mul <broadcast = 1, axis = 1> (c, k)", X, normal(C), True),
    "axis -3": ("y = Add <broadcast = 1, axis = -3> (c, k)", X, normal(C), True),
    "axis 1, several axes": ("y = Sub <broadcast = 1, axis = 1> (c, k)", X, normal(C, 1, 1), True),
    "axis 0": ("y = Div <broadcast = 1, axis = 0> (c, k)", X, normal(1, C), True),
    "no axis: the last ones": ("y = Mul <broadcast = 1> (c, k)", X, normal(C, 1, 1), True),
    "a scalar": ("y = Mul <broadcast = 1> (c, k)", X, normal(1), True),
    "no axis, [W] with W == C": ("y = Mul <broadcast = 1> (c, k)", SQUARE, normal(C), False),
    "axis 2, [H] with H == C": ("y = Mul <broadcast = 1, axis = 2> (c, k)", SQUARE, normal(C), False),
    "axis 0, the batch": ("y = Mul <broadcast = 1, axis = 0> (c, k)", X, normal(2), False),
    "no broadcast": ("y = Mul (c, k)", X, normal(2, C, 4, 6), False),
    "beyond the last axis": ("y = Mul <broadcast = 1, axis = 3> (c, k)", X, normal(C, 1), False),
}


def run_old(model: ModelProto, feeds: Feeds) -> list[Array]:
    """Mul, Add, Sub, Div with `broadcast` and `axis`, which nothing runs, written out as Unsqueeze by the rule."""
    modern = ModelProto()
    modern.CopyFrom(model)
    modern.opset_import[0].version = 7
    tensors = {tensor.name: tensor for tensor in modern.graph.initializer}
    for node in modern.graph.node:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if "broadcast" in attributes:
            dims = tensors[node.input[1]].dims
            start = attributes["axis"] % 4 if "axis" in attributes else 4 - len(dims)
            dims.extend([1] * (4 - start - len(dims)))
            del node.attribute[:]
    return run_ort(modern, feeds)


@pytest.mark.parametrize(("nodes", "x", "constant", "folds"), OLD.values(), ids=OLD)
def test_axis_and_broadcast_of_opset_6_are_followed(nodes: str, x: str, constant: Array, folds: bool) -> None:
    model = behind_conv(nodes, x=x, outputs="float[] y", opset=6, k=constant)
    result = bnfold.fold(model)
    assert bool(result) is folds
    if folds:
        assert op_types(result.model) == ["Conv"]
        compare(model, result.model, {"x": normal(2, 3, 4, 6)}, run_old, exact_reference=False)
    else:
        assert result.model == model


WRITTEN_OUT = {
    "(x - m) / sqrt(v + e) * s + b": """a = Sub (c, m) h = Add (v, e) r = Sqrt (h) d = Div (a, r)
                                        f = Mul (d, s) y = Add (f, b)""",
    "(x - m) * (1 / sqrt(v + e)) * s + b": """h = Add (v, e) r = Sqrt (h) q = Reciprocal (r) a = Sub (c, m)
                                              d = Mul (q, a) f = Mul (d, s) y = Add (b, f)""",
    "x * (s * rsqrt) + (b - m * s * rsqrt)": """h = Add (v, e) r = Sqrt (h) q = Reciprocal (r) g = Mul (q, s)
                                                d = Mul (c, g) M = Mul (m, g) t = Sub (b, M) y = Add (d, t)""",
    "pow(v + e, -0.5)": "h = Add (v, e) q = Pow (h, p) a = Sub (c, m) g = Mul (q, s) d = Mul (a, g) y = Add (d, b)",
    "x * (s / sqrt(v + e)) - (m * s / sqrt(v + e) - b)": """h = Add (v, e) r = Sqrt (h) g = Div (s, r) d = Mul (c, g)
                                                            M = Mul (m, g) t = Sub (M, b) y = Sub (d, t)""",
    "parameters unsqueezed": """S = Unsqueeze (o, n) h = Add (v, e) r = Sqrt (h) a = Sub (c, m) d = Div (a, r)
                                f = Mul (d, S) y = Add (f, b)""",
}


@pytest.mark.parametrize("nodes", WRITTEN_OUT.values(), ids=WRITTEN_OUT)
def test_batch_normalization_written_out_folds_with_its_constants(nodes: str) -> None:
    constants: dict[str, Any] = {name: v[:, None, None] for name, v in zip("sbmv", statistics(C), strict=True)}
    constants |= {"e": np.array(1e-3, "f"), "p": np.array(-0.5, "f"), "o": statistics(C)[0], "n": np.array([1, 2])}
    used: dict[str, Any] = {
        name: values for name, values in constants.items() if f"({name}," in nodes or f", {name})" in nodes
    }
    check_fold(behind_conv(nodes, **used), leaves=["Conv"])


CHAIN = "a = Sub (c, m) d = Mul (a, k) f = Mul (d, k) y = Add (f, k)"


def test_middle_of_a_chain_that_is_a_graph_output_lets_only_what_is_in_front_of_it_fold() -> None:
    model = behind_conv(CHAIN, outputs="float[2, 8, 4, 6] y, float[2, 8, 4, 6] d", m=per_channel(1), k=per_channel())
    result = check_fold(model, leaves=["Conv", "Mul", "Add"], residuals=False)
    assert [entry.node for entry in result.folded] == ["Sub -> a", "Mul -> d"]
    check_fold(model, leaves=["Conv", "BatchNormalization"], kept=["graph-output"])


def test_middle_of_a_chain_that_has_a_second_reader_lets_only_what_is_in_front_of_it_fold() -> None:
    model = behind_conv(
        f"{CHAIN} o = Relu (d)", outputs="float[2, 8, 4, 6] y, float[2, 8, 4, 6] o", m=per_channel(1), k=per_channel()
    )
    result = check_fold(model, leaves=["Conv", "Mul", "Add", "Relu"], residuals=False)
    assert [entry.node for entry in result.folded] == ["Sub -> a", "Mul -> d"]


def test_wire_in_front_of_a_chain_that_is_a_graph_output_keeps_its_conv_and_the_chain_gets_shorter() -> None:
    model = behind_conv(CHAIN, outputs="float[2, 8, 4, 6] y, float[2, 8, 4, 6] c", m=per_channel(1), k=per_channel())
    folded = check_fold(model, leaves=["Conv", "Mul", "Add"], residuals=False).model
    assert folded.graph.node[0] == model.graph.node[0]
    check_fold(model, leaves=["Conv", "BatchNormalization"], kept=["graph-output"])


@pytest.mark.parametrize(
    "nodes", ["y = Relu (c) o = Mul (c, k)", "y = Relu (c) o = BatchNormalization (c, s, b, m, v)"]
)
def test_node_whose_output_is_omitted_does_not_crash(nodes: str) -> None:
    constants: dict[str, Any] = {"k": per_channel()} if "k" in nodes else {}
    model = behind_conv(nodes, **constants)
    model.graph.node[2].output[0] = ""
    assert not bnfold.fold(model)


def test_node_of_the_same_name_in_another_domain_is_no_affine() -> None:
    model = behind_conv("y = Mul (c, k)", k=per_channel())
    model.graph.node[1].domain = "custom"
    model.opset_import.append(helper.make_opsetid("custom", 1))
    assert not bnfold.fold(model)


def test_domain_written_as_ai_onnx_is_the_default_one() -> None:
    model = behind_conv(normalized())
    for node in model.graph.node:
        node.domain = "ai.onnx"
    check_fold(model, leaves=["Conv"], exact_reference=False)


def test_half_precision_statistics_in_single_precision_fold() -> None:
    # onnxruntime's CPU provider has no BatchNormalization of mixed types.
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(C), strict=True))
    nodes = f"c = Conv <pads = [1, 1, 1, 1]> (x, w) {normalized()}"
    model = graph_model(
        f"(float16[2, 3, 4, 6] x) => (float16[] y) {{ {nodes} }}", w=normal(C, 3, 3, 3, dtype=np.float16), **parameters
    )
    result = check_fold(model, leaves=["Conv"], run=run_reference, exact_reference=False)
    assert {tensor.data_type for tensor in result.model.graph.initializer} == {TensorProto.FLOAT16}
