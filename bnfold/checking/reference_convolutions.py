"""Convolutions in the type of their input, for onnx.reference, whose own are slow."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from onnx.reference.op_run import OpRun

from bnfold.checking.reference_windows import Array, Attribute, bordered, windowing


class Conv(OpRun):
    """ONNX Conv-1 to Conv-22."""

    op_domain = ""

    def _run(self, x: Array, w: Array, bias: Array | None = None, **attributes: Attribute) -> tuple[Array]:
        strides, dilations, pads = windowing(x.shape[2:], w.shape[2:], attributes)
        group = int(attributes.get("group") or 1)
        return (_with_bias(_convolve(bordered(x, pads, 0.0), w, strides, dilations, group), bias).astype(x.dtype),)


class ConvTranspose(OpRun):
    """A convolution of x with zeros put between its elements, the kernel mirrored; then cut by the pads."""

    op_domain = ""

    def _run(self, x: Array, w: Array, bias: Array | None = None, **attributes: Attribute) -> tuple[Array]:
        kernel, space, group = w.shape[2:], x.shape[2:], int(attributes.get("group") or 1)
        strides, dilations, pads = windowing(space, kernel, {**attributes, "auto_pad": "NOTSET"})
        extra = list(attributes.get("output_padding") or [0] * len(space))
        stuffed = np.zeros((*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(space, strides, strict=True))), x.dtype)
        stuffed[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        # w: [I, O/g, *k] -> [g, I/g, O/g, *k] -> [O, I/g, *k]
        grouped = w.reshape(group, w.shape[0] // group, *w.shape[1:]).swapaxes(1, 2)
        mirrored = np.flip(grouped.reshape(group * w.shape[1], -1, *kernel), tuple(range(2, w.ndim)))
        wide = bordered(stuffed, [(r, r) for r in reach], 0.0)
        full = _convolve(wide, mirrored, [1] * len(space), dilations, group)
        full = bordered(full, [(0, e) for e in extra], 0.0)
        cut = tuple(slice(front, n - back) for (front, back), n in zip(pads, full.shape[2:], strict=True))
        return (_with_bias(full[(slice(None), slice(None), *cut)], bias).astype(x.dtype),)


def _convolve(x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], group: int) -> Array:
    """A padded x `[N, C, *]` with `w: [O, C/g, *k]`: one product per place in the kernel, no copies of windows."""
    kernel = w.shape[2:]
    places = [
        max((n - d * (k - 1) - 1) // s + 1, 0)
        for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    weights = w.reshape(group, w.shape[0] // group, *w.shape[1:])  # [g, O/g, C/g, *k]
    y = np.zeros((x.shape[0], group, weights.shape[1], prod(places)), x.dtype)
    for place in np.ndindex(*kernel):
        cut = tuple(
            slice(at * d, at * d + (count - 1) * s + 1 if count else 0, s)
            for at, d, s, count in zip(place, dilations, strides, places, strict=True)
        )
        seen = x[(slice(None), slice(None), *cut)].reshape(x.shape[0], group, w.shape[1], -1)  # [N, g, C/g, P]
        y += weights[(slice(None), slice(None), slice(None), *place)] @ seen
    return y.reshape(x.shape[0], w.shape[0], *places)


def _with_bias(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + bias.reshape((-1,) + (1,) * (y.ndim - 2))
