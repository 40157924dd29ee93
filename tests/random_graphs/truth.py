"""A fast evaluation in float64: onnx.reference, where it is slow or lacks an operator with one of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from support import Array, BatchNormalization, Feeds, widened

from bnfold.model.graph import scope_protos
from random_graphs.resample import Resize

Pads = list[tuple[int, int]]


def _lists(
    space: Sequence[int], kernel: Sequence[int], attributes: dict[str, Any]
) -> tuple[list[int], list[int], Pads]:
    """(strides, dilations, pads) with the defaults of the specification, auto_pad resolved."""
    rank = len(space)
    strides = list(attributes.get("strides") or [1] * rank)
    dilations = list(attributes.get("dilations") or [1] * rank)
    auto = attributes.get("auto_pad") or "NOTSET"
    if not auto.startswith("SAME"):
        flat = list(attributes.get("pads") or [0] * (2 * rank)) if auto == "NOTSET" else [0] * (2 * rank)
        return strides, dilations, list(zip(flat[:rank], flat[rank:], strict=True))
    pads = []
    for n, k, s, d in zip(space, kernel, strides, dilations, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        small = total // 2
        pads.append((small, total - small) if auto == "SAME_UPPER" else (total - small, small))
    return strides, dilations, pads


def _bordered(x: Array, pads: Pads, value: float) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)


def _windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Array:
    """``[N, C, *space] -> [N, C, *places, *kernel]``."""
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    index = (
        slice(None),
        slice(None),
        *(slice(None, None, s) for s in strides),
        *(slice(None, None, d) for d in dilations),
    )
    return views[index]


def _convolve(x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], group: int) -> Array:
    """A padded x ``[N, C, *]`` with ``w: [O, C/g, *k]``."""
    windows = _windows(x, w.shape[2:], strides, dilations)
    places = windows.shape[2 : x.ndim]
    rank = x.ndim - 2
    # [N, C, *places, *kernel] -> [N, C, P, K] -> [g, N*P, C/g*K]
    flat = windows.reshape(x.shape[0], group, w.shape[1], int(np.prod(places)), int(np.prod(w.shape[2:])))
    rows = flat.transpose(1, 0, 3, 2, 4).reshape(group, -1, w.shape[1] * int(np.prod(w.shape[2:])))
    columns = w.reshape(group, w.shape[0] // group, -1).transpose(0, 2, 1)
    made = (rows @ columns).reshape(group, x.shape[0], *places, w.shape[0] // group)
    assert len(places) == rank
    return np.moveaxis(made, (0, -1), (1, 2)).reshape(x.shape[0], w.shape[0], *places)


def _with_bias(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + bias.reshape((-1,) + (1,) * (y.ndim - 2))


class Conv(OpRun):
    op_domain = ""

    def _run(self, x: Array, w: Array, bias: Array | None = None, **attributes: Any) -> tuple[Array]:
        strides, dilations, pads = _lists(x.shape[2:], w.shape[2:], attributes)
        group = int(attributes.get("group") or 1)
        return (_with_bias(_convolve(_bordered(x, pads, 0.0), w, strides, dilations, group), bias).astype(x.dtype),)


class ConvTranspose(OpRun):
    """A convolution of x with zeros put between its elements, the kernel mirrored; then cut by the pads."""

    op_domain = ""

    def _run(self, x: Array, w: Array, bias: Array | None = None, **attributes: Any) -> tuple[Array]:
        kernel, space, group = w.shape[2:], x.shape[2:], int(attributes.get("group") or 1)
        strides, dilations, pads = _lists(space, kernel, {**attributes, "auto_pad": "NOTSET"})
        extra = list(attributes.get("output_padding") or [0] * len(space))
        stuffed = np.zeros((*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(space, strides, strict=True))), x.dtype)
        stuffed[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        # w: [I, O/g, *k] -> [g, I/g, O/g, *k] -> [O, I/g, *k]
        grouped = w.reshape(group, w.shape[0] // group, *w.shape[1:]).swapaxes(1, 2)
        mirrored = np.flip(grouped.reshape(group * w.shape[1], -1, *kernel), tuple(range(2, w.ndim)))
        wide = _bordered(stuffed, [(r, r) for r in reach], 0.0)
        full = _convolve(wide, mirrored, [1] * len(space), dilations, group)
        full = _bordered(full, [(0, e) for e in extra], 0.0)
        cut = tuple(slice(front, n - back) for (front, back), n in zip(pads, full.shape[2:], strict=True))
        return (_with_bias(full[(slice(None), slice(None), *cut)], bias).astype(x.dtype),)


def _pool_windows(x: Array, value: float, attributes: dict[str, Any]) -> tuple[Array, Pads, list[int], list[int], Pads]:
    """The windows of a pool, its pads, strides, dilations, and how far the last windows reach beyond the padding."""
    kernel = attributes["kernel_shape"]
    strides, dilations, pads = _lists(x.shape[2:], kernel, attributes)
    over = [(0, 0)] * len(kernel)
    if attributes.get("ceil_mode"):
        for axis, (n, k) in enumerate(zip(x.shape[2:], kernel, strict=True)):
            room = n + sum(pads[axis]) - dilations[axis] * (k - 1) - 1
            over[axis] = (0, -room % strides[axis])
    padded = _bordered(_bordered(x, pads, value), over, value)
    return _windows(padded, kernel, strides, dilations), pads, strides, dilations, over


def _inner(values: Array) -> tuple[int, ...]:
    """The axes of windows ``[N, C, *places, *kernel]`` that are the kernel."""
    return tuple(range(2 + (values.ndim - 2) // 2, values.ndim))


class MaxPool(OpRun):
    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array, ...]:
        windows, *_ = _pool_windows(x, -np.inf, attributes)
        largest = windows.max(axis=_inner(windows)).astype(x.dtype)
        if len(self.onnx_node.output) < 2:
            return (largest,)
        numbers = np.arange(x.size, dtype=np.float64).reshape(x.shape)
        places, *_ = _pool_windows(numbers, -1.0, attributes)
        count = int(np.prod(windows.shape[windows.ndim - len(_inner(windows)) :]))
        chosen = windows.reshape(*largest.shape, count).argmax(axis=-1)[..., None]
        found = np.take_along_axis(places.reshape(*largest.shape, count), chosen, axis=-1)[..., 0]
        return largest, found.astype(np.int64)


class AveragePool(OpRun):
    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        windows, pads, strides, dilations, over = _pool_windows(x, 0.0, attributes)
        counted = 1.0 if attributes.get("count_include_pad") else 0.0
        one = np.ones((1, 1, *x.shape[2:]))
        mask = _bordered(_bordered(one, pads, counted), over, 0.0)
        counts = _windows(mask, attributes["kernel_shape"], strides, dilations)
        return ((windows.sum(axis=_inner(windows)) / counts.sum(axis=_inner(counts))).astype(x.dtype),)


class LpPool(OpRun):
    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        windows, *_ = _pool_windows(x, 0.0, attributes)
        p = attributes.get("p") or 2
        return (((np.abs(windows) ** p).sum(axis=_inner(windows)) ** (1.0 / p)).astype(x.dtype),)


class GlobalLpPool(OpRun):
    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        p = attributes.get("p") or 2
        return (((np.abs(x) ** p).sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1.0 / p)).astype(x.dtype),)


class GlobalMaxPool(OpRun):
    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class GlobalAveragePool(OpRun):
    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.mean(axis=tuple(range(2, x.ndim)), keepdims=True).astype(x.dtype),)


class Upsample(OpRun):
    """Nearest, by whole factors."""

    op_domain = ""

    def _run(self, x: Array, scales: Array | Sequence[float] | None = None, **attributes: Any) -> tuple[Array]:
        for axis, factor in enumerate(attributes["scales"] if scales is None else scales):
            x = np.repeat(x, round(float(factor)), axis=axis)
        return (x,)


class DequantizeLinear(OpRun):
    op_domain = ""

    def _run(self, x: Array, scale: Array, zero: Array | None = None, **attributes: Any) -> tuple[Array]:
        axis = 1 if attributes.get("axis") is None else attributes["axis"]
        shape = [-1 if k == axis else 1 for k in range(x.ndim)] if scale.ndim else []
        wide = x.astype(np.float64) - (0 if zero is None else zero.astype(np.float64).reshape(shape))
        return ((wide * scale.reshape(shape)).astype(scale.dtype),)


OPERATORS: list[type[OpRun]] = [
    BatchNormalization,
    Conv,
    ConvTranspose,
    MaxPool,
    AveragePool,
    LpPool,
    GlobalLpPool,
    GlobalMaxPool,
    GlobalAveragePool,
    Upsample,
    Resize,
    DequantizeLinear,
]


class Evaluator(ReferenceEvaluator):
    """With these operators in functions too, where onnx.reference forgets what it was given."""

    def __init__(self, proto: Any, **given: Any) -> None:
        super().__init__(proto, **{**given, "new_ops": OPERATORS})


NARROW = ".float32"
"""The ending of the name of a value that is float32 in a graph in float64."""


def in_double(model: ModelProto) -> ModelProto:
    """The graph in float64 throughout, but for the factors of a Resize, which are float32 whatever it resizes."""
    wide = widened(model)
    factors = {name for scope in scope_protos(model) for node in scope.node for name in _factors(node)}
    for before, scope in zip(scope_protos(model), scope_protos(wide), strict=True):
        for tensor, now in zip(getattr(before, "initializer", ()), getattr(scope, "initializer", ()), strict=True):
            if tensor.name in factors:
                now.CopyFrom(tensor)
        _cast_what_is_dequantized(scope)
    return wide


def _cast_what_is_dequantized(scope: GraphProto | FunctionProto) -> None:
    """A DequantizeLinear gives float32, whatever the graph around it: a Cast behind it makes that float64."""
    nodes: list[NodeProto] = []
    for node in scope.node:
        kept = NodeProto()
        kept.CopyFrom(node)
        nodes.append(kept)
        if node.op_type != "DequantizeLinear" or kept.output[0].endswith(NARROW):
            continue
        kept.output[0] += NARROW
        nodes.append(helper.make_node("Cast", [kept.output[0]], [node.output[0]], to=TensorProto.DOUBLE))
    del scope.node[:]
    scope.node.extend(nodes)


def _factors(node: NodeProto) -> list[str]:
    return list(node.input[1:3]) if node.op_type in ("Resize", "Upsample", "Dropout") else []


def evaluated(model: ModelProto, feeds: Feeds) -> list[Array]:
    """The outputs, in the types that the model has."""
    with np.errstate(all="ignore"):
        evaluator = Evaluator(sorted_model(model))
        return [np.asarray(value) for value in evaluator.run(None, dict(feeds))]


def sorted_model(model: ModelProto) -> ModelProto:
    """The nodes of the main graph in an order in which they can be run."""
    made = {t.name for t in model.graph.initializer} | {entry.name for entry in model.graph.input} | {""}
    waiting, ordered = list(model.graph.node), list[NodeProto]()
    while waiting:
        ready = [node for node in waiting if _read(node) <= made | set(node.output)]
        if not ready:
            raise ValueError("the graph has a cycle, or reads a value that nothing makes")
        waiting = [node for node in waiting if node not in ready]
        ordered += ready
        made |= {name for node in ready for name in node.output}
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(ordered)
    return result


def _read(node: NodeProto) -> set[str]:
    """What a node reads, its bodies included, as far as they do not make it themselves."""
    names = set(node.input)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
        for graph in graphs:
            inner = {name for n in graph.node for name in _read(n)} | {out.name for out in graph.output}
            own = {name for n in graph.node for name in n.output} | {t.name for t in graph.initializer}
            names |= inner - own - {entry.name for entry in graph.input}
    return names
