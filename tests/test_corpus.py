"""The corpus through bnfold: no wrong answer on any graph, and of every affine what the mathematics leaves."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from corpus import CASES, FAMILIES, Case, affines_left
from onnx import ModelProto
from support import check_fold, feeds_for, graph_model, normal, statistics

import bnfold

PITFALLS_ELSEWHERE = {
    4: "conversion from training: not a fold",
    17: "models above 2 GB: test_external_data",
    20: "saying why: the refusals in tests/ops",
}

each_case = pytest.mark.parametrize("case", CASES, ids=[case.label for case in CASES])
each_trap = pytest.mark.parametrize(
    "case", [case for case in CASES if case.untouched], ids=[case.label for case in CASES if case.untouched]
)


# --- The corpus itself ---


def test_the_corpus_is_large_and_every_case_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 250
    assert [name for name, count in Counter(case.label for case in CASES).items() if count > 1] == []
    assert [name for name, count in Counter(family.name for family in FAMILIES).items() if count > 1] == []
    assert [family.name for family in FAMILIES if len(family.cases) < 5] == []


def test_every_pitfall_has_a_case() -> None:
    shown = {number for case in CASES for number in case.pitfalls}
    assert shown | PITFALLS_ELSEWHERE.keys() == set(range(1, 21))
    assert not shown & PITFALLS_ELSEWHERE.keys()


@each_case
def test_a_case_is_a_valid_model_that_runs_and_is_the_same_every_time(case: Case) -> None:
    model = case.build()
    assert case.build() == model
    assert case.why
    onnx.checker.check_model(model, full_check=True)
    outputs = case.run(model, feeds_for(model) if case.feeds is None else case.feeds)
    assert all(np.isfinite(np.asarray(values, np.float64)).all() for values in outputs)


@each_case
def test_a_case_leaves_no_more_than_there_is(case: Case) -> None:
    there = affines_left(case.build())
    assert case.left <= there
    assert case.left == there or case.direction != "none"


# --- The corpus through bnfold ---


@each_case
def test_a_fold_of_a_case_computes_the_same(case: Case) -> None:
    model = case.build()
    kept = [entry.code for entry in bnfold.fold(model, freeze_initializers=case.freeze).kept]
    how: dict[str, Any] = {"run": case.run, "feeds": case.feeds, "exact_reference": case.exact_reference}
    check_fold(model, kept=kept, freeze_initializers=case.freeze, **how)


@each_case
def test_a_fold_of_a_case_leaves_what_the_mathematics_leaves(case: Case) -> None:
    left = affines_left(bnfold.fold(case.build(), freeze_initializers=case.freeze).model)
    assert left == case.left, case.why


@each_trap
def test_a_trap_comes_out_as_it_went_in(case: Case) -> None:
    model = case.build()
    result = bnfold.fold(model, freeze_initializers=case.freeze)
    assert not result
    assert result.model == model


# --- The count, which is by definition and by nothing of bnfold's ---

CONV = "c = Conv(x, W)"
COUNTED: dict[str, tuple[int, str]] = {
    "none": (0, "y = Relu(c)"),
    "BatchNormalization": (1, "y = BatchNormalization(c, s, b, m, v)"),
    "a chain": (3, "d = Mul(c, k) e = Sub(k, d) y = Div(e, k)"),
    "an inverse": (0, "y = Div(k, c)"),
    "two wires": (0, "d = Relu(c) y = Mul(c, d)"),
    "two constants": (1, "d = Mul(k, k) y = Mul(c, d)"),
    "the last axis, which is as long": (1, "y = Mul(c, s)"),
    "two axes": (0, "d = Add(k, s) y = Mul(c, d)"),
    "a higher rank": (0, "n = Constant<value_ints = [0]>() d = Unsqueeze(k, n) e = Unsqueeze(d, n) y = Mul(c, e)"),
    "of integers": (0, "i = Shape(c) j = Constant<value_int = 2>() y = Mul(i, j)"),
}


def counted(nodes: str) -> ModelProto:
    tensors: dict[str, Any] = dict(zip("sbmv", statistics(4), strict=True))
    tensors |= {"W": normal(4, 3, 3, 3), "k": normal(4, 1, 1)}
    kind = "int64" if "Shape" in nodes else "float"
    return graph_model(f"(float[2,3,6,6] x) => ({kind}[] y) {{ {CONV} {nodes} }}", **tensors)


@pytest.mark.parametrize(("count", "nodes"), COUNTED.values(), ids=COUNTED)
def test_affines_are_counted_by_definition(count: int, nodes: str) -> None:
    assert affines_left(counted(nodes)) == count


def with_listed_constant(model: ModelProto) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("k", onnx.TensorProto.FLOAT, [4, 1, 1]))


def in_a_function(model: ModelProto) -> None:
    nodes = [
        onnx.helper.make_node("Constant", [], ["two"], value_float=2.0),
        onnx.helper.make_node("BatchNormalization", ["a", "p", "p", "p", "p"], ["o"]),
    ]
    imports = [onnx.helper.make_opsetid("", 20)]
    model.functions.append(onnx.helper.make_function("own", "f", ["a", "p"], ["o"], nodes, imports))


@pytest.mark.parametrize(
    ("edit", "change"), [(with_listed_constant, -1), (in_a_function, 1)], ids=["overridable", "in a function"]
)
def test_affines_are_counted_where_they_are_constant_in_every_scope(
    edit: Callable[[ModelProto], None], change: int
) -> None:
    model = counted("d = Mul(c, k) y = Relu(d)")
    before = affines_left(model)
    edit(model)
    assert affines_left(model) == before + change
