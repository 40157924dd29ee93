"""What passes operators that gather many elements of one channel into one, and what they stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from support import check_fold, graph_model, normal, refusal, run_ort, run_reference, statistics

NEWEST = onnx.defs.onnx_opset_version()
C = 4
PLAIN = np.zeros(C, np.float32)
POSITIVE: dict[str, Any] = dict(zip(("scale", "shift", "mean", "var"), statistics(C, positive=True), strict=True))
"""Positive scales, and shifts of any sign."""
SCALING = {**POSITIVE, "shift": PLAIN, "mean": PLAIN}
MIXED = {**POSITIVE, "scale": POSITIVE["scale"] * np.array([1, -1, 1, -1], np.float32)}
MIXED_SCALING = {**MIXED, "shift": PLAIN, "mean": PLAIN}
ANY = {"scales": MIXED_SCALING, "scales and shifts": MIXED}
any_map = pytest.mark.parametrize("parameters", ANY.values(), ids=ANY)


def each(cases: Mapping[str, Sequence[Any]]) -> list[Any]:
    return [pytest.param(*case, id=name) for name, case in cases.items()]


def pooled(nodes: str, parameters: Mapping[str, Any], *, opset: int = 20, rank: int = 4, **more: Any) -> ModelProto:
    """`c` is a Conv of shape (2, 4, 6, 7), `nodes` make `d` of it, and `d`, of that rank, is normalized."""
    body = (
        f"(float[2, 3, 6, 7] x) => (float[{', '.join('ijkl'[:rank])}] y) "
        f"{{ c = Conv(x, w) {nodes} y = BatchNormalization (d, scale, shift, mean, var) }}"
    )
    return graph_model(body, opset=opset, **{"w": normal(C, 3, 1, 1), **parameters, **more})


def folds(model: ModelProto, *middle: str, **options: Any) -> None:
    check_fold(model, leaves=["Conv", *middle], **options)


def in_opset(opset: int) -> dict[str, Any]:
    """onnx.reference evaluates BatchNormalization 7 to 13 wrongly; onnxruntime may not know the newest opset."""
    return {"run": run_ort if opset <= 22 else run_reference}


# --- MaxPool ---

MAX_POOLS = {
    "plain": ["kernel_shape = [2, 3]"],
    "strides": ["kernel_shape = [2, 2], strides = [2, 2]"],
    "pads": ["kernel_shape = [3, 3], pads = [1, 1, 1, 1]"],
    "ceil_mode": ["kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1"],
    "dilations": ["kernel_shape = [2, 2], dilations = [2, 3]"],
    "SAME_UPPER": ['kernel_shape = [2, 2], auto_pad = "SAME_UPPER"'],
    "SAME_LOWER": ['kernel_shape = [2, 2], auto_pad = "SAME_LOWER"'],
}


@pytest.mark.parametrize("attributes", each(MAX_POOLS))
def test_a_positive_scale_and_any_shift_pass_a_max_pool(attributes: str) -> None:
    model = pooled(f"d = MaxPool <{attributes}> (c)", POSITIVE)
    folds(model, "MaxPool")


@pytest.mark.parametrize("opset", [7, 8, 10, 11, 12, 22, NEWEST])
def test_max_pool_is_passed_in_every_opset(opset: int) -> None:
    model = pooled("d = MaxPool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (c)", POSITIVE, opset=opset)
    folds(model, "MaxPool", **in_opset(opset))


@pytest.mark.parametrize("op", ["MaxPool <kernel_shape = [2, 2]>", "GlobalMaxPool"])
def test_a_negative_scale_does_not_pass_a_maximum_over_space(op: str) -> None:
    assert refusal(pooled(f"d = {op} (c)", MIXED)).code == "negative-scale"


def with_indices(scale: Sequence[float]) -> ModelProto:
    body = (
        "(float[2, 3, 6, 7] x) => (float[i, j, k, l] y, int64[m, n, o, p] places) { c = Conv(x, w) "
        "d, places = MaxPool <kernel_shape = [2, 2]> (c) y = BatchNormalization (d, scale, shift, mean, var) }"
    )
    return graph_model(body, w=normal(C, 3, 1, 1), **{**POSITIVE, "scale": np.array(scale, np.float32)})


def test_the_places_of_the_maxima_stay_where_they_are() -> None:
    folds(with_indices([0.5, 1, 2, 3]), "MaxPool")


def test_a_zero_scale_does_not_pass_a_max_pool_whose_places_are_read() -> None:
    assert refusal(with_indices([0.5, 0, 2, 3])).code == "zero-scale"


def test_a_zero_scale_passes_a_max_pool_whose_places_nobody_reads() -> None:
    zero = {**POSITIVE, "scale": np.array([0.5, 0, 2, 3], np.float32)}
    folds(pooled("d = MaxPool <kernel_shape = [2, 2]> (c)", zero), "MaxPool")


def test_an_affine_does_not_pass_onto_the_places_of_the_maxima() -> None:
    body = (
        "(float[2, 3, 6, 7] x) => (float[i, j, k, l] y, float[m, n, o, p] z) { c = Conv(x, w) "
        "z, places = MaxPool <kernel_shape = [2, 2]> (c) d = Cast <to = 1> (places) "
        "y = BatchNormalization (d, scale, shift, mean, var) }"
    )
    assert refusal(graph_model(body, w=normal(C, 3, 1, 1), **POSITIVE)).code == "type"


# --- AveragePool ---

UNPADDED = {
    "plain": ["kernel_shape = [2, 3]"],
    "no pads but count_include_pad": ["kernel_shape = [2, 3], count_include_pad = 1"],
    "pads of zero": ["kernel_shape = [2, 3], pads = [0, 0, 0, 0], count_include_pad = 1"],
    "VALID": ['kernel_shape = [2, 3], auto_pad = "VALID", count_include_pad = 1'],
    "pads not counted": ["kernel_shape = [3, 3], pads = [1, 1, 1, 1]"],
    "pads not counted, said so": ["kernel_shape = [3, 3], pads = [1, 0, 2, 1], count_include_pad = 0"],
    "SAME_UPPER": ['kernel_shape = [2, 2], auto_pad = "SAME_UPPER"'],
    "SAME_LOWER": ['kernel_shape = [2, 2], auto_pad = "SAME_LOWER"'],
    "ceil_mode": ["kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1"],
    "ceil_mode and pads": ["kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1, pads = [1, 1, 1, 1]"],
    "dilations": ["kernel_shape = [2, 2], dilations = [2, 3]"],
}
PADDED = {
    "pads": ["kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1"],
    "pads at one end": ["kernel_shape = [3, 3], pads = [0, 0, 0, 1], count_include_pad = 1"],
    "SAME_UPPER": ['kernel_shape = [2, 2], auto_pad = "SAME_UPPER", count_include_pad = 1'],
    "SAME_LOWER": ['kernel_shape = [2, 2], auto_pad = "SAME_LOWER", count_include_pad = 1'],
    "ceil_mode": ["kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1, count_include_pad = 1"],
}


@any_map
@pytest.mark.parametrize("attributes", each(UNPADDED))
def test_any_affine_passes_a_mean_of_real_elements(attributes: str, parameters: dict[str, Any]) -> None:
    folds(pooled(f"d = AveragePool <{attributes}> (c)", parameters), "AveragePool")


@pytest.mark.parametrize("attributes", each(PADDED))
def test_a_scale_passes_a_mean_that_counts_zeros_of_the_padding(attributes: str) -> None:
    folds(pooled(f"d = AveragePool <{attributes}> (c)", MIXED_SCALING), "AveragePool")


@pytest.mark.parametrize("attributes", each(PADDED))
def test_a_shift_does_not_pass_a_mean_that_counts_zeros_of_the_padding(attributes: str) -> None:
    assert refusal(pooled(f"d = AveragePool <{attributes}> (c)", MIXED)).code == "shift"


@any_map
@pytest.mark.parametrize("opset", [7, 10, 11, 19, 22, NEWEST])
def test_average_pool_is_passed_in_every_opset(opset: int, parameters: dict[str, Any]) -> None:
    model = pooled("d = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 0, 0]> (c)", parameters, opset=opset)
    folds(model, "AveragePool", **in_opset(opset))


# --- Pooling over all of space ---


@any_map
@pytest.mark.parametrize("opset", [7, 20, 22, NEWEST])
def test_any_affine_passes_a_global_average_pool(opset: int, parameters: dict[str, Any]) -> None:
    folds(pooled("d = GlobalAveragePool (c)", parameters, opset=opset), "GlobalAveragePool", **in_opset(opset))


@pytest.mark.parametrize("opset", [7, 20, 22, NEWEST])
def test_a_positive_scale_and_any_shift_pass_a_global_max_pool(opset: int) -> None:
    folds(pooled("d = GlobalMaxPool (c)", POSITIVE, opset=opset), "GlobalMaxPool", **in_opset(opset))


NORMS = {
    "LpPool": ["LpPool <kernel_shape = [2, 2]>", "LpPool"],
    "LpPool, p = 1": ["LpPool <kernel_shape = [2, 2], p = 1>", "LpPool"],
    "LpPool, p = 3, pads": ["LpPool <kernel_shape = [3, 3], p = 3, pads = [1, 1, 1, 1]>", "LpPool"],
    "GlobalLpPool": ["GlobalLpPool", "GlobalLpPool"],
    "GlobalLpPool, p = 3": ["GlobalLpPool <p = 3>", "GlobalLpPool"],
}


@pytest.mark.parametrize(("op", "leaf"), each(NORMS))
def test_a_positive_scale_passes_a_norm(op: str, leaf: str) -> None:
    # onnx.reference has no GlobalLpPool
    folds(pooled(f"d = {op} (c)", SCALING), leaf, exact_reference=leaf != "GlobalLpPool")


@pytest.mark.parametrize(("parameters", "code"), [(MIXED_SCALING, "negative-scale"), (POSITIVE, "shift")])
@pytest.mark.parametrize(("op", "_leaf"), each(NORMS))
def test_a_negative_scale_or_a_shift_does_not_pass_a_norm(
    op: str, _leaf: str, parameters: dict[str, Any], code: str
) -> None:
    assert refusal(pooled(f"d = {op} (c)", parameters)).code == code


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_an_affine_over_the_height_does_not_pass_a_pool(op: str) -> None:
    nodes = f"c = Conv(x, w) d = {op} <kernel_shape = [1, 2]> (c) y = Mul(d, f)"
    body = f"(float[2, 3, 6, 7] x) => (float[i, j, k, l] y) {{ {nodes} }}"
    model = graph_model(body, w=normal(C, 3, 1, 1), f=np.abs(normal(6, 1)))
    result = check_fold(model, leaves=["Conv", op, "Mul"], exact_reference=False)
    (refused,) = (outcome.refusal for outcome in result.plan.outcomes if outcome.refusal)
    assert refused.code == "axis"
    assert refused.text.startswith(op)


# --- ReduceMean, ReduceMax, ReduceSum ---


def reduced(op: str, axes: str, keep: int, *, opset: int, negative: bool = False) -> str:
    """A reduction of `c` with its axes as an attribute or as the input `k`."""
    since = 13 if op == "ReduceSum" else 18
    attributes = [f"keepdims = {keep}"] + ([f"axes = [{axes}]"] if axes and opset < since else [])
    return f"d = {op} <{', '.join(attributes)}> (c{', k' if axes and opset >= since else ''})"


def axes_input(op: str, axes: str, opset: int) -> dict[str, Any]:
    given = axes and opset >= (13 if op == "ReduceSum" else 18)
    return {"k": np.array([int(axis) for axis in axes.split(",")])} if given else {}


def reducing(op: str, axes: str, keep: int, parameters: Mapping[str, Any], *, opset: int = 20) -> ModelProto:
    rank = 4 if keep else 4 - len(axes.split(","))
    return pooled(
        reduced(op, axes, keep, opset=opset), parameters, opset=opset, rank=rank, **axes_input(op, axes, opset)
    )


SPACE: dict[str, tuple[str, int]] = {
    "both axes, kept": ("2, 3", 1),
    "both axes, dropped": ("2, 3", 0),
    "both axes, counted from the end": ("-1, -2", 0),
    "both axes, counted from the end, kept": ("-2, -1", 1),
    "width, dropped": ("3", 0),
    "height, kept": ("-2", 1),
}
# before opset 11 no axis is counted from the end
reductions = pytest.mark.parametrize(
    ("axes", "keep", "opset"),
    [
        pytest.param(*case, opset, id=f"{name}, opset {opset}")
        for name, case in SPACE.items()
        for opset in (7, 11, 13, 18, 20, NEWEST)
        if opset >= 11 or "-" not in case[0]
    ],
)


@any_map
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum"])
@reductions
def test_any_affine_passes_a_mean_and_a_sum_over_space(
    axes: str, keep: int, opset: int, op: str, parameters: dict[str, Any]
) -> None:
    folds(reducing(op, axes, keep, parameters, opset=opset), op, **in_opset(opset))


@reductions
def test_a_positive_scale_and_any_shift_pass_a_maximum_over_axes(axes: str, keep: int, opset: int) -> None:
    folds(reducing("ReduceMax", axes, keep, POSITIVE, opset=opset), "ReduceMax", **in_opset(opset))


def test_a_negative_scale_does_not_pass_a_maximum_over_axes() -> None:
    assert refusal(reducing("ReduceMax", "2, 3", 1, MIXED)).code == "negative-scale"


@any_map
def test_a_mean_over_the_batch_keeps_the_axis_of_the_channels(parameters: dict[str, Any]) -> None:
    folds(reducing("ReduceMean", "0", 1, parameters), "ReduceMean")


@any_map
def test_a_mean_over_the_batch_drops_an_axis_in_front_of_the_channels(parameters: dict[str, Any]) -> None:
    # (2, 4, 6, 7) -> (6, 7, 4) by a Transpose behind the mean, so that the channels are axis 1 of (6, 4, 7) again
    nodes = "p = ReduceMean <keepdims = 0> (c, k) d = Transpose <perm = [1, 0, 2]> (p)"
    folds(pooled(nodes, parameters, rank=3, k=np.array([0])), "ReduceMean", "Transpose")


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"])
@pytest.mark.parametrize(("axes", "size"), [("1", 6), ("-3", 6), ("0, 1", None)], ids=["1", "-3", "0 and 1"])
def test_channels_that_come_after_a_reduction_over_the_channels_stay(op: str, axes: str, size: int | None) -> None:
    width = size or 7
    parameters = dict(zip(SCALING, statistics(width, positive=True), strict=True))
    kept = refusal(reducing(op, axes, 0, parameters))
    # the map lies over the height or the width, which the reduction lets pass and the Conv does not take
    assert kept.code == "axis"
    assert "Conv" in kept.reason


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"])
def test_an_affine_that_repeats_what_was_reduced_stays(op: str) -> None:
    nodes = f"d = {op} <keepdims = 1> (c, k) y = Mul(d, f) }}"
    body = f"(float[2, 3, 6, 7] x) => (float[i, j, k, l] y) {{ c = Conv(x, w) {nodes}"
    f = np.abs(normal(C, 1, 1))
    result = check_fold(graph_model(body, w=normal(C, 3, 1, 1), k=np.array([1]), f=f), leaves=["Conv", op, "Mul"])
    assert not result


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"])
@pytest.mark.parametrize("keep", [0, 1])
def test_a_uniform_affine_passes_a_reduction_of_everything(op: str, keep: int) -> None:
    nodes = f"d = {op} <keepdims = {keep}> (c) e = Mul(d, half) y = Add(half, e) }}"
    shape = "i, j, k, l" if keep else ""
    body = f"(float[2, 3, 6, 7] x) => (float[{shape}] y) {{ c = Conv(x, w) {nodes}"
    check_fold(graph_model(body, w=normal(C, 3, 1, 1), half=np.float32(0.5)), leaves=["Conv", op])


@any_map
def test_a_reduction_that_says_it_does_nothing_is_passed(parameters: dict[str, Any]) -> None:
    nodes = "d = ReduceMean <noop_with_empty_axes = 1> (c) "
    folds(pooled(nodes, parameters), "ReduceMean")


def test_a_sum_that_says_it_does_nothing_passes_the_whole_shift() -> None:
    folds(pooled("d = ReduceSum <noop_with_empty_axes = 1> (c) ", MIXED), "ReduceSum")


def test_axes_that_the_caller_says_stop_everything() -> None:
    body = (
        "(float[2, 3, 6, 7] x, int64[2] k) => (float[i, j, m, l] y) "
        "{ c = Conv(x, w) d = ReduceMean(c, k) y = BatchNormalization (d, scale, shift, mean, var) }"
    )
    model = graph_model(body, w=normal(C, 3, 1, 1), **MIXED)
    feeds = {"x": normal(2, 3, 6, 7), "k": np.array([2, 3])}
    check_fold(model, leaves=["Conv", "ReduceMean", "BatchNormalization"], kept=["dynamic-axes"], feeds=feeds)


def sum_of_unknown_width(parameters: Mapping[str, Any]) -> ModelProto:
    body = (
        "(float[2, 3, 6, W] x) => (float[i, j, m, l] y) "
        "{ c = Conv(x, w) d = ReduceSum(c, k) y = BatchNormalization (d, scale, shift, mean, var) }"
    )
    return graph_model(body, w=normal(C, 3, 1, 1), k=np.array([2, 3]), **parameters)


def test_a_scale_passes_a_sum_of_however_many_elements() -> None:
    folds(sum_of_unknown_width(MIXED_SCALING), "ReduceSum")


def test_a_shift_does_not_pass_a_sum_of_an_unknown_number_of_elements() -> None:
    assert refusal(sum_of_unknown_width(MIXED)).code == "shift"


def test_a_shift_passes_a_mean_of_an_unknown_number_of_elements() -> None:
    model = sum_of_unknown_width(MIXED)
    model.graph.node[1].op_type = "ReduceMean"
    folds(model, "ReduceMean")
