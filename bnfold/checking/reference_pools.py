"""Pools in the type of their input, for onnx.reference, whose own are slow or wrong with ceil_mode."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from bnfold.checking.reference_windows import Array, Attribute, Pads, bordered, windowing, windows


def _pool_windows(x: Array, value: float, attributes: dict[str, Any]) -> tuple[Array, Pads, list[int], list[int], Pads]:
    """The windows of a pool, its pads, strides, dilations, and how far the last windows reach beyond the padding."""
    kernel = attributes["kernel_shape"]
    strides, dilations, pads = windowing(x.shape[2:], kernel, attributes)
    over = [(0, 0)] * len(kernel)
    for axis, (n, k) in enumerate(zip(x.shape[2:], kernel, strict=True)):
        room = n + sum(pads[axis]) - dilations[axis] * (k - 1) - 1
        if attributes.get("ceil_mode"):
            over[axis] = (0, -room % strides[axis])
        elif -strides[axis] < room < 0:
            over[axis] = (0, -room)  # onnxruntime rounds towards 0: one window, that reaches beyond the end
    padded = bordered(bordered(x, pads, value), over, value)
    return windows(padded, kernel, strides, dilations), pads, strides, dilations, over


def _inner(values: Array) -> tuple[int, ...]:
    """The axes of windows `[N, C, *places, *kernel]` that are the kernel."""
    return tuple(range(2 + (values.ndim - 2) // 2, values.ndim))


class MaxPool(OpRun):
    """ONNX MaxPool-1 to MaxPool-22, with the indices of storage order 0."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Attribute) -> tuple[Array, ...]:
        seen, *_ = _pool_windows(x, -np.inf, attributes)
        largest = seen.max(axis=_inner(seen)).astype(x.dtype)
        if len(self.onnx_node.output) < 2:
            return (largest,)
        numbers = np.arange(x.size, dtype=np.float64).reshape(x.shape)
        places, *_ = _pool_windows(numbers, -1.0, attributes)
        count = int(np.prod(seen.shape[seen.ndim - len(_inner(seen)) :]))
        chosen = seen.reshape(*largest.shape, count).argmax(axis=-1)[..., None]
        found = np.take_along_axis(places.reshape(*largest.shape, count), chosen, axis=-1)[..., 0]
        return largest, found.astype(np.int64)


class AveragePool(OpRun):
    """ONNX AveragePool-1 to AveragePool-22."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Attribute) -> tuple[Array]:
        seen, pads, strides, dilations, over = _pool_windows(x, 0.0, attributes)
        counted = 1.0 if attributes.get("count_include_pad") else 0.0
        one = np.ones((1, 1, *x.shape[2:]))
        mask = bordered(bordered(one, pads, counted), over, 0.0)
        counts = windows(mask, attributes["kernel_shape"], strides, dilations)
        return ((seen.sum(axis=_inner(seen)) / counts.sum(axis=_inner(counts))).astype(x.dtype),)


class LpPool(OpRun):
    """ONNX LpPool-2 to LpPool-22."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Attribute) -> tuple[Array]:
        seen, *_ = _pool_windows(x, 0.0, attributes)
        p = attributes.get("p") or 2
        return (((np.abs(seen) ** p).sum(axis=_inner(seen)) ** (1.0 / p)).astype(x.dtype),)


class GlobalLpPool(OpRun):
    """ONNX GlobalLpPool-2."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Attribute) -> tuple[Array]:
        p = attributes.get("p") or 2
        return (((np.abs(x) ** p).sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1.0 / p)).astype(x.dtype),)


class GlobalMaxPool(OpRun):
    """ONNX GlobalMaxPool-1."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class GlobalAveragePool(OpRun):
    """ONNX GlobalAveragePool-1."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.mean(axis=tuple(range(2, x.ndim)), keepdims=True).astype(x.dtype),)
