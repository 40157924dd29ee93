"""Models of any structure, drawn by hypothesis: names that mean several things, sizes and types that disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from hypothesis import find, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

import bnfold

T = TypeVar("T")

FINDING = settings(max_examples=2000, deadline=None)

OPERATORS = (
    *("Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv"),
    *(
        "ConvTranspose",
        "DequantizeLinear",
        "Expand",
        "Flatten",
        "Gemm",
        "Identity",
        "If",
        "Loop",
        "MatMul",
        "Mul",
        "Pad",
    ),
    *("PRelu", "Relu", "Reshape", "Resize", "Scan", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "nobody's"),
)
NAMES = st.sampled_from(["", "x", "y", "a", "b", "c", "w", "s", "m", "v", "f"])
"""So few that graphs get cycles, values that are made twice, and values that nobody makes."""

SIZES = st.sampled_from([-1, 0, 1, 1, 2, 2, 2, 3, 4, 2**31, 2**62])
ODD_NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -9.0, 1e38, -1e-40, float("nan"), float("inf")])
INTEGERS = st.sampled_from([-(2**63), -2, -1, 0, 1, 1, 2, 3, 2**31, 2**62])
ATTRIBUTES = st.sampled_from(
    ["alpha", "axes", "axis", "auto_pad", "beta", "epsilon", "group", "kernel_shape", "pads", "perm", "strides", "to"]
)


@st.composite
def tensors(draw: st.DrawFn) -> TensorProto:
    """Mostly what they declare; now and then not."""
    dims = draw(st.lists(SIZES, max_size=4))
    count = int(np.prod([d for d in dims if 0 < d < 9], dtype=np.int64)) if draw(st.booleans()) else draw(SIZES) % 9
    kind = draw(st.sampled_from([1, 1, 1, 1, 10, 11, 7, 8, 3, 16, 0, 99]))
    values = np.array(draw(st.lists(ODD_NUMBERS, min_size=1, max_size=3)), np.float32)
    tensor = TensorProto(name=draw(NAMES), data_type=kind, dims=dims)
    if kind == TensorProto.STRING:
        tensor.string_data.extend([b"\xff"] * min(count, 3))
    else:
        tensor.raw_data = np.resize(values, count).tobytes()
    return tensor


def attributes() -> st.SearchStrategy[AttributeProto]:
    values = st.one_of(
        INTEGERS, ODD_NUMBERS, st.lists(INTEGERS, min_size=1, max_size=5), st.just("SAME_UPPER"), tensors()
    )
    return st.builds(helper.make_attribute, ATTRIBUTES, values)


@st.composite
def nodes(draw: st.DrawFn, depth: int = 2) -> NodeProto:
    node = NodeProto(
        op_type=draw(st.sampled_from(OPERATORS)), name=draw(NAMES), domain=draw(st.sampled_from(["", "", "my"]))
    )
    node.input.extend(draw(st.lists(NAMES, max_size=6)))
    node.output.extend(draw(st.lists(NAMES, max_size=2)))
    node.attribute.extend(draw(st.lists(attributes(), max_size=3)))
    if depth and node.op_type in ("If", "Loop", "Scan"):
        for name in ("then_branch", "else_branch", "body"):
            node.attribute.append(helper.make_attribute(name, draw(graphs(depth - 1))))
    return node


@st.composite
def graphs(draw: st.DrawFn, depth: int = 2) -> GraphProto:
    graph = GraphProto(name="g")
    graph.node.extend(draw(st.lists(nodes(depth), max_size=6)))
    graph.initializer.extend(draw(st.lists(tensors(), max_size=6)))
    for place in (graph.input, graph.output, graph.value_info):
        for name, dims in draw(st.lists(st.tuples(NAMES, st.lists(SIZES, max_size=4)), max_size=2)):
            place.append(helper.make_tensor_value_info(name, 1, dims) if dims else ValueInfoProto(name=name))
    return graph


def core() -> GraphProto:
    """A Conv and a BatchNormalization that fold, whatever stands around them."""
    channels = {f"core.{role}": np.ones(2, np.float32) * 3 for role in ("scale", "bias", "mean", "var")}
    weight = {"core.weight": np.ones((2, 2, 1, 1), np.float32)}
    return GraphProto(
        node=[
            helper.make_node("Conv", ["core.x", "core.weight"], ["core.c"]),
            helper.make_node("BatchNormalization", ["core.c", *channels], ["core.y"]),
        ],
        initializer=[numpy_helper.from_array(values, name) for name, values in (weight | channels).items()],
        input=[helper.make_tensor_value_info("core.x", 1, [1, 2, 3, 3])],
        output=[helper.make_tensor_value_info("core.y", 1, [1, 2, 3, 3])],
    )


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    model = ModelProto(ir_version=draw(st.sampled_from([1, 3, 8, 10, 99])), graph=draw(graphs()))
    if draw(st.booleans()):
        model.graph.MergeFrom(core())
    for domain, version in draw(st.lists(st.tuples(st.sampled_from(["", "my"]), INTEGERS | st.just(20)), max_size=3)):
        model.opset_import.add(domain=domain, version=version)
    if draw(st.booleans()):
        function = model.functions.add(name=draw(st.sampled_from(["Relu", "Conv", "nobody's"])), domain="my")
        function.input.extend(["x"])
        function.output.extend(["y"])
        function.node.extend(draw(st.lists(nodes(0), max_size=3)))
        function.opset_import.add(domain="", version=20)
    return model


def outcome(call: Callable[[], T]) -> tuple[T | None, str]:
    """What a call gives, or the sentence that refuses."""
    try:
        return call(), ""
    except bnfold.BnfoldError as error:
        return None, str(error)


@settings(max_examples=300, deadline=None)
@given(models())
def test_a_model_of_any_structure_is_refused_in_a_sentence_or_folded_into_one_that_can_be_read(
    model: ModelProto,
) -> None:
    data = model.SerializeToString()
    result, sentence = outcome(lambda: bnfold.fold(data))
    if result is None:
        assert sentence
        return
    made = result.model.SerializeToString()
    assert ModelProto.FromString(made).graph.output == model.graph.output
    assert bool(result) or made == ModelProto.FromString(data).SerializeToString()


@settings(max_examples=150, deadline=None)
@given(models())
def test_an_inspection_of_any_structure_is_a_list_or_a_sentence(model: ModelProto) -> None:
    found, sentence = outcome(lambda: list(bnfold.inspect(model)))
    assert sentence if found is None else all(info.folds or info.reason for info in found)


def test_some_of_these_structures_are_read_to_the_end_and_fold() -> None:
    """What is always refused at the door would try nothing behind it."""
    find(models(), lambda model: bool(outcome(lambda: bnfold.fold(model.SerializeToString()))[0]), settings=FINDING)
