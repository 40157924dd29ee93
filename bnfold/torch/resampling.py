"""Where the samples of a Resize lie, and how much of which input element each one takes.

Every mode comes to one matrix per axis, ``[out, in]``, in float64: a row has the weights of one output element. The
formulas are those of ONNX Resize-19.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One axis that is resized.

    Attributes:
        size: of the input.
        target: of the output.
        scale: output by input, as the graph gives it; not `target / size` where that was rounded.
        roi: begin and end of the region of interest, in shares of the input.
    """

    size: int
    target: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)


def _half_pixel(axis: Axis, places: Floats) -> Floats:
    return (places + 0.5) / axis.scale - 0.5


def _half_pixel_symmetric(axis: Axis, places: Floats) -> Floats:
    """Half pixel, the rounding of the output's size spread over both ends."""
    adjustment = axis.target / (axis.scale * axis.size)
    return axis.size / 2 * (1 - adjustment) + _half_pixel(axis, places)


def _pytorch_half_pixel(axis: Axis, places: Floats) -> Floats:
    return _half_pixel(axis, places) if axis.target > 1 else np.zeros_like(places)


def _align_corners(axis: Axis, places: Floats) -> Floats:
    return places * ((axis.size - 1) / (axis.target - 1)) if axis.target > 1 else np.zeros_like(places)


def _crop_and_resize(axis: Axis, places: Floats) -> Floats:
    begin, end = (share * (axis.size - 1) for share in axis.roi)
    if axis.target == 1:
        return np.full_like(places, (begin + end) / 2)
    return begin + places * ((end - begin) / (axis.target - 1))


COORDINATES: dict[str, Callable[[Axis, Floats], Floats]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": lambda axis, places: places / axis.scale,
    "tf_half_pixel_for_nn": lambda axis, places: (places + 0.5) / axis.scale,
    "tf_crop_and_resize": _crop_and_resize,
}
"""Where in the input an output element lies, by coordinate_transformation_mode."""

ROUNDINGS: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
"""Which element is the nearest, by nearest_mode."""


def places_in_input(axis: Axis, coordinates: str) -> Floats:
    """Where each output element lies in the input, ``[out]``."""
    return COORDINATES[coordinates](axis, np.arange(axis.target, dtype=np.float64))


def nearest(axis: Axis, places: Floats, rounding: str) -> Floats:
    """The matrix of mode nearest, ``[out, in]``."""
    taken = np.clip(ROUNDINGS[rounding](places), 0, axis.size - 1).astype(np.int64)
    return np.eye(axis.size)[taken]


@dataclass(frozen=True)
class Kernel:
    """What an element that lies at a distance counts.

    Attributes:
        reach: the distance from which on nothing counts.
        weigh: the weight at a distance.
    """

    reach: int
    weigh: Callable[[Floats], Floats]


LINEAR = Kernel(1, lambda distance: np.clip(1 - np.abs(distance), 0, 1))


def cubic(a: float) -> Kernel:
    """Cubic convolution with its free coefficient (Keys 1981)."""

    def weigh(distance: Floats) -> Floats:
        x = np.abs(distance)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return Kernel(2, weigh)


def interpolated(axis: Axis, places: Floats, kernel: Kernel, *, antialias: bool, exclude_outside: bool) -> Floats:
    """The matrix of an interpolating mode, ``[out, in]``.

    With `antialias` a kernel that makes things smaller is stretched by as much. What lies outside of the input is its
    nearest end, or with `exclude_outside` does not count.
    """
    shrink = min(axis.scale, 1.0) if antialias else 1.0
    first = floor(-kernel.reach / shrink) + 1
    offsets = np.arange(first, 2 - first)  # [taps]
    base = np.floor(places)[:, None]  # [out, 1]
    taps = base + offsets  # [out, taps]
    weights = kernel.weigh((taps - places[:, None]) * shrink)
    if antialias:
        weights = weights / weights.sum(1, keepdims=True)
    if exclude_outside:
        weights = np.where((taps >= 0) & (taps < axis.size), weights, 0.0)
        weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((axis.target, axis.size))
    rows = np.broadcast_to(np.arange(axis.target)[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, axis.size - 1).astype(np.int64)), weights)
    return matrix
