"""Constant expressions: each evaluator against an implementation of ONNX, and that none of them runs away."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from support import Array, graph_model, normal, op_types, run_ort, run_reference

import bnfold
from bnfold.model.constants import Constant, Constants
from bnfold.model.graph import Graph


def constant(model: ModelProto, name: str = "y", *, freeze: bool = False) -> Constant | None:
    """What the value of that name always is."""
    graph = Graph(model)
    return Constants(graph, None, freeze=freeze).get(graph.main.values[name])


def computing(
    nodes: str, output: str = "float[]", *, opset: int = 20, ir: int = 10, x: str = "float[1] x", **constants: Any
) -> ModelProto:
    return graph_model(f"({x}) => ({output} y) {{ {nodes} }}", opset=opset, ir=ir, **constants)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


@contextmanager
def seconds(count: int) -> Iterator[None]:
    """Raise where the body takes longer, so that an endless loop fails and does not hang."""

    def late(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"not done after {count} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(count)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


POSITIVE = np.abs(normal(3, 4)) + np.float32(0.5)
EVALUATED: dict[str, tuple[ModelProto, int]] = {
    "Constant, value": (computing("y = Constant <value = float[3] {1.0, 2.5, -3.0}> ()"), TensorProto.FLOAT),
    "Constant, value_float": (computing("y = Constant <value_float = 2.5> ()"), TensorProto.FLOAT),
    "Constant, value_floats": (computing("y = Constant <value_floats = [2.5, 3.0]> ()"), TensorProto.FLOAT),
    "Constant, value_int": (computing("y = Constant <value_int = 7> ()", "int64[]"), TensorProto.INT64),
    "Constant, value_ints": (computing("y = Constant <value_ints = [7, 8]> ()", "int64[]"), TensorProto.INT64),
    "ConstantOfShape": (computing("y = ConstantOfShape (n)", n=ints(2, 3)), TensorProto.FLOAT),
    "ConstantOfShape, a scalar": (computing("y = ConstantOfShape (n)", n=ints()), TensorProto.FLOAT),
    "ConstantOfShape, value": (
        computing("y = ConstantOfShape <value = int64[1] {5}> (n)", "int64[]", n=ints(2, 3)),
        TensorProto.INT64,
    ),
    "Identity": (computing("y = Identity (k)", k=normal(3)), TensorProto.FLOAT),
    "Cast to double": (computing("y = Cast <to = 11> (k)", "double[]", k=normal(3)), TensorProto.DOUBLE),
    "Cast to half": (computing("y = Cast <to = 10> (k)", "float16[]", k=normal(30)), TensorProto.FLOAT16),
    "Cast to half and back": (
        computing("h = Cast <to = 10> (k) y = Cast <to = 1> (h)", k=normal(30)),
        TensorProto.FLOAT,
    ),
    "Cast from integers": (computing("y = Cast <to = 1> (k)", k=ints(3, -4)), TensorProto.FLOAT),
    "Cast from booleans": (computing("y = Cast <to = 1> (k)", k=np.array([True, False])), TensorProto.FLOAT),
    "Cast to integers": (
        computing("y = Cast <to = 7> (k)", "int64[]", k=np.array([3, -4], np.int32)),
        TensorProto.INT64,
    ),
    "CastLike": (computing("y = CastLike (k, l)", k=normal(3, dtype=np.float64), l=normal(1)), TensorProto.FLOAT),
    "DequantizeLinear": (
        computing("y = DequantizeLinear (k, s, z)", k=np.array([1, -2], np.int8), s=np.float32(0.3), z=np.int8(3)),
        TensorProto.FLOAT,
    ),
    "Expand": (computing("y = Expand (k, n)", k=normal(3, 1), n=ints(2, 1, 4)), TensorProto.FLOAT),
    "Expand, smaller target": (computing("y = Expand (k, n)", k=normal(3, 4), n=ints(1)), TensorProto.FLOAT),
    "Shape": (computing("y = Shape (k)", "int64[]", k=normal(2, 3, 4)), TensorProto.INT64),
    "Shape, start and end": (
        computing("y = Shape <start = -2, end = -1> (k)", "int64[]", k=normal(2, 3, 4)),
        TensorProto.INT64,
    ),
    "Shape, start beyond": (
        computing("y = Shape <start = -9, end = 9> (k)", "int64[]", k=normal(2, 3)),
        TensorProto.INT64,
    ),
    "Reshape": (computing("y = Reshape (k, n)", k=normal(2, 3, 4), n=ints(0, -1)), TensorProto.FLOAT),
    "Reshape, allowzero": (
        computing("y = Reshape <allowzero = 1> (k, n)", k=normal(2, 3, 4), n=ints(4, 6)),
        TensorProto.FLOAT,
    ),
    "Reshape, allowzero, no elements": (
        computing("y = Reshape <allowzero = 1> (k, n)", k=normal(0, 3), n=ints(3, 0)),
        TensorProto.FLOAT,
    ),
    "Reshape, opset 7": (computing("y = Reshape (k, n)", k=normal(2, 3), n=ints(-1), opset=7), TensorProto.FLOAT),
    "Transpose": (computing("y = Transpose <perm = [1, 2, 0]> (k)", k=normal(2, 3, 4)), TensorProto.FLOAT),
    "Transpose, reversed": (computing("y = Transpose (k)", k=normal(2, 3, 4)), TensorProto.FLOAT),
    "Unsqueeze, opset 11": (computing("y = Unsqueeze <axes = [0, 2]> (k)", k=normal(3), opset=11), TensorProto.FLOAT),
    "Unsqueeze": (computing("y = Unsqueeze (k, n)", k=normal(3), n=ints(-1, 0)), TensorProto.FLOAT),
    "Squeeze, opset 11": (computing("y = Squeeze <axes = [1]> (k)", k=normal(3, 1, 1), opset=11), TensorProto.FLOAT),
    "Squeeze": (computing("y = Squeeze (k, n)", k=normal(3, 1, 1), n=ints(-2)), TensorProto.FLOAT),
    "Squeeze, all": (computing("y = Squeeze (k)", k=normal(3, 1, 1)), TensorProto.FLOAT),
    "Add": (computing("y = Add (k, l)", k=normal(3, 1), l=normal(4)), TensorProto.FLOAT),
    "Sub": (computing("y = Sub (k, l)", k=normal(3, 1), l=normal(4)), TensorProto.FLOAT),
    "Mul": (computing("y = Mul (k, l)", k=normal(3, 1), l=normal(4)), TensorProto.FLOAT),
    "Div": (computing("y = Div (k, l)", k=normal(3, 1), l=normal(4)), TensorProto.FLOAT),
    "Pow": (computing("y = Pow (k, l)", k=POSITIVE, l=normal(4)), TensorProto.FLOAT),
    "Sqrt": (computing("y = Sqrt (k)", k=POSITIVE), TensorProto.FLOAT),
    "Reciprocal": (computing("y = Reciprocal (k)", k=POSITIVE), TensorProto.FLOAT),
    "Neg": (computing("y = Neg (k)", k=normal(3)), TensorProto.FLOAT),
}


@pytest.mark.parametrize("run", [run_ort, run_reference], ids=["onnxruntime", "reference"])
@pytest.mark.parametrize(("model", "elem_type"), EVALUATED.values(), ids=EVALUATED)
def test_constant_expression_has_the_value_that_it_would_be_computed_to(
    model: ModelProto, elem_type: int, run: Any
) -> None:
    (expected,) = run(model, {"x": np.zeros(1, np.float32)})
    found = constant(model)
    assert found is not None
    assert (found.shape, found.elem_type) == (expected.shape, elem_type)
    assert expected.dtype == helper.tensor_dtype_to_np_dtype(elem_type)
    assert np.allclose(found.wide, expected.astype(np.float64), rtol=4e-7, atol=1e-7)
    assert found.rank == expected.ndim


def test_every_evaluator_is_tested() -> None:
    from bnfold.model.constants import _EVALUATORS, _SPECIAL

    tested = {node.op_type for model, _ in EVALUATED.values() for node in model.graph.node}
    assert tested == _SPECIAL | set(_EVALUATORS)


OLD: dict[str, tuple[ModelProto, Array]] = {
    "Add, axis 0": (
        computing("y = Add <broadcast = 1, axis = 0> (k, l)", opset=6, k=normal(3, 4), l=normal(3)),
        normal(3, 4) + normal(3)[:, None],
    ),
    "Mul, the last axes": (
        computing("y = Mul <broadcast = 1> (k, l)", opset=6, k=normal(3, 4), l=normal(4)),
        normal(3, 4) * normal(4),
    ),
    "Sub, equal shapes": (computing("y = Sub (k, k)", opset=6, k=normal(3, 4)), np.zeros((3, 4))),
    "Reshape": (
        computing("y = Reshape <shape = [0, -1]> (k)", opset=1, k=normal(3, 2, 2)),
        normal(3, 2, 2).reshape(3, 4),
    ),
    "Cast, a type by name": (computing('y = Cast <to = "DOUBLE"> (k)', "double[]", opset=5, k=normal(3)), normal(3)),
}


@pytest.mark.parametrize(("model", "expected"), OLD.values(), ids=OLD)
def test_operators_that_nothing_runs_any_more_follow_their_specification(model: ModelProto, expected: Array) -> None:
    found = constant(model)
    assert found is not None
    assert found.shape == expected.shape
    assert np.allclose(found.wide, expected.astype(np.float64))


UNKNOWN: dict[str, ModelProto] = {
    "an operator without an evaluator": computing("y = Relu (k)", k=normal(3)),
    "the same name in another domain": computing("y = custom.Neg (k)", k=normal(3)),
    "something that is fed": computing("y = Add (k, x)", k=normal(3)),
    "something computed from what is fed": computing("a = Neg (x) b = Sqrt (a) y = Add (k, b)", k=normal(3)),
    "the shape of what is fed": computing("y = Shape (x)", "int64[]"),
    "shapes that do not fit": computing("y = Add (k, l)", k=normal(3), l=normal(4)),
    "a reshape that does not fit": computing("y = Reshape (k, n)", k=normal(3), n=ints(4)),
    "a reshape to an axis that is not there": computing("y = Reshape (k, n)", k=normal(3), n=ints(-1, 0)),
    "a squeeze of what is longer than 1": computing("y = Squeeze (k, n)", k=normal(3), n=ints(0)),
    "integers": computing("y = Add (k, k)", "int64[]", k=ints(1, 2)),
    "floats cast to integers": computing("y = Cast <to = 7> (k)", "int64[]", k=normal(3)),
    "text": computing('y = Constant <value_string = "a"> ()', "string[]"),
    "opset 6, no broadcast": computing("y = Add (k, l)", opset=6, k=normal(3, 4), l=normal(4)),
    "opset 6, beyond the last axis": computing(
        "y = Add <broadcast = 1, axis = 1> (k, l)", opset=6, k=normal(3, 4), l=normal(4, 1)
    ),
    "a negative size": computing("y = ConstantOfShape (n)", n=ints(2, -3)),
}


@pytest.mark.parametrize("model", UNKNOWN.values(), ids=UNKNOWN)
def test_what_can_not_be_evaluated_is_no_constant(model: ModelProto) -> None:
    assert constant(model) is None


def test_result_that_is_not_finite_is_no_warning() -> None:
    found = constant(computing("a = Sub (k, k) y = Div (k, a)", k=normal(3)))
    assert found is not None
    assert np.isinf(found.wide).all()


def test_intermediate_results_are_not_rounded() -> None:
    model = computing("a = Add (one, tiny) y = Sub (a, one)", one=np.float32(1), tiny=np.float32(1e-12))
    found = constant(model)
    assert found is not None
    assert found.wide == pytest.approx(1e-12, rel=1e-3)


def test_initializer_that_a_caller_may_override_is_no_constant() -> None:
    model = computing("y = Neg (k)", x="float[3] k", ir=8, k=normal(3))
    assert constant(model) is None
    assert constant(model, freeze=True) is not None


def deep(count: int, last: str = "y") -> ModelProto:
    nodes = [
        helper.make_node("Neg", [f"k{i}" if i else "k"], [f"k{i + 1}" if i + 1 < count else last]) for i in range(count)
    ]
    model = computing("a = Identity (k)", k=normal(3))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_expression_3000_nodes_deep_needs_no_recursion() -> None:
    with seconds(20):
        found = constant(deep(3000))
    assert found is not None
    assert np.array_equal(found.wide, normal(3).astype(np.float64))


def test_affine_by_an_expression_3000_nodes_deep_folds() -> None:
    model = deep(3000, last="k3000")
    model.graph.node.extend(
        [helper.make_node("Conv", ["i", "w"], ["c"]), helper.make_node("Mul", ["c", "k3000"], ["y"])]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(normal(3, 2, 1), "w"))
    model.graph.initializer[0].dims[:] = [3, 1]
    model.graph.input.append(helper.make_tensor_value_info("i", TensorProto.FLOAT, [1, 2, 5]))
    with seconds(60):
        assert op_types(bnfold.fold(model).model) == ["Conv"]


def test_expression_that_uses_every_result_twice_is_linear() -> None:
    nodes = " ".join(f"k{i + 1} = Mul (k{i}, k{i})" for i in range(200))
    with seconds(20):
        found = constant(computing(f"{nodes} y = Neg (k200)", k0=np.ones(3, np.float32)))
    assert found is not None


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("y = Neg (y)", id="itself"),
        pytest.param("y = Neg (a) a = Neg (y)", id="two"),
        pytest.param("y = Add (a, k) a = Mul (b, k) b = Sub (k, y)", id="three"),
        pytest.param("y = Add (a, b) a = Neg (b) b = Add (a, k)", id="a cycle behind"),
    ],
)
def test_cycle_ends_and_is_no_constant(nodes: str) -> None:
    model = computing("y = Neg (k)", k=normal(3))
    cyclic = onnx.parser.parse_graph(f"g (float[1] x) => (float[3] y) {{ {nodes} }}")
    del model.graph.node[:]
    model.graph.node.extend(cyclic.node)
    with seconds(20):
        assert constant(model) is None


@pytest.mark.parametrize("sizes", [ints(2**40), ints(2**20, 2**20, 2**20), ints(*[2**62] * 3)], ids=str)
@pytest.mark.parametrize("nodes", ["y = ConstantOfShape (n)", "y = Expand (k, n)"])
def test_constant_of_an_absurd_size_is_not_expanded(nodes: str, sizes: Array) -> None:
    more: dict[str, Any] = {"k": np.ones(1, np.float32)} if "(k" in nodes else {}
    assert constant(computing(nodes, n=sizes, **more)) is None


def test_large_constant_takes_no_memory_before_it_is_used() -> None:
    found = constant(computing("y = ConstantOfShape (n)", n=ints(2**15, 2**15)))
    assert found is not None
    assert found.values.strides == (0, 0)
