"""Bodies in bodies, and functions that call each other."""

from __future__ import annotations

from collections.abc import Callable

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.helper import make_node, make_opsetid
from support import graph_model

from hostile.case import FOLDS, STAYS, conv_bn, hostile

NESTED = 1000
BOOL = helper.make_tensor_value_info("cond", TensorProto.BOOL, [])
DOMAIN = "evil"


def _message(number: int, value: bytes) -> bytes:
    """A field of protobuf's wire format that holds bytes."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def nested_ifs(depth: int) -> bytes:
    """The file of a model with an If in an If in an If; protobuf itself makes no message that is nested so deeply."""
    kept = conv_bn()
    body = helper.make_graph([], "body", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)])
    raw = body.SerializeToString()
    for level in range(depth):
        attribute = _message(1, b"then_branch") + _message(6, raw) + _varint(20 << 3) + _varint(5)
        node = make_node("If", ["cond"], [f"o{level}"], name=f"if{level}").SerializeToString() + _message(5, attribute)
        raw = _message(1, node) + _message(2, b"body")
    (nodes, rest) = raw, kept.graph
    rest.input.append(BOOL)
    whole = _message(7, rest.SerializeToString() + nodes)
    kept.ClearField("graph")
    return kept.SerializeToString() + whole


@hostile("can not be parsed as protobuf")
def a_thousand_nested_ifs() -> bytes:
    return nested_ifs(NESTED)


@hostile(STAYS)
def thirty_nested_ifs() -> bytes:
    return nested_ifs(30)


def function(name: str, *nodes: NodeProto) -> FunctionProto:
    """A function of one input and one output."""
    return helper.make_function(DOMAIN, name, ["a"], ["z"], nodes, [make_opsetid("", 20), make_opsetid(DOMAIN, 1)])


def calling(*functions: FunctionProto, first: str = "f0") -> ModelProto:
    """`conv_bn` whose output goes through a function."""
    model = conv_bn()
    model.graph.node[1].output[0] = "n"
    model.graph.node.append(make_node(first, ["n"], ["y"], domain=DOMAIN))
    model.opset_import.append(make_opsetid(DOMAIN, 1))
    model.functions.extend(functions)
    return model


def call(name: str, source: str, target: str) -> NodeProto:
    return make_node(name, [source], [target], domain=DOMAIN)


@hostile(FOLDS)
def function_calls_itself() -> ModelProto:
    return calling(function("f0", call("f0", "a", "z")))


@hostile(FOLDS)
def functions_call_each_other() -> ModelProto:
    return calling(function("f0", call("f1", "a", "z")), function("f1", call("f0", "a", "z")))


@hostile(FOLDS)
def function_calls_itself_from_a_body() -> ModelProto:
    value = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
    body = helper.make_graph([call("f0", "a", "t")], "body", [], [value])
    branch = make_node("If", ["a"], ["z"], then_branch=body, else_branch=body)
    return calling(function("f0", branch))


@hostile(FOLDS)
def functions_call_two_each_forty_levels_deep() -> ModelProto:
    """2^40 operators, were they all put in place."""
    levels = [function(f"f{k}", call(f"f{k + 1}", "a", "t"), call(f"f{k + 1}", "t", "z")) for k in range(40)]
    return calling(*levels, function("f40", make_node("Relu", ["a"], ["z"])))


def asking_for_shapes(model: ModelProto) -> ModelProto:
    """The model with a map behind its function, for which the shape there has to be known."""
    model.graph.node[-1].output[0] = "behind"
    model.graph.node.append(make_node("Mul", ["behind", "s"], ["y"]))
    return model


@hostile(FOLDS)
def shapes_behind_functions_that_call_two_each() -> ModelProto:
    return asking_for_shapes(functions_call_two_each_forty_levels_deep())


@hostile(FOLDS)
def shapes_behind_a_function_that_calls_itself() -> ModelProto:
    return asking_for_shapes(function_calls_itself())


@hostile(FOLDS)
def shapes_behind_functions_that_call_each_other() -> ModelProto:
    return asking_for_shapes(functions_call_each_other())


@hostile(FOLDS)
def shapes_behind_a_function_that_calls_itself_from_a_body() -> ModelProto:
    return asking_for_shapes(function_calls_itself_from_a_body())


@hostile(FOLDS)
def shapes_behind_a_chain_of_two_thousand_functions() -> ModelProto:
    return asking_for_shapes(a_chain_of_two_thousand_functions())


@hostile(FOLDS)
def a_chain_of_two_thousand_functions() -> ModelProto:
    levels = [function(f"f{k}", call(f"f{k + 1}", "a", "z")) for k in range(2000)]
    return calling(*levels, function("f2000", make_node("Relu", ["a"], ["z"])))


@hostile(FOLDS)
def function_is_there_twice() -> ModelProto:
    return calling(*[function("f0", make_node("Relu", ["a"], ["z"]))] * 2)


@hostile(FOLDS)
def function_takes_the_name_of_an_operator() -> ModelProto:
    made = function("Relu", make_node("Relu", ["a"], ["z"]))
    made.domain = ""
    model = conv_bn(more="r = Relu(y)")
    model.functions.append(made)
    return model


@hostile(STAYS)
def function_takes_the_name_of_the_normalization() -> ModelProto:
    made = function("BatchNormalization", make_node("BatchNormalization", ["a", "a", "a", "a", "a"], ["z"]))
    made.domain = "ai.onnx"
    model = conv_bn()
    model.functions.append(made)
    return model


def hidden(change: Callable[[ModelProto], None]) -> ModelProto:
    """An If whose body reads and hides names of the graph around it."""
    model = graph_model(
        "(float[N,3,5,5] x, bool cond) => (float[A,B,C,D] y) { c = Relu(x) y = If(cond) <"
        "then_branch = t () => (float[A,B,C,D] c2) { c2 = Neg(c) }, "
        "else_branch = e () => (float[A,B,C,D] c3) { c3 = Abs(c) }> }"
    )
    change(model)
    return model


@hostile(STAYS)
def body_reads_what_its_own_node_makes() -> ModelProto:
    def change(model: ModelProto) -> None:
        model.graph.node[1].attribute[0].g.node[0].input[0] = "y"

    return hidden(change)


@hostile(STAYS)
def body_hides_a_name_of_the_graph() -> ModelProto:
    def change(model: ModelProto) -> None:
        model.graph.node[1].attribute[0].g.node[0].output[0] = "x"
        model.graph.node[1].attribute[0].g.output[0].name = "x"

    return hidden(change)


def referring(name: str, **graph: GraphProto) -> ModelProto:
    """A call of a function that normalizes, one of whose attributes comes from the call, or is a graph as well."""
    normalization = make_node("BatchNormalization", ["a", *["k"] * 4], ["z"])
    attribute = normalization.attribute.add(name=name, ref_attr_name="eps", type=AttributeProto.FLOAT)
    for body in graph.values():
        attribute.g.CopyFrom(body)
    opsets = [make_opsetid("", 20)]
    made = helper.make_function(DOMAIN, "norm", ["a", "k"], ["z"], [normalization], opsets, ["eps"])
    model = conv_bn()
    model.graph.node[1].CopyFrom(make_node("norm", ["c", "s"], ["y"], domain=DOMAIN, eps=1e-3))
    model.opset_import.append(make_opsetid(DOMAIN, 1))
    model.functions.append(made)
    return model


@hostile("name that is no text")
def attribute_that_comes_from_a_call_has_a_name_that_is_no_text() -> bytes:
    return referring("NAME").SerializeToString().replace(b"NAME", b"\xff\xfe\xfd\xfc")


@hostile(STAYS)
def attribute_that_comes_from_a_call_is_a_graph_as_well() -> ModelProto:
    return referring("epsilon", g=helper.make_graph([make_node("Relu", ["a"], ["r"])], "body", [], []))
