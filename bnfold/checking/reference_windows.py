"""Windows that slide over the last axes of an array: what convolutions and pools have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

Attribute: TypeAlias = Any
"""What onnx.reference passes of a node's attribute: a number, text, or a list of them."""
Pads: TypeAlias = list[tuple[int, int]]


def windowing(
    space: Sequence[int], kernel: Sequence[int], attributes: dict[str, Any]
) -> tuple[list[int], list[int], Pads]:
    """(strides, dilations, pads) with the specification's defaults, auto_pad resolved (ONNX Conv-11, MaxPool-12)."""
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


def bordered(x: Array, pads: Pads, value: float) -> Array:
    """`[N, C, *space]` with `value` put around the space."""
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)


def windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Array:
    """`[N, C, *space] -> [N, C, *places, *kernel]`."""
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    index = (
        slice(None),
        slice(None),
        *(slice(None, None, s) for s in strides),
        *(slice(None, None, d) for d in dilations),
    )
    return views[index]
