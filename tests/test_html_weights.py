"""What the report measures: how far the values of constants reach, and which node is which in two graphs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from pages import Page
from support import graph_model, normal, parameters, text_model

import bnfold
from bnfold.model.constant import Constant
from bnfold.model.container import Container
from bnfold.model.graph import Graph
from bnfold.report.html.pairing import Side, pair
from bnfold.report.html.weights import extent_of

ROWS = "Constants of the operators that have changed"


def side(model: ModelProto) -> Side:
    return Side(Graph(model), Container(model))


@pytest.mark.parametrize(
    ("node", "shape", "axis"),
    [
        ("Conv(x, W)", (4, 3, 3, 3), 0),
        ("ConvTranspose(x, W)", (3, 4, 3, 3), 1),
        ("Gemm(x, W)", (3, 4), 1),
        ("Gemm<transB = 1>(x, W)", (4, 3), 0),
        ("MatMul(x, W)", (3, 4), 1),
        ("Mul(x, W)", (3, 4), None),
    ],
)
def test_int8_steps_are_those_of_the_weakest_output_channel(
    node: str, shape: tuple[int, ...], axis: int | None
) -> None:
    values = np.full(shape, 0.5, np.float32)
    if axis is not None:
        np.moveaxis(values, axis, 0)[:] *= np.array([1, 0, 0.1, 1]).reshape(4, *[1] * (values.ndim - 1))
    graph = Graph(graph_model(f"(float[N,3] x) => (float[N,4] y) {{ y = {node} }}", W=values))
    extent = extent_of(Constant.of(values, TensorProto.FLOAT), graph.main.nodes[0], 1)
    assert extent.largest == 0.5
    if axis is None:
        assert np.isnan(extent.steps)
    else:
        assert extent.steps == pytest.approx(12.7)  # the channel that is 0 throughout loses nothing
        assert extent.smallest == np.float32(0.05)


def test_what_float16_can_not_hold_is_counted() -> None:
    values = np.array([0, 1e5, -1e6, 1, 5e-5, 2.0**-14, 2.0**-25, 1e-9], np.float32)
    node = Graph(graph_model("(float[8] x) => (float[8] y) { y = Mul(x, W) }", W=values)).main.nodes[0]
    extent = extent_of(Constant.of(values, TensorProto.FLOAT), node, 1)
    assert (extent.largest, extent.over, extent.subnormal, extent.vanishing) == (1e6, 2, 3 / 7, 2 / 7)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    assert np.count_nonzero(np.isinf(half)) == extent.over
    assert np.count_nonzero((half == 0) & (values != 0)) == 2


def test_a_constant_of_zeros_or_of_nothing_reaches_nowhere() -> None:
    node = Graph(graph_model("(float[N,3] x) => (float[N,4] y) { y = MatMul(x, W) }", W=normal(3, 4))).main.nodes[0]
    for shape in ((3, 4), (3, 0)):
        extent = extent_of(Constant.of(np.zeros(shape, np.float32), TensorProto.FLOAT), node, 1)
        assert (extent.largest, extent.smallest, extent.complaints) == (0.0, 0.0, ())


def large() -> ModelProto:
    """Weights of several blocks."""
    return graph_model(
        "(float[N,64,6,6] x) => (float[N,200,4,4] y) { c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) }",
        W=normal(200, 64, 3, 3),
        **parameters(200),
    )


def test_weights_in_the_file_beside_it_and_in_memory_are_measured_alike(tmp_path: Path) -> None:
    onnx.save(large(), tmp_path / "inline.onnx")
    onnx.save(large(), tmp_path / "external.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    sources = (large(), tmp_path / "inline.onnx", tmp_path / "external.onnx")
    tables = [Page(bnfold.to_html(bnfold.fold(source))).tables[ROWS] for source in sources]
    assert [row["constant"] for row in tables[0]] == ["weight", "bias"]
    assert tables[0] == tables[1] == tables[2]


def test_nodes_without_names_are_found_again() -> None:
    model = graph_model(
        "(float[N,3,9,9] x) => (float[N,3,3,3] z) { c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) r = Relu(y) "
        "d = Conv(r, W) u = BatchNormalization(d, s, b, m, v) q = Relu(u) e = Conv(q, W) "
        "z = BatchNormalization(e, s, b, m, v) }",
        W=normal(3, 3, 3, 3),
        **parameters(3),
    )
    found = pair(side(model), side(bnfold.fold(model).model))
    assert [(node.op_type, found.states[node]) for node in found.before.graph.nodes()] == [
        *[("Conv", "changed"), ("BatchNormalization", "removed"), ("Relu", "same")] * 2,
        *[("Conv", "changed"), ("BatchNormalization", "removed")],
    ]
    assert [found.states[node] for node in found.after.graph.nodes()] == ["changed", "same"] * 2 + ["changed"]
    assert [found.after_of[node].address.place for node in found.before.graph.nodes() if node in found.after_of] == [
        *range(5)
    ]


def test_only_what_is_another_operator_or_has_other_numbers_has_changed() -> None:
    def made(weight: float, alpha: float) -> ModelProto:
        body = f"(float[3] x) => (float[3] z) {{ y = Mul(x, w) z = LeakyRelu<alpha = {alpha}>(y) }}"
        return graph_model(body, w=np.full(3, weight, np.float32))

    states = [
        [found.states[node] for node in found.before.graph.nodes()]
        for other in (made(1, 0.5), made(2, 0.5), made(1, 0.25))
        for found in [pair(side(made(1, 0.5)), side(other))]
    ]
    assert states == [["same", "same"], ["changed", "same"], ["same", "changed"]]


def test_a_weight_that_comes_from_a_constant_node_is_a_part_of_its_reader() -> None:
    model = graph_model("(float[N,3,5,5] x) => (float[N,4,3,3] y) { y = Conv(x, W) }", W=normal(4, 3, 3, 3))
    tensor = model.graph.initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["W"], value=tensor))
    other = ModelProto.FromString(model.SerializeToString())
    other.graph.node[0].attribute[0].t.CopyFrom(numpy_helper.from_array(normal(4, 3, 3, 3, seed=1), "W"))
    found = pair(side(model), side(other))
    assert [found.states[node] for node in found.before.graph.nodes()] == ["same", "changed"]


BRANCHES = """<ir_version: 10, opset_import: ["" : 20, "f" : 1]>
g (float[N,3] x, bool c) => (float[N,3] y, float[N,3] z) {
  y = If(c) <
    then_branch = t () => (float[N,3] a) { a = Mul(x, w) },
    else_branch = e () => (float[N,3] b) { b = Relu(x) }
  >
  z = f.twice(x)
}
<domain: "f", opset_import: ["" : 20]> twice (u) => (v) { v = Add(u, u) }"""


def test_nodes_of_bodies_and_functions_are_found_again() -> None:
    one, other = (text_model(BRANCHES, w=np.full(3, weight, np.float32)) for weight in (1, 2))
    found = pair(side(one), side(other))
    assert [(node.op_type, found.states[node]) for node in found.before.graph.nodes()] == [
        ("If", "same"),
        ("twice", "same"),
        ("Add", "same"),
        ("Mul", "changed"),
        ("Relu", "same"),
    ]
    other.graph.node.insert(0, helper.make_node("Identity", ["x"], ["i"]))
    del other.functions[:]
    other.graph.node.pop()
    found = pair(side(one), side(other))
    assert [(node.op_type, found.states[node]) for node in found.before.graph.nodes()] == [
        ("If", "same"),
        ("twice", "removed"),
        ("Add", "removed"),
        ("Mul", "changed"),
        ("Relu", "same"),
    ]
