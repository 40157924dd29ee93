"""Functions whose parameters come with the call: the body is put in the place of exactly those calls that need it."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import FunctionProto, ModelProto, TensorProto, helper
from support import Array, check_fold, normal, op_types, passes_checker, run_ort, statistics, text_model

import bnfold
from bnfold.folding import specializing
from bnfold.model import inlining
from bnfold.model.calls import Calls
from bnfold.model.graph import Graph, Scope, scope_protos

LAYER = "layer (a, W, s, b, m, v) => (o) { c = Conv(a, W) o = BatchNormalization(c, s, b, m, v) }"


def parameters(tag: str = "", channels: int = 4, *, seed: int = 0) -> dict[str, Any]:
    return dict(zip((f"s{tag}", f"b{tag}", f"m{tag}", f"v{tag}"), statistics(channels, seed=seed), strict=True))


def function(text: str, *, opset: int = 20, attributes: str = "") -> str:
    return f'<domain: "own", opset_import: ["" : {opset}, "own" : 1]> {text.replace("(", f"{attributes}(", 1)}'


def model_of(
    body: str, *functions: str, interface: str = "(float[2,3,6,6] x) => (float[2,4,6,6] y)", **constants: npt.ArrayLike
) -> ModelProto:
    header = '<ir_version: 10, opset_import: ["" : 20, "own" : 1]>'
    return text_model(f"{header} g {interface} {{ {body} }} {' '.join(functions)}", **constants)


def untouched(model: ModelProto) -> bnfold.FoldResult:
    """It comes out as it went in, byte for byte."""
    raw = model.SerializeToString()
    result = bnfold.fold(raw)
    assert not result
    assert result.remarks == ()
    assert result.model.SerializeToString() == raw
    return result


ONE_CALL = model_of("[first] y = own.layer(x, W, s, b, m, v)", function(LAYER), W=normal(4, 3, 1, 1), **parameters())


def test_a_function_that_gets_its_parameters_folds_in_the_place_of_its_call() -> None:
    result = check_fold(ONE_CALL, leaves=["Conv"])
    assert [(folded.node, folded.into) for folded in result.folded] == [("first/BatchNormalization", ("first/Conv",))]
    assert not result.model.functions
    (remark,) = result.remarks
    assert "'layer'" in remark
    assert "'first'" in remark
    assert [info.node for info in bnfold.inspect(ONE_CALL) if info.folds] == ["first/BatchNormalization"]


def test_two_calls_with_other_parameters_fold_each_with_its_own() -> None:
    body = "h = own.layer(x, W, s, b, m, v) y = own.layer(h, V, s2, b2, m2, v2)"
    tensors: dict[str, Any] = {
        **parameters(),
        **parameters("2", seed=1),
        "W": normal(4, 3, 1, 1),
        "V": normal(4, 4, 1, 1),
    }
    result = check_fold(model_of(body, function(LAYER), **tensors), leaves=["Conv", "Conv"])
    assert len(result.remarks) == 2
    assert {tensor.name for tensor in result.model.graph.initializer} == {"W", "V", "W.bias", "V.bias"}


def test_two_calls_with_the_same_parameters_fold_each() -> None:
    body = "h = own.layer(x, W, s, b, m, v) i = own.layer(h, W, s, b, m, v) y = Relu(i)"
    model = model_of(
        body,
        function(LAYER),
        interface="(float[2,4,6,6] x) => (float[2,4,6,6] y)",
        W=normal(4, 4, 1, 1),
        **parameters(),
    )
    check_fold(model, leaves=["Conv", "Conv", "Relu"])


def test_calls_in_functions_fold_with_what_the_outermost_call_gives() -> None:
    conv = function("conv (a, W) => (o) { o = Conv(a, W) }")
    norm = function("norm (a, s, b, m, v) => (o) { o = BatchNormalization(a, s, b, m, v) }")
    block = function("block (a, W, s, b, m, v) => (o) { [cv] c = own.conv(a, W) [bn] o = own.norm(c, s, b, m, v) }")
    model = model_of("[outer] y = own.block(x, W, s, b, m, v)", conv, norm, block, W=normal(4, 3, 1, 1), **parameters())
    result = check_fold(model, leaves=["Conv"])
    assert [(f.node, f.into) for f in result.folded] == [("outer/bn/BatchNormalization", ("outer/cv/Conv",))]
    assert not result.model.functions


def test_a_layer_and_its_normalization_in_two_functions_as_exporters_write_modules() -> None:
    conv = function("conv (a, W) => (o) { o = Conv(a, W) }")
    norm = function("norm (a, s, b, m, v) => (o) { o = BatchNormalization(a, s, b, m, v) }")
    relu = function("relu (a) => (o) { o = Relu(a) }")
    body = "c = own.conv(x, W) n = own.norm(c, s, b, m, v) y = own.relu(n)"
    result = check_fold(model_of(body, conv, norm, relu, W=normal(4, 3, 1, 1), **parameters()), leaves=["Conv", "relu"])
    assert [made.name for made in result.model.functions] == ["relu"]


def test_a_layer_in_a_function_and_its_normalization_outside() -> None:
    conv = function("conv (a, W) => (o) { o = Conv(a, W) }")
    body = "c = own.conv(x, W) y = BatchNormalization(c, s, b, m, v)"
    check_fold(model_of(body, conv, W=normal(4, 3, 1, 1), **parameters()), leaves=["Conv"])


def test_what_a_function_settles_for_its_own_calls_is_put_in_there_once() -> None:
    values = {"W": normal(3, 3, 1, 1), **parameters(channels=3)}
    block = function("block (a) => (o) { o = own.layer(a, W, s, b, m, v) }")
    model = model_of(
        "h = own.block(x) y = own.block(h)",
        function(LAYER),
        block,
        interface="(float[2,3,6,6] x) => (float[2,3,6,6] y)",
    )
    for name, array in values.items():
        model.functions[1].node.insert(
            0, helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array, name))
        )
    result = check_fold(model, leaves=["block", "block"])
    (made,) = result.model.functions
    assert [node.op_type for node in made.node if node.op_type != "Constant"] == ["Conv"]


EPSILON = "c = Conv(a, W) o = BatchNormalization<epsilon: float = @e>(c, s, b, m, v)"
PADS = "c = Conv<pads: ints = @p>(a, W) o = BatchNormalization(c, s, b, m, v)"
ATTRIBUTES = {
    "set": ("<e: float>", EPSILON, "<e = 0.5>", 0.5),
    "set, not as by default": ("<e: float = 0.25>", EPSILON, "<e = 0.5>", 0.5),
    "by default": ("<e: float = 0.25>", EPSILON, "", 0.25),
    "absent": ("<e>", EPSILON, "", 1e-5),
    "a list": ("<p>", PADS, "<p = [0, 0, 0, 0]>", 1e-5),
}


@pytest.mark.parametrize(("declared", "nodes", "given", "epsilon"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_an_attribute_is_what_the_call_sets_else_the_default_of_the_function(
    declared: str, nodes: str, given: str, epsilon: float
) -> None:
    layer = function(f"layer (a, W, s, b, m, v) => (o) {{ {nodes} }}", attributes=declared)
    weight, x = normal(4, 3, 1, 1), normal(2, 3, 6, 6)
    model = model_of(f"y = own.layer{given}(x, W, s, b, m, v)", layer, W=weight, **parameters())
    result = check_fold(model, leaves=["Conv"], exact_reference=False)
    s, b, m, v = (values[:, None, None] for values in parameters().values())  # [4] -> [4, 1, 1]
    product = np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x)
    (made,) = run_ort(result.model, {"x": x})
    np.testing.assert_allclose(made, s * (product - m) / np.sqrt(v + epsilon) + b, rtol=1e-4, atol=1e-4)


def test_attributes_of_a_dense_layer_come_from_the_call() -> None:
    layer = function(
        "dense (a, W, s, b, m, v) => (o) "
        "{ c = Gemm<alpha: float = @alpha, transB: int = @tb>(a, W) o = BatchNormalization(c, s, b, m, v) }",
        attributes="<alpha: float = 3.0, tb: int>",
    )
    body = "h = own.dense<tb = 1>(x, W, s, b, m, v) y = own.dense<alpha = 0.25, tb = 0>(h, V, s, b, m, v)"
    tensors: dict[str, Any] = {"W": normal(4, 3), "V": normal(4, 4), **parameters()}
    model = model_of(body, layer, interface="(float[2,3] x) => (float[2,4] y)", **tensors)
    check_fold(model, leaves=["Gemm", "Gemm"], exact_reference=False)


def test_an_attribute_goes_through_two_calls() -> None:
    norm = function(
        "norm (a, s, b, m, v) => (o) { o = BatchNormalization<epsilon: float = @e>(a, s, b, m, v) }",
        attributes="<e: float = 0.125>",
    )
    block = function(
        "block (a, W, s, b, m, v) => (o) { c = Conv(a, W) o = own.norm<e: float = @eps>(c, s, b, m, v) }",
        attributes="<eps: float>",
    )
    tensors: dict[str, Any] = {"W": normal(4, 3, 1, 1), "V": normal(4, 4, 1, 1), **parameters()}
    body = "h = own.block<eps = 2.0>(x, W, s, b, m, v) y = own.block(h, V, s, b, m, v)"
    model = model_of(body, norm, block, **tensors)
    check_fold(model, leaves=["Conv", "Conv"], exact_reference=False)


BRANCHES = """layer (a, W, s, b, m, v, f) => (o) {
    o = If(f)<then_branch = t () => (float[2,4,6,6] z) { c = Conv(a, W) z = BatchNormalization(c, s, b, m, v) },
              else_branch = e () => (float[2,4,6,6] z) { q = Conv(a, W) z = Relu(q) }> }"""


@pytest.mark.parametrize("flag", [False, True])
def test_a_body_within_a_function_captures_arguments_of_the_call(flag: bool) -> None:
    model = model_of(
        "h = own.layer(x, W, s, b, m, v, f) c = Relu(h) z = Conv(c, V) "
        "q = own.layer(x, W, s, b, m, v, f) y = Add(z, q)",
        function(BRANCHES),
        interface="(float[2,3,6,6] x, bool f) => (float[2,4,6,6] y)",
        W=normal(4, 3, 1, 1),
        V=normal(4, 4, 1, 1),
        **parameters(),
    )
    result = check_fold(model, feeds={"x": normal(2, 3, 6, 6), "f": np.array(flag)}, exact_reference=False)
    assert [folded.op_type for folded in result.folded] == ["BatchNormalization"] * 2
    assert op_types(result.model) == ["If", "Relu", "Conv", "If", "Add"]


@pytest.mark.parametrize("flag", [False, True])
def test_a_call_within_a_body_of_control_flow(flag: bool) -> None:
    body = """y = If(f)<then_branch = t () => (float[2,4,6,6] z) { z = own.layer(x, W, s, b, m, v) },
                        else_branch = e () => (float[2,4,6,6] q) { c = own.layer(x, V, s, b, m, v) q = Relu(c) }>"""
    model = model_of(
        body,
        function(LAYER),
        interface="(float[2,3,6,6] x, bool f) => (float[2,4,6,6] y)",
        W=normal(4, 3, 1, 1),
        V=normal(4, 3, 1, 1, seed=1),
        **parameters(),
    )
    result = check_fold(model, feeds={"x": normal(2, 3, 6, 6), "f": np.array(flag)}, exact_reference=False)
    assert len(result.folded) == 2
    assert not result.model.functions
    inner = [[node.op_type for node in proto.node] for proto in scope_protos(result.model)[1:]]
    assert sorted(inner) == [["Conv"], ["Conv", "Relu"]]


def test_names_of_the_model_that_look_like_those_of_a_body_stay_its_own() -> None:
    body = "p = Neg(x) q = Neg(p) [first] h = own.layer(q, W, s, b, m, v) r = Relu(h) o = Sigmoid(r) y = Add(h, o)"
    model = model_of(body, function(LAYER), W=normal(4, 3, 1, 1), **parameters())
    taken = {"p": "first/c", "q": "first/Conv", "r": "first/BatchNormalization", "o": "first/o"}
    for node in model.graph.node:
        node.input[:] = [taken.get(name, name) for name in node.input]
        node.output[:] = [taken.get(name, name) for name in node.output]
    result = check_fold(model, leaves=["Neg", "Neg", "Conv", "Relu", "Sigmoid", "Add"])
    names = [name for node in result.model.graph.node for name in (node.name, *node.output) if name]
    assert len(names) == len(set(names))


def test_a_function_that_another_call_still_uses_stays_as_it_is() -> None:
    body = "h = own.layer(x, W, s, b, m, v) y = own.layer(h, V, t, b, m, v)"
    model = model_of(
        body,
        function(LAYER),
        interface="(float[2,3,6,6] x, float[4] t) => (float[2,4,6,6] y)",
        W=normal(4, 3, 1, 1),
        V=normal(4, 4, 1, 1),
        **parameters(),
    )
    result = check_fold(model, leaves=["Conv", "layer"], kept=["dynamic-parameter"])
    assert list(result.model.functions) == list(model.functions)
    assert len(result.remarks) == 1


def test_a_function_that_folds_for_all_of_its_calls_at_once_is_not_put_in_beside_another() -> None:
    held = parameters(channels=3)
    fixed = function("fixed (a) => (o) { c = Conv(a, W) o = BatchNormalization(c, s, b, m, v) }")
    body = "h = own.fixed(x) i = own.fixed(h) y = own.layer(i, V, t, b, m, v)"
    model = model_of(body, fixed, function(LAYER), V=normal(4, 3, 1, 1), t=normal(4), **parameters())
    for name, array in {"W": normal(3, 3, 1, 1), **held}.items():
        tensor = onnx.numpy_helper.from_array(array, name)
        model.functions[0].node.insert(0, helper.make_node("Constant", [], [name], value=tensor))
    model.graph.initializer.remove(next(tensor for tensor in model.graph.initializer if tensor.name == "s"))
    result = check_fold(model, leaves=["fixed", "fixed", "Conv"])
    assert len(result.folded) == 2
    assert [made.name for made in result.model.functions] == ["fixed"]


def test_a_value_of_the_body_that_is_an_output_too_keeps_its_normalization() -> None:
    layer = function("layer (a, W, s, b, m, v) => (c, o) { c = Conv(a, W) o = BatchNormalization(c, s, b, m, v) }")
    model = model_of(
        "z, y = own.layer(x, W, s, b, m, v)",
        layer,
        interface="(float[2,3,6,6] x) => (float[2,4,6,6] y, float[2,4,6,6] z)",
        W=normal(4, 3, 1, 1),
        **parameters(),
    )
    untouched(model)
    model.graph.node[0].output[0] = ""
    del model.graph.output[1]
    check_fold(model, leaves=["Conv"])


def test_an_output_that_is_an_input_goes_through_an_identity() -> None:
    layer = function("layer (a, W, s, b, m, v) => (a, o, o) { c = Conv(a, W) o = BatchNormalization(c, s, b, m, v) }")
    model = model_of(
        "p, q, r = own.layer(x, W, s, b, m, v) y = Add(q, r) z = Neg(p)",
        layer,
        interface="(float[2,3,6,6] x) => (float[2,4,6,6] y, float[2,3,6,6] z)",
        W=normal(4, 3, 1, 1),
        **parameters(),
    )
    result = bnfold.fold(model)
    assert op_types(result.model) == ["Conv", "Identity", "Identity", "Add", "Neg"]
    x = normal(2, 3, 6, 6)
    passed, once, twice = inlined_outputs(result.model, x)
    np.testing.assert_array_equal(passed, x)
    np.testing.assert_array_equal(once, twice)
    assert passes_checker(result.model)


def inlined_outputs(model: ModelProto, x: Array) -> list[Array]:
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for name in ("p", "q", "r"):
        copy.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return run_ort(copy, {"x": x})


def test_an_omitted_argument_is_omitted_in_the_body() -> None:
    layer = function("layer (a, W, B, s, b, m, v) => (o) { c = Conv(a, W, B) o = BatchNormalization(c, s, b, m, v) }")
    model = model_of("y = own.layer(x, W, , s, b, m, v)", layer, W=normal(4, 3, 1, 1), **parameters())
    check_fold(model, leaves=["Conv"], exact_reference=False)


RECURSIVE = {
    "itself": ["f (a, s) => (o) { b = Mul(a, s) o = own.f(b, s) }"],
    "each other": ["f (a, s) => (o) { b = Mul(a, s) o = own.g(b, s) }", "g (a, s) => (o) { o = own.f(a, s) }"],
}


@pytest.mark.parametrize("texts", RECURSIVE.values(), ids=RECURSIVE)
def test_functions_that_call_each_other_are_left_alone(texts: list[str]) -> None:
    model = model_of("c = Conv(x, W) y = own.f(c, s)", *map(function, texts), W=normal(4, 3, 1, 1), s=normal(4, 1, 1))
    untouched(model)


def test_functions_that_multiply_without_end_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specializing, "MAX_NODES", 1000)
    doubling = [function(f"f{k} (a, s) => (o) {{ b = own.f{k + 1}(a, s) o = own.f{k + 1}(b, s) }}") for k in range(40)]
    last = function("f40 (a, s) => (o) { b = Mul(a, s) o = Sigmoid(b) }")
    model = model_of("y = own.f0(x, s)", *doubling, last, interface="(float[2,4] x) => (float[2,4] y)", s=normal(4))
    assert not bnfold.fold(model)


@pytest.mark.parametrize("dynamic", ["W", "s", "v"])
def test_a_call_whose_arguments_are_no_constants_stays_as_it_is(dynamic: str) -> None:
    tensors: dict[str, Any] = {"W": normal(4, 3, 1, 1), **parameters()}
    dims = ",".join(map(str, tensors.pop(dynamic).shape))
    interface = f"(float[2,3,6,6] x, float[{dims}] {dynamic}) => (float[2,4,6,6] y)"
    body = f"y = own.layer(x, {', '.join(['W', 's', 'b', 'm', 'v'])})"
    model = model_of(body, function(LAYER), interface=interface, **tensors)
    if dynamic == "W":
        untouched(model)
    else:
        assert [kept.code for kept in untouched(model).kept] == ["dynamic-parameter"]


def test_an_argument_that_a_caller_may_override_is_no_constant() -> None:
    model = model_of("y = own.layer(x, W, s, b, m, v)", function(LAYER), W=normal(4, 3, 1, 1), **parameters())
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, [4]))
    untouched(model)
    frozen = bnfold.fold(model, freeze_initializers=True)
    assert op_types(frozen.model) == ["Conv"]
    assert [entry.name for entry in frozen.model.graph.input] == ["x"]


def test_a_function_of_another_opset_is_not_put_in() -> None:
    model = model_of("y = own.layer(x, W, s, b, m, v)", function(LAYER, opset=17), W=normal(4, 3, 1, 1), **parameters())
    untouched(model)


def test_the_domains_of_a_function_are_imported_where_its_body_stands() -> None:
    layer = function(
        "layer (a, W, s, b, m, v) => (o) "
        "{ c = Conv(a, W) n = BatchNormalization(c, s, b, m, v) o = com.microsoft.Gelu(n) }"
    ).replace('"own" : 1', '"com.microsoft" : 1')
    model = model_of("y = own.layer(x, W, s, b, m, v)", layer, W=normal(4, 3, 1, 1), **parameters())
    result = check_fold(model, leaves=["Conv", "Gelu"], exact_reference=False)
    assert {(entry.domain, entry.version) for entry in result.model.opset_import} == {
        ("", 20),
        ("own", 1),
        ("com.microsoft", 1),
    }


def test_a_call_means_the_function_of_its_overload() -> None:
    model = model_of(
        "h = own.layer(x, W, s, b, m, v) y = own.layer(h, V, s, b, m, v)",
        function(LAYER),
        function(LAYER.replace("o = Batch", "n = Batch").replace("v) }", "v) o = Neg(n) }")),
        W=normal(4, 3, 1, 1),
        V=normal(4, 4, 1, 1),
        **parameters(),
    )
    model.functions[1].overload = "negative"
    model.graph.node[1].overload = "negative"
    result = check_fold(model, leaves=["Conv", "Conv", "Neg"], exact_reference=False)
    assert not result.model.functions


def test_nodes_keep_what_nobody_knows_and_the_rest_of_the_model_its_bytes() -> None:
    model = ModelProto()
    model.CopyFrom(ONE_CALL)
    conv = model.functions[0].node[0]
    conv.doc_string = "a layer"
    conv.metadata_props.add(key="namespace", value="model/layer")
    strange = bytes([0xCA, 0x3E, 0x01, 0x41])  # field 1001, one byte long
    conv.MergeFromString(strange)
    model.metadata_props.add(key="author", value="someone")
    unused = FunctionProto()
    unused.CopyFrom(model.functions[0])
    unused.name = "unused"
    model.functions.append(unused)
    made = bnfold.fold(model).model
    assert made.graph.node[0].doc_string == "a layer"
    assert [(entry.key, entry.value) for entry in made.graph.node[0].metadata_props] == [("namespace", "model/layer")]
    assert strange in made.graph.node[0].SerializeToString()
    assert list(made.metadata_props) == list(model.metadata_props)
    assert [function.name for function in made.functions] == ["unused"]
    assert made.opset_import == model.opset_import


def test_what_a_function_declares_of_its_values_comes_along_without_its_symbols() -> None:
    layer = function(
        "layer (a, W, s, b, m, v) => (o) { c = Conv(a, W) n = BatchNormalization(c, s, b, m, v) o = Neg(n) }"
    )
    model = model_of("[k] y = own.layer(x, W, s, b, m, v)", layer, W=normal(4, 3, 1, 1), **parameters())
    model.functions[0].value_info.append(helper.make_tensor_value_info("n", TensorProto.FLOAT, ["N", 4, 6, 6]))
    (entry,) = check_fold(model, leaves=["Conv", "Neg"]).model.graph.value_info
    assert entry.name == "k/n"
    assert [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim] == [0, 4, 6, 6]


def test_external_parameters_of_a_call_are_read_and_the_rest_stays_outside(tmp_path: Path) -> None:
    body = "h = own.layer(x, W, s, b, m, v) i = Relu(h) y = Conv(i, V)"
    tensors: dict[str, Any] = {"W": normal(4, 3, 1, 1), "V": normal(4, 4, 1, 1), **parameters()}
    model = model_of(body, function(LAYER), **tensors)
    path = tmp_path / "in" / "model.onnx"
    path.parent.mkdir()
    copy = ModelProto()
    copy.CopyFrom(model)
    onnx.save(copy, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = path.read_bytes()
    result = bnfold.fold(path)
    result.save(tmp_path / "out.onnx")
    made = onnx.load(tmp_path / "out.onnx")
    assert op_types(made) == ["Conv", "Relu", "Conv"]
    assert path.read_bytes() == before
    assert bnfold.check(path, tmp_path / "out.onnx")


def test_a_model_with_nothing_to_gain_is_written_as_it_came(tmp_path: Path) -> None:
    raw = model_of(
        "y = own.layer(x, W, s)",
        function("layer (a, W, s) => (o) { c = Conv(a, W) d = Sigmoid(c) o = Mul(d, s) }"),
        W=normal(4, 3, 1, 1),
        s=normal(4, 1, 1),
    ).SerializeToString()
    bnfold.fold(raw).save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == raw


def test_putting_in_every_call_computes_the_same() -> None:
    """Without a fold: the mechanics alone, on bodies, omitted outputs and calls in calls."""
    inner = function("inner (a, k) => (p) { o = Mul(a, k) p = Add(o, k) }")
    outer = function(
        """outer (a, k, f) => (o, q) { r = own.inner(a, k) q = own.inner(r, k) t = Mul(r, q)
           o = If(f)<then_branch = yes () => (float[2,4] z) { c = own.inner(t, k) z = Exp(c) },
                     else_branch = no () => (float[2,4] z) { z = Sub(t, a) }> }"""
    )
    model = model_of(
        "h, i = own.outer(x, k, f) g = Relu(h) y, j = own.outer(g, i, f)",
        inner,
        outer,
        interface="(float[2,4] x, bool f) => (float[2,4] y, float[2,4] j)",
        k=normal(4),
    )
    calls = Calls(Graph(model))
    chosen = set[inlining.CallPath]()
    pending: list[tuple[inlining.CallPath, Scope]] = [
        ((node.address,), called) for node, called in calls.calls_in(calls.graph.main)
    ]
    while pending:
        path, called = pending.pop()
        chosen.add(path)
        pending += [((*path, node.address), inside) for node, inside in calls.calls_in(called)]
    made = inlining.inline(calls, chosen).model
    assert not made.functions
    assert passes_checker(made)
    for flag in (False, True):
        feeds = {"x": normal(2, 4), "f": np.array(flag)}
        for one, other in zip(run_ort(model, feeds), run_ort(made, feeds), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_call_in_a_function_that_states_no_opsets_stays_one() -> None:
    """Which operators its nodes are is unknown; onnxruntime does not load it either."""
    weight = "Constant <value = float[4, 3, 1, 1] {1, -2, 3, 0.5, 1, 2, -1, 1, 0.25, 3, 1, -1}> ()"
    vector = "Constant <value = float[4] {1, 2, 3, 0.5}> ()"
    outer = f"outer (a) => (o) {{ W = {weight} s = {vector} o = own.layer(a, W, s, s, s, s) }}"
    model = model_of("y = own.outer(x)", function(outer), function(LAYER))
    assert bnfold.fold(model)
    del model.functions[0].opset_import[:]
    untouched(model)
