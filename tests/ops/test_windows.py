"""Windows over their input: which taps see an element of it, against what onnxruntime makes of an image of ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from onnx import ModelProto
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException
from support import Array, check_fold, graph_model, normal, op_types, run_ort

import bnfold
from bnfold.model.constants import Constants
from bnfold.model.graph import Graph
from bnfold.model.shapes import Shapes
from bnfold.ops.rule import Operator
from bnfold.ops.windows import common_taps, padding, tap_table

OPSETS = (9, 11, 22)
REFUSED = (Fail, InvalidArgument, RuntimeException)
"""What onnxruntime raises for no output elements, an ``output_shape`` that no input has, SAME by less than 0."""

quickly = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much]
)


def operator(model: ModelProto, op_type: str = "") -> Operator:
    graph = Graph(model)
    node = next(node for node in graph.nodes() if node.op_type.startswith(op_type))
    return Operator(node, Constants(graph, None), Shapes(graph))


def layer(op_type: str, size: str, attributes: str, *, opset: int = 20, **constants: Any) -> ModelProto:
    operands = ", ".join(("x", *constants))
    return graph_model(
        f"(float[2,2,{size}] x) => (float[] y) {{ y = {op_type} <{attributes}> ({operands}) }}",
        opset=opset,
        **constants,
    )


@st.composite
def axes(draw: Any, rank: int, *, transposed: bool = False) -> tuple[list[int], list[int], str]:
    """(sizes, kernel, attributes) of windows along that many axes."""

    def each(least: int, most: int) -> list[int]:
        drawn: list[int] = draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank))
        return drawn

    sizes, kernel, strides, dilations = each(1, 7), each(1, 4), each(1, 3), each(1, 2)
    begins, ends = each(0, 3), each(0, 3)
    mode = draw(st.sampled_from(["NOTSET", "pads", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if mode.startswith("SAME"):
        dilations = [1] * rank  # onnxruntime has no dilated windows with SAME
    stated = {"strides": strides, "dilations": dilations}
    if mode == "pads":
        stated["pads"] = begins + ends
    if transposed:
        more = draw(st.sampled_from(["none", "output_padding", "output_shape"]))
        if more == "output_padding":
            stated[more] = [draw(st.integers(0, stride - 1)) for stride in strides]
        if more == "output_shape":
            stated[more] = [
                draw(st.integers(1, size * stride + 3)) for size, stride in zip(sizes, strides, strict=True)
            ]
    attributes = ", ".join(f"{name} = {numbers}" for name, numbers in stated.items())
    if mode != "pads":
        attributes += f', auto_pad = "{mode}"'
    reaches = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    room = [n + (b + e if mode == "pads" else 0) for n, b, e in zip(sizes, begins, ends, strict=True)]
    if not transposed and not mode.startswith("SAME"):
        assume(all(reach <= size for reach, size in zip(reaches, room, strict=True)))
    return sizes, kernel, attributes


def selectors(kernel: list[int], *, transposed: bool) -> Array:
    """A weight with an output channel per tap, which it alone lets through."""
    taps = int(np.prod(kernel))
    eye = np.eye(taps, dtype=np.float32).reshape(taps, *kernel)
    # [O, 1, *k] for a Conv, [1, O, *k] for a ConvTranspose
    return eye[None] if transposed else eye[:, None]


def seen_by_onnxruntime(op_type: str, sizes: list[int], kernel: list[int], attributes: str, opset: int) -> Array:
    """Per output position, which taps see a one of an image of ones: ``[*o, *t]``."""
    weight = selectors(kernel, transposed=op_type == "ConvTranspose")
    model = graph_model(
        f"(float[1,1,{','.join(map(str, sizes))}] x) => (float[] y) {{ y = {op_type} <{attributes}> (x, w) }}",
        opset=opset,
        w=weight,
    )
    (seen,) = run_ort(model, {"x": np.ones((1, 1, *sizes), np.float32)})
    table: Array = np.moveaxis(seen[0], 0, -1).reshape(*seen.shape[2:], *kernel)  # [T, *o] -> [*o, *t]
    return table


def of_both(first: Array, second: Array) -> Array:
    """The table of two axes: ``[o1, t1], [o2, t2] -> [o1, o2, t1, t2]``."""
    table: Array = np.einsum("at,bu->abtu", first, second)
    return table


@quickly
@given(axes(2), st.sampled_from(OPSETS))
def test_the_tap_table_of_a_conv_is_what_an_image_of_ones_shows(windows: Any, opset: int) -> None:
    sizes, kernel, attributes = windows
    shown = seen_by_onnxruntime("Conv", sizes, kernel, attributes, opset)
    model = layer("Conv", ",".join(map(str, sizes)), attributes, opset=opset, w=normal(2, 2, *kernel))
    tables = tap_table(operator(model), kernel)
    assert tables is not None
    assert np.array_equal(of_both(*tables), shown)


@quickly
@given(axes(1, transposed=True), st.sampled_from(OPSETS))
def test_the_tap_table_of_a_convtranspose_is_what_an_image_of_ones_shows(windows: Any, opset: int) -> None:
    sizes, kernel, attributes = windows
    model = layer("ConvTranspose", str(sizes[0]), attributes, opset=opset, w=normal(2, 2, *kernel))
    tables = tap_table(operator(model), kernel)
    assume(tables is not None)
    assert tables is not None
    assume(len(tables[0]))
    try:
        shown = seen_by_onnxruntime("ConvTranspose", sizes, kernel, attributes, opset)
    except REFUSED:
        reject()
    assert np.array_equal(tables[0], shown)


def test_the_tap_table_of_a_convtranspose_along_two_axes() -> None:
    attributes = "strides = [2, 1], pads = [1, 0, 0, 2], output_padding = [1, 0]"
    model = layer("ConvTranspose", "3,4", attributes, w=normal(2, 2, 3, 2))
    tables = tap_table(operator(model), (3, 2))
    assert tables is not None
    assert np.array_equal(of_both(*tables), seen_by_onnxruntime("ConvTranspose", [3, 4], [3, 2], attributes, 20))


def test_the_shift_of_a_map_is_the_sum_over_the_table() -> None:
    attributes, weight = "pads = [1, 1, 0, 2], strides = [1, 2]", normal(1, 1, 3, 2)
    model = layer("Conv", "4,5", attributes, w=weight)
    tables = tap_table(operator(model), (3, 2))
    assert tables is not None
    shifted = np.einsum("at,bu,tu->ab", *tables, weight[0, 0].astype(np.float64))
    ones = graph_model(f"(float[1,1,4,5] x) => (float[] y) {{ y = Conv <{attributes}> (x, w) }}", w=weight)
    (expected,) = run_ort(ones, {"x": np.ones((1, 1, 4, 5), np.float32)})
    assert np.allclose(shifted, expected[0, 0], rtol=1e-5, atol=1e-6)


UNKNOWN = {
    "a symbol for a size": ("Conv", "H", "pads = [1, 1]"),
    "nothing known": ("Conv", "H", 'auto_pad = "SAME_UPPER"'),
    "strides of another length": ("Conv", "7", "strides = [1, 1]"),
    "dilations of another length": ("Conv", "7", "dilations = [1, 1]"),
    "pads of another length": ("Conv", "7", "pads = [1]"),
    "a stride of zero": ("Conv", "7", "strides = [0]"),
    "padding of no known kind": ("Conv", "7", 'auto_pad = "SOMEHOW"'),
    "another rank": ("Conv", "7,7", "pads = [1, 1]"),
    "an output_shape for all axes": ("ConvTranspose", "7", "output_shape = [2, 2, 7]"),
    "SAME that would pad by less than nothing": ("ConvTranspose", "7", 'auto_pad = "SAME_UPPER", strides = [4]'),
}


@pytest.mark.parametrize(("op_type", "size", "attributes"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_known_has_no_table(op_type: str, size: str, attributes: str) -> None:
    op = operator(layer(op_type, size, attributes, w=normal(2, 2, 3)))
    assert tap_table(op, (3,)) is None
    assert common_taps(op, (3,)) is None


def test_which_end_gets_the_odd_one_is_not_known_before_opset_11() -> None:
    for opset, known in ((10, False), (11, True)):
        model = layer("ConvTranspose", "4", 'auto_pad = "SAME_UPPER", strides = [2]', opset=opset, w=normal(2, 2, 3))
        assert (tap_table(operator(model), (3,)) is not None) == known


# --- The padding that takes effect ---

REACHED: dict[str, tuple[str, str, tuple[int, int] | None]] = {
    "no padding": ("7", "group = 1", (0, 0)),
    "padding at both ends": ("7", "pads = [1, 2]", (1, 2)),
    "the last window stops before the padding": ("7", "pads = [0, 1], strides = [3]", (0, 0)),
    "the last window stops within the padding": ("7", "pads = [0, 2], strides = [3]", (0, 2)),
    "the last window stops within x": ("8", "pads = [1, 1], strides = [3]", (1, 0)),
    "SAME_UPPER": ("7", 'auto_pad = "SAME_UPPER"', (1, 1)),
    "SAME_UPPER, an odd one": ("8", 'auto_pad = "SAME_UPPER", strides = [2]', (0, 1)),
    "SAME_LOWER, an odd one": ("8", 'auto_pad = "SAME_LOWER", strides = [2]', (1, 0)),
    "SAME, strides that leave none": ("7", 'auto_pad = "SAME_LOWER", strides = [4]', (0, 0)),
    "an open size, no padding": ("L", "strides = [3]", (0, 0)),
    "an open size, VALID": ("L", 'auto_pad = "VALID"', (0, 0)),
    "an open size, padding": ("L", "pads = [0, 1]", None),
    "an open size, SAME": ("L", 'auto_pad = "SAME_UPPER"', None),
    "x smaller than the windows": ("1", "group = 1", None),
}


@pytest.mark.parametrize(("size", "attributes", "expected"), REACHED.values(), ids=REACHED)
def test_padding_is_what_the_windows_reach(size: str, attributes: str, expected: tuple[int, int] | None) -> None:
    op = operator(layer("Conv", size, attributes, w=normal(2, 2, 3)))
    assert padding(op, (3,)) == (expected,)


# --- A shift through all this ---


@quickly
@given(axes(2), st.sampled_from(OPSETS))
def test_a_shift_in_front_of_a_conv_goes_where_every_position_sees_the_same_taps(windows: Any, opset: int) -> None:
    sizes, kernel, attributes = windows
    shown = seen_by_onnxruntime("Conv", sizes, kernel, attributes, opset)
    model = graph_model(
        f"(float[2,2,{','.join(map(str, sizes))}] x) => (float[] y) "
        f"{{ n = Add(x, k) y = Conv <{attributes}> (n, w, b) }}",
        opset=opset,
        w=normal(3, 2, *kernel),
        b=normal(3),
        k=normal(2, 1, 1),
    )
    goes = bool((shown == shown[0, 0]).all())
    assume(shown[0, 0].any())  # else the output does not depend on x
    check_fold(
        model,
        leaves=["Conv"] if goes else ["Add", "Conv"],
        exact_reference="auto_pad" not in attributes,
        residuals=False,
    )


@quickly
@given(axes(1, transposed=True))
def test_a_shift_in_front_of_a_convtranspose_goes_only_where_it_is_exact(windows: Any) -> None:
    sizes, kernel, attributes = windows
    model = graph_model(
        f"(float[2,4,{sizes[0]}] x) => (float[] y) {{ n = Add(x, k) y = ConvTranspose <{attributes}> (n, w) }}",
        w=normal(4, 3, *kernel),
        k=normal(4, 1),
    )
    try:
        (y,) = run_ort(model, {"x": normal(2, 4, *sizes)})
    except REFUSED:
        reject()
    assume(y.size and np.ptp(y) > 0)
    check_fold(model, exact_reference=False)


ALIKE = {
    "Conv, the middle tap alone": "float[2,4,1,1] x | Conv <pads = [1,1,1,1]> (n, w)",
    "Conv, padding that no window reaches": "float[2,4,7,7] x | Conv <pads = [0,0,1,1], strides = [3,3]> (n, w)",
    "Conv, a row of an image of height 1": "float[2,4,1,6] x | Conv <pads = [1,0,1,0]> (n, w)",
    "Conv, groups": "float[2,8,1,1] x | Conv <pads = [1,1,1,1], group = 2> (n, w)",
    "Conv, SAME_UPPER over one element": 'float[2,4,1,1] x | Conv <auto_pad = "SAME_UPPER"> (n, w)',
    "ConvTranspose, one element cut out": "float[2,4,1,1] x | ConvTranspose <pads = [1,1,1,1]> (n, w)",
    "ConvTranspose, border cut off, open size": "float[2,4,H,W] x | ConvTranspose <pads = [2,2,2,2]> (n, w)",
}


@pytest.mark.parametrize("text", ALIKE.values(), ids=ALIKE)
def test_a_shift_goes_where_all_positions_see_the_same_taps(text: str) -> None:
    x, node = text.split(" | ")
    channels = 8 if "group" in text else 4
    model = graph_model(
        f"({x}) => (float[] y) {{ n = Add(x, k) y = {node} }}", w=normal(4, 4, 3, 3), k=normal(channels, 1, 1)
    )
    feeds = {"x": normal(2, 4, 6, 5)} if "H" in x else None
    check_fold(model, leaves=op_types(model)[1:], feeds=feeds, exact_reference="auto_pad" not in text)


@quickly
@given(axes(2), st.booleans(), st.sampled_from([11, 19, 22]))
def test_a_shift_passes_a_mean_that_counts_padding_where_no_window_reaches_it(
    windows: Any, ceil: bool, opset: int
) -> None:
    sizes, kernel, attributes = windows
    shape, pads = ",".join(map(str, sizes)), attributes.partition("pads = ")[2].partition("]")[0].strip("[")
    numbers = [int(number) for number in pads.split(",")] if pads else []
    # onnxruntime wants pads smaller than the kernel; windows with gaps are of opset 19
    assume(all(pad < taps for pad, taps in zip(numbers, [*kernel, *kernel], strict=False)))
    assume(opset >= 19 or "dilations = [1, 1]" in attributes)
    if opset < 19:
        attributes = attributes.replace("dilations = [1, 1], ", "").replace(", dilations = [1, 1]", "")
    pool = f"AveragePool <kernel_shape = {kernel}, count_include_pad = 1, ceil_mode = {int(ceil)}, {attributes}>"
    ones = graph_model(f"(float[1,1,{shape}] x) => (float[] y) {{ y = {pool} (x) }}", opset=opset)
    try:
        (mean,) = run_ort(ones, {"x": np.ones((1, 1, *sizes), np.float32)})
    except REFUSED:
        reject()
    model = graph_model(
        f"(float[2,2,{shape}] x) => (float[] y) {{ c = Conv (x, w) p = {pool} (c) y = Add (p, k) }}",
        opset=opset,
        w=normal(2, 2, 1, 1),
        k=normal(2, 1, 1),
    )
    goes = bool(bnfold.fold(model))
    assert not goes or np.allclose(mean, 1)
    assert goes or ceil or not np.allclose(mean, 1)
    check_fold(model, exact_reference=False)


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(("attributes", "dims"), [("group = 1", (2,)), ("group = 1", ()), ("group = 0", (2, 2, 1))])
def test_a_layer_that_no_input_fits_is_refused_and_does_not_crash(
    op_type: str, attributes: str, dims: tuple[int, ...]
) -> None:
    model = graph_model(
        f"(float[2,2,5] x) => (float[] y) {{ n = Add(x, k) y = {op_type} <{attributes}> (n, w) }}",
        w=normal(*dims),
        k=normal(2, 1),
    )
    (affine,) = bnfold.inspect(model)
    assert not affine.folds
    assert "axes" in affine.reason or "groups" in affine.reason
