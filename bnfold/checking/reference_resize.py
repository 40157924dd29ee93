"""Resize in float64: one matrix per axis, whose rows sum to one. onnx.reference rounds its coefficients to float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from bnfold.checking.reference_windows import Array, Attribute


class Resize(OpRun):
    """nearest, linear and cubic, by factors or to sizes (ONNX Resize-10 to Resize-19).

    Not: antialias, half_pixel_symmetric, cropping and aspect policies.
    """

    op_domain = ""

    def _run(self, x: Array, *inputs: Array | None, **attributes: Attribute) -> tuple[Array]:
        scales, sizes = (inputs[0], None) if len(inputs) == 1 else (*inputs, None, None)[1:3]
        attributes["default"] = "asymmetric" if len(inputs) == 1 else "half_pixel"  # opset 10 has no other
        axes = attributes.get("axes") or list(range(x.ndim))
        for number, axis in enumerate(axes):
            before = x.shape[axis]
            after, scale = _target(before, number, scales, sizes)
            if scale == 1.0:
                continue
            # [after, before] @ axis of x
            matrix = np.array(
                [_row(before, _coordinate(k, before, after, scale, attributes), attributes) for k in range(after)]
            )
            x = np.moveaxis(np.tensordot(matrix, x, axes=(1, axis)), 0, axis)
        return (x,)


_NEAREST: dict[str, Callable[[float], int]] = {
    "round_prefer_floor": lambda at: math.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: math.floor(at + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _target(before: int, number: int, scales: Array | None, sizes: Array | None) -> tuple[int, float]:
    """The size behind it, and the factor."""
    if scales is not None and scales.size:
        return math.floor(before * float(scales[number])), float(scales[number])
    assert sizes is not None
    return int(sizes[number]), int(sizes[number]) / before


def _coordinate(place: int, before: int, after: int, scale: float, attributes: dict[str, Any]) -> float:
    mode = attributes.get("coordinate_transformation_mode") or attributes["default"]
    if mode == "asymmetric":
        return place / scale
    if mode == "align_corners":
        return place * (before - 1) / (after - 1) if after > 1 else 0.0
    if mode == "pytorch_half_pixel" and after == 1:
        return 0.0
    return (place + 0.5) / scale - 0.5


def _row(before: int, at: float, attributes: dict[str, Any]) -> Array:
    """The share that each element of the input has in one of the output."""
    row = np.zeros(before)
    mode = attributes.get("mode") or "nearest"
    if mode == "nearest":
        nearest = _NEAREST[attributes.get("nearest_mode") or "round_prefer_floor"](at)
        row[int(np.clip(nearest, 0, before - 1))] = 1.0
        return row
    low = math.floor(at)
    a = attributes.get("cubic_coeff_a") or -0.75
    reach, weigh = ((0, 2), _hat) if mode == "linear" else ((-1, 3), partial(_cubic, a=a))
    for place in range(low + reach[0], low + reach[1]):
        if mode == "cubic" and attributes.get("exclude_outside") and not 0 <= place < before:
            continue
        row[int(np.clip(place, 0, before - 1))] += weigh(abs(at - place))
    return np.asarray(row / row.sum())


def _hat(distance: float) -> float:
    return max(0.0, 1.0 - distance)


def _cubic(distance: float, a: float) -> float:
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance * distance + 1
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
