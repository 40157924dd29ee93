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
from support import Array, check_fold, graph_model, normal, op_types, run_ort, run_reference

import bnfold
from bnfold.errors import ModelError
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
    "Abs": (computing("y = Abs (k)", k=normal(30)), TensorProto.FLOAT),
    "Exp": (computing("y = Exp (k)", k=normal(3)), TensorProto.FLOAT),
    "Log": (computing("y = Log (k)", k=POSITIVE), TensorProto.FLOAT),
    "Max": (computing("y = Max (k, l, m)", k=normal(3, 1), l=normal(4), m=normal(1)), TensorProto.FLOAT),
    "Max of one": (computing("y = Max (k)", k=normal(3)), TensorProto.FLOAT),
    "Min": (computing("y = Min (k, l)", k=normal(3, 1), l=normal(4)), TensorProto.FLOAT),
    "Sum": (computing("y = Sum (k, l, m)", k=normal(3, 1), l=normal(4), m=normal(1)), TensorProto.FLOAT),
    "Where": (
        computing("y = Where (c, k, l)", c=np.array([[True], [False]]), k=normal(3), l=normal(1)),
        TensorProto.FLOAT,
    ),
    "Where, integers": (
        computing("y = Where (c, k, l)", "int64[]", c=np.array([True, False]), k=ints(3, 4), l=ints(5)),
        TensorProto.INT64,
    ),
    "Where, one computed": (
        computing("m = Neg (l) y = Where (c, k, m)", c=np.array([True, False]), k=normal(2), l=normal(1)),
        TensorProto.FLOAT,
    ),
}

MOVED: dict[str, tuple[str, dict[str, Array]]] = {
    "Concat": ("y = Concat <axis = 1> (k, l, k)", {"k": normal(3, 1), "l": normal(3, 4)}),
    "Concat of one": ("y = Concat <axis = 0> (k)", {"k": normal(3)}),
    "Concat, one computed": ("m = Neg (l) y = Concat <axis = 0> (k, m)", {"k": normal(3), "l": normal(2)}),
    "Concat of integers": ("y = Concat <axis = 0> (k, l)", {"k": ints(3), "l": ints(-1, 2)}),
    "Gather": ("y = Gather (k, i)", {"k": normal(4, 3), "i": ints(0, 3, 3)}),
    "Gather along an axis, indices of rank 2": (
        "y = Gather <axis = 1> (k, i)",
        {"k": normal(4, 3, 2), "i": ints(0, 2, 1, 1).reshape(2, 2)},
    ),
    "Gather, a scalar index": ("y = Gather <axis = 1> (k, i)", {"k": normal(4, 3), "i": np.array(2)}),
    "Gather, int32 indices": ("y = Gather (k, i)", {"k": normal(4, 3), "i": np.array([2], np.int32)}),
    "Gather of integers": ("y = Gather (k, i)", {"k": ints(7, 8, 9), "i": ints(2)}),
    "Slice": ("y = Slice (k, s, e)", {"k": normal(5, 4), "s": ints(1), "e": ints(4)}),
    "Slice, bounds from the end and beyond": (
        "y = Slice (k, s, e)",
        {"k": normal(5, 4), "s": ints(-3, 1), "e": ints(2**62, -1)},
    ),
    "Slice along axes": (
        "y = Slice (k, s, e, a)",
        {"k": normal(5, 4, 3), "s": ints(1, 0), "e": ints(3, 2), "a": ints(2, 0)},
    ),
    "Slice of integers": ("y = Slice (k, s, e)", {"k": ints(7, 8, 9), "s": ints(1), "e": ints(3)}),
    "Tile": ("y = Tile (k, n)", {"k": normal(2, 3), "n": ints(2, 3)}),
    "Split, the second": ("x0, y = Split <axis = 1> (k, n)", {"k": normal(2, 5), "n": ints(2, 3)}),
    "Split, the first": ("y, x1 = Split (k, n)", {"k": normal(5), "n": ints(4, 1)}),
    "Split of integers": ("x0, y = Split (k, n)", {"k": ints(1, 2, 3, 4), "n": ints(1, 3)}),
}
SINCE = {"Concat": 4, "Gather": 1, "Slice": 10, "Tile": 6, "Split": 13}
NEWER: dict[str, tuple[int, str, dict[str, Array]]] = {
    "Concat, a negative axis": (11, "y = Concat <axis = -1> (k, l)", {"k": normal(3, 1), "l": normal(3, 4)}),
    "Gather, negative indices": (11, "y = Gather <axis = -1> (k, i)", {"k": normal(4, 3), "i": ints(-1, -3)}),
    "Slice, steps": (
        10,
        "y = Slice (k, s, e, a, t)",
        {"k": normal(7, 4), "s": ints(0, 1), "e": ints(7, 3), "a": ints(0, 1), "t": ints(3, 1)},
    ),
    "Slice backwards": (
        11,
        "y = Slice (k, s, e, a, t)",
        {"k": normal(7, 4), "s": ints(-1), "e": ints(-(2**62)), "a": ints(-2), "t": ints(-2)},
    ),
    "Slice, steps without axes": (
        11,
        'y = Slice (k, s, e, "", t)',
        {"k": normal(7, 4), "s": ints(6, 0), "e": ints(1, 4), "t": ints(-2, 3)},
    ),
    "Slice, int32 bounds": (
        10,
        "y = Slice (k, s, e)",
        {"k": normal(5), "s": np.array([1], np.int32), "e": np.array([3], np.int32)},
    ),
    "Split in parts, the last smaller": (18, "x0, x1, y = Split <num_outputs = 3> (k)", {"k": normal(8)}),
    "Split in equal parts": (13, "x0, y = Split <axis = -1> (k)", {"k": normal(2, 6)}),
}


def moving_cases() -> Iterator[Any]:
    """Each operator at every opset that changed it, and at the newest."""
    newest = onnx.defs.onnx_opset_version()
    for name, (nodes, constants) in MOVED.items():
        first = SINCE[name.split()[0].rstrip(",")]
        for opset in sorted({max(first, 8), 11, 13, 18, newest} & set(range(first, newest + 1))):
            yield pytest.param(opset, nodes, constants, id=f"{name}, opset {opset}")
    for name, (opset, nodes, constants) in NEWER.items():
        # num_outputs is an attribute of Split from opset 18 on, and equal parts need it then
        last = 17 if "equal" in name else newest
        for version in (opset, last):
            yield pytest.param(version, nodes, constants, id=f"{name}, opset {version}")


@pytest.mark.parametrize(("opset", "nodes", "constants"), list(moving_cases()))
def test_elements_that_move_are_where_the_operator_would_put_them(
    opset: int, nodes: str, constants: dict[str, Any]
) -> None:
    kind = "int64" if constants["k"].dtype == np.int64 else "float"
    model = computing(nodes, f"{kind}[]", opset=opset, **constants)
    (expected,) = run_reference(model, {"x": np.zeros(1, np.float32)})
    found = constant(model)
    assert found is not None
    assert found.elem_type == helper.np_dtype_to_tensor_dtype(constants["k"].dtype)
    assert found.shape == expected.shape
    assert expected.size > 0
    assert np.array_equal(found.wide, expected.astype(np.float64))


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
    from bnfold.model.constants import _SPECIAL
    from bnfold.model.evaluators import EVALUATORS

    tested = {node.op_type for model, _ in EVALUATED.values() for node in model.graph.node} | set(SINCE)
    assert tested == _SPECIAL | set(EVALUATORS)


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
    "Concat-1, axis 1 by default": (
        computing("y = Concat (k, l)", opset=1, k=normal(3, 1), l=normal(3, 4)),
        np.concatenate([normal(3, 1), normal(3, 4)], axis=1),
    ),
    "Slice-1": (
        computing("y = Slice <starts = [1, -2], ends = [3, 9]> (k)", opset=9, k=normal(4, 5)),
        normal(4, 5)[1:3, -2:],
    ),
    "Slice-1, axes": (
        computing("y = Slice <axes = [1], starts = [-3], ends = [-1]> (k)", opset=1, k=normal(4, 5)),
        normal(4, 5)[:, -3:-1],
    ),
    "Tile-1": (
        computing("y = Tile (k, n, a)", opset=1, k=normal(2, 3), n=ints(3), a=ints(1)),
        np.tile(normal(2, 3), (1, 3)),
    ),
    "Split-1, sizes as an input": (
        computing("a, y = Split <axis = 1> (k, n)", opset=1, k=normal(2, 3), n=ints(1, 2)),
        normal(2, 3)[:, 1:],
    ),
    "Split-2, sizes as an attribute": (
        computing("a, y = Split <axis = 1, split = [1, 2]> (k)", opset=11, k=normal(2, 3)),
        normal(2, 3)[:, 1:],
    ),
    "Split-2, equal parts": (computing("a, y = Split (k)", opset=2, k=normal(4, 3)), normal(4, 3)[2:]),
    "Max-6": (computing("y = Max (k, l)", opset=6, k=normal(3), l=np.zeros(3)), np.maximum(normal(3), 0)),
    "Sum-1": (computing("y = Sum (k, k, k)", opset=1, k=normal(3)), 3 * normal(3).astype(np.float64)),
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
    "Concat without an axis": computing("y = Concat (k, k)", opset=13, k=normal(3)),
    "Concat of two types": computing("y = Concat <axis = 0> (k, l)", k=normal(3), l=normal(3, dtype=np.float64)),
    "Concat of other sizes": computing("y = Concat <axis = 0> (k, l)", k=normal(3, 1), l=normal(3, 2)),
    "Concat of what is fed": computing("y = Concat <axis = 0> (k, x)", k=normal(3)),
    "Concat along no axis": computing("y = Concat <axis = 1> (k, k)", k=normal(3)),
    "Gather beyond the end": computing("y = Gather (k, i)", k=normal(3), i=ints(3)),
    "Gather beyond the start": computing("y = Gather (k, i)", k=normal(3), i=ints(-4)),
    "Gather, a negative index before opset 11": computing("y = Gather (k, i)", opset=10, k=normal(3), i=ints(-1)),
    "Gather, indices that are no integers": computing("y = Gather (k, i)", k=normal(3), i=np.zeros(1, np.float32)),
    "Slice, a step of zero": computing("y = Slice (k, s, e, s, s)", k=normal(3), s=ints(0), e=ints(3)),
    "Slice, bounds of other lengths": computing("y = Slice (k, s, e)", k=normal(3), s=ints(0), e=ints(3, 4)),
    "Slice, one axis twice": computing(
        "y = Slice (k, s, e, a)", k=normal(3, 3), s=ints(0, 1), e=ints(3, 3), a=ints(0, -2)
    ),
    "Slice along no axis": computing("y = Slice (k, s, e, a)", k=normal(3), s=ints(0), e=ints(3), a=ints(1)),
    "Slice, bounds that are fed": computing("i = Cast<to = 7>(x) y = Slice (k, i, e)", k=normal(3), e=ints(3)),
    "Split, sizes that do not add up": computing("a, y = Split (k, n)", k=normal(3), n=ints(1, 1)),
    "Split, a negative size": computing("a, y = Split (k, n)", k=normal(3), n=ints(-1, 4)),
    "Split, equal parts of 3 in 2": computing("a, y = Split (k)", opset=13, k=normal(3)),
    "Tile, too few repeats": computing("y = Tile (k, n)", k=normal(3, 3), n=ints(2)),
    "Where, no condition": computing("y = Where (k, k, k)", k=normal(3)),
    "Where, two types": computing(
        "y = Where (c, k, l)", c=np.array([True]), k=normal(3), l=normal(3, dtype=np.float64)
    ),
    "Max-6, which does not broadcast": computing("y = Max (k, l)", opset=6, k=normal(3), l=normal(1)),
    "Max of integers": computing("y = Max (k, k)", "int64[]", k=ints(1, 2)),
    "a Constant that holds nothing": computing("y = Constant ()"),
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


DOUBLING = ["Concat <axis = 0>", "Gather <axis = 0>", "Tile", "Add"]


@pytest.mark.parametrize("op_type", DOUBLING)
def test_expression_that_grows_with_every_node_is_given_up(op_type: str) -> None:
    if op_type == "Add":  # [n, 1] and [n]: [n, n]
        model = computing("y = Add (k, l)", k=np.zeros((2**14, 1), np.float32), l=np.zeros(2**14, np.float32))
    elif op_type == "Gather <axis = 0>":
        model = computing(
            "n = ConstantOfShape <value = int64[1] {0}> (s) y = Gather (k, n)", k=normal(64), s=ints(2**28)
        )
    elif op_type == "Tile":
        model = computing("y = Tile (k, n)", k=normal(64), n=ints(2**24))
    else:
        nodes = " ".join(f"k{i + 1} = Concat <axis = 0> (k{i}, k{i})" for i in range(200))
        model = computing(f"{nodes} y = Neg (k200)", k0=np.ones(2**20, np.float32))
    with seconds(20):
        assert constant(model) is None


# --- Sparse tensors ---


def sparse_tensor(values: Array, indices: Any, dims: tuple[int, ...], name: str = "y") -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(
        onnx.numpy_helper.from_array(values, name),
        onnx.numpy_helper.from_array(np.asarray(indices), f"{name}.indices"),
        dims,
    )


def in_a_node(tensor: onnx.SparseTensorProto) -> ModelProto:
    model = computing("y = Constant <value_int = 0> ()")
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Constant", [], ["y"], sparse_value=tensor))
    return model


def as_initializer(tensor: onnx.SparseTensorProto) -> ModelProto:
    model = computing("y = Identity (s)")
    tensor.values.name = "s"
    model.graph.sparse_initializer.append(tensor)
    return model


TWO = np.array([2.0, -3.0], np.float32)
SPARSE: dict[str, tuple[onnx.SparseTensorProto, Array]] = {
    "linear": (sparse_tensor(TWO, ints(1, 4), (2, 3)), np.array([[0, 2, 0], [0, -3, 0]])),
    "coordinates": (sparse_tensor(TWO, ints(0, 1, 1, 2).reshape(2, 2), (2, 3)), np.array([[0, 2, 0], [0, 0, -3]])),
    "coordinates of rank 1": (sparse_tensor(TWO, ints(1, 2).reshape(2, 1), (3,)), np.array([0, 2, -3])),
    "out of order": (sparse_tensor(TWO, ints(4, 1), (2, 3)), np.array([[0, -3, 0], [0, 2, 0]])),
    "as many values as axes": (sparse_tensor(TWO, ints(1, 0), (1, 2)), np.array([[-3, 2]])),
    "no values": (sparse_tensor(TWO[:0], ints(), (2, 2)), np.zeros((2, 2))),
    "all values": (sparse_tensor(TWO, ints(0, 1), (2,)), np.array([2, -3])),
    "half precision": (sparse_tensor(TWO.astype(np.float16), ints(0, 2), (3,)), np.array([2, 0, -3])),
    "integers": (sparse_tensor(ints(5, 6), ints(0, 2), (3,)), np.array([5, 0, 6])),
}
each_place = pytest.mark.parametrize("hold", [in_a_node, as_initializer])


@each_place
@pytest.mark.parametrize(("tensor", "expected"), SPARSE.values(), ids=SPARSE)
def test_sparse_tensor_is_the_constant_that_it_spells(
    tensor: onnx.SparseTensorProto, expected: Array, hold: Any
) -> None:
    found = constant(hold(tensor))
    assert found is not None
    assert found.elem_type == tensor.values.data_type
    assert found.shape == expected.shape
    assert found.values.dtype == helper.tensor_dtype_to_np_dtype(found.elem_type)
    assert np.array_equal(found.wide, expected)


DAMAGED: dict[str, onnx.SparseTensorProto] = {
    "an index beyond the end": sparse_tensor(TWO, ints(1, 6), (2, 3)),
    "an index below zero": sparse_tensor(TWO, ints(-1, 4), (2, 3)),
    "a coordinate beyond its axis": sparse_tensor(TWO, ints(0, 1, 0, 3).reshape(2, 2), (2, 3)),
    "a coordinate below zero": sparse_tensor(TWO, ints(0, 1, 1, -1).reshape(2, 2), (2, 3)),
    "one place twice": sparse_tensor(TWO, ints(1, 1), (2, 3)),
    "fewer indices": sparse_tensor(TWO, ints(1), (2, 3)),
    "more indices": sparse_tensor(TWO, ints(1, 2, 3), (2, 3)),
    "coordinates of another rank": sparse_tensor(TWO, ints(0, 1, 1, 2, 0, 0).reshape(2, 3), (2, 3)),
    "indices of another type": sparse_tensor(TWO, np.array([1, 2], np.int32), (2, 3)),
    "values of rank 2": sparse_tensor(TWO.reshape(2, 1), ints(1, 4), (2, 3)),
    "a place in nothing": sparse_tensor(TWO, ints(0, 1), (0, 3)),
}


@each_place
@pytest.mark.parametrize("tensor", DAMAGED.values(), ids=DAMAGED)
def test_damaged_sparse_tensor_is_an_error_and_no_value(tensor: onnx.SparseTensorProto, hold: Any) -> None:
    found = constant(hold(tensor))
    assert found is not None
    with pytest.raises(ModelError, match="damaged"):
        _ = found.values


@each_place
def test_sparse_tensor_too_large_or_of_text_is_no_constant(hold: Any) -> None:
    assert constant(hold(sparse_tensor(TWO, ints(0, 1), (2**20, 2**20)))) is None
    assert constant(hold(sparse_tensor(TWO, ints(0, 1), (-2, 3)))) is None
    assert constant(hold(sparse_tensor(np.array(["a"], object), ints(0), (3,)))) is None


def test_sparse_initializer_that_a_caller_may_override_is_no_constant() -> None:
    model = as_initializer(sparse_tensor(TWO, ints(0, 2), (3,)))
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, [3]))
    assert constant(model) is None
    assert constant(model, freeze=True) is not None
    model.ir_version = 3
    assert constant(model) is not None


def test_affine_by_a_sparse_initializer_folds() -> None:
    model = graph_model(
        "(float[1,3,4] x) => (float[1,4,4] y) { c = Conv(x, w) m = Mul(c, s) y = Relu(m) }", w=normal(4, 3, 1)
    )
    model.graph.sparse_initializer.append(sparse_tensor(TWO, ints(0, 2), (4, 1), "s"))
    check_fold(model, leaves=["Conv", "Relu"], exact_reference=False)


def test_large_constant_takes_no_memory_before_it_is_used() -> None:
    found = constant(computing("y = ConstantOfShape (n)", n=ints(2**13, 2**13)))
    assert found is not None
    assert found.values.strides == (0, 0)
