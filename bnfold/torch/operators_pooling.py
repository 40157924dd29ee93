"""Pools over windows, and over everything."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.values import Context
from bnfold.torch.windows import Pads, Windows, is_symmetric, padded

MAXIMA: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEANS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def beyond(windows: Windows, sizes: torch.Size, kernel: list[int], pads: Pads, *, ceil: bool) -> list[int]:
    """How far the last window of each axis reaches over the padded end; only with `ceil_mode`.

    A window that would start behind the input and its padding at the begin is left out (ONNX MaxPool-22).
    """
    if not ceil:
        return [0] * len(kernel)
    found = []
    for size, (begin, end), stride, extent in zip(
        sizes, pads, windows.strides(len(kernel)), windows.extents(kernel), strict=True
    ):
        count = -(-(size + begin + end - extent) // stride) + 1
        if (count - 1) * stride >= size + begin:
            count -= 1
        found.append(max((count - 1) * stride + extent - (size + begin + end), 0))
    return found


@operator("MaxPool", 1, 8, 10, 11, 12, 22)
def _max_pool(spec: Spec) -> Run:
    """x: [N, C, *s]. What is padded is smaller than any element."""
    spec.refuse_unless(not spec.has_output(1), "gives indices, which has no translation to torch")
    windows, kernel, ceil = Windows.of(spec), list(spec.get("kernel_shape")), bool(spec.get("ceil_mode", 0))
    spec.get("storage_order")  # is of the indices

    def run(_: Context, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return run(_, x.to(torch.float32)).to(x.dtype)  # 8-bit integers, which float32 holds exactly
        pads = windows.pads(x.shape[2:], kernel)
        more = beyond(windows, x.shape[2:], kernel, pads, ceil=ceil)
        strides, dilations = windows.strides(len(kernel)), windows.dilations(len(kernel))
        pool = MAXIMA[len(kernel)]
        if is_symmetric(pads) and not any(more) and all(2 * p <= k for (p, _), k in zip(pads, kernel, strict=True)):
            return pool(x, kernel, strides, [begin for begin, _ in pads], dilations)
        around = [(begin, end + extra) for (begin, end), extra in zip(pads, more, strict=True)]
        return pool(padded(x, around, -torch.inf), kernel, strides, 0, dilations)

    return run


@operator("AveragePool", 7, 10, 11, 19, 22)
def _average_pool(spec: Spec) -> Run:
    """x: [N, C, *s]. The padding counts where `count_include_pad` says so; what `ceil_mode` adds never does."""
    windows, kernel, ceil = Windows.of(spec), list(spec.get("kernel_shape")), bool(spec.get("ceil_mode", 0))
    counts_pads = bool(spec.get("count_include_pad", 0))

    def run(_: Context, x: Tensor) -> Tensor:
        pads = windows.pads(x.shape[2:], kernel)
        more = beyond(windows, x.shape[2:], kernel, pads, ceil=ceil)
        around = [(begin, end + extra) for (begin, end), extra in zip(pads, more, strict=True)]
        total = _means(padded(x, around), windows, kernel)
        if not any(more) and (counts_pads or not any(map(any, pads))):
            return total
        ones = torch.ones_like(x[:1, :1])
        counted = (
            padded(padded(ones, pads, 1.0), [(0, extra) for extra in more]) if counts_pads else padded(ones, around)
        )
        return total / _means(counted, windows, kernel)

    return run


def _means(x: Tensor, windows: Windows, kernel: list[int]) -> Tensor:
    """The mean of each window, padding included."""
    rank, dilations = len(kernel), windows.dilations(len(kernel))
    if all(dilation == 1 for dilation in dilations):
        return MEANS[rank](x, kernel, windows.strides(rank))
    return unfolded(x, windows, kernel).mean(tuple(range(-rank, 0)))


def unfolded(x: Tensor, windows: Windows, kernel: list[int]) -> Tensor:
    """The elements of each window: ``[N, C, *windows, *kernel]``."""
    rank = len(kernel)
    for k, (extent, stride) in enumerate(zip(windows.extents(kernel), windows.strides(rank), strict=True)):
        x = x.unfold(2 + k, extent, stride)
    for k, dilation in enumerate(windows.dilations(rank)):
        x = x[(slice(None),) * (2 + rank + k) + (slice(None, None, dilation),)]
    return x


def _everywhere(x: Tensor) -> list[int]:
    return list(range(2, x.ndim))


operator("GlobalAveragePool", 1, 22)(lambda _: lambda _, x: x.mean(_everywhere(x), keepdim=True))
operator("GlobalMaxPool", 1, 22)(lambda _: lambda _, x: x.amax(_everywhere(x), keepdim=True))


@operator("LpPool", 2, 11, 18, 22)
def _lp_pool(spec: Spec) -> Run:
    windows, kernel, p = Windows.of(spec), list(spec.get("kernel_shape")), spec.get("p", 2)
    ceil = bool(spec.get("ceil_mode", 0)) if spec.version >= 18 else False

    def run(_: Context, x: Tensor) -> Tensor:
        pads = windows.pads(x.shape[2:], kernel)
        more = beyond(windows, x.shape[2:], kernel, pads, ceil=ceil)
        around = [(begin, end + extra) for (begin, end), extra in zip(pads, more, strict=True)]
        elements = unfolded(padded(x, around), windows, kernel)
        norm: Tensor = torch.linalg.vector_norm(elements, p, list(range(-len(kernel), 0)))
        return norm

    return run


@operator("GlobalLpPool", 2, 22)
def _global_lp_pool(spec: Spec) -> Run:
    p = spec.get("p", 2)
    return lambda _, x: torch.linalg.vector_norm(x, p, _everywhere(x), keepdim=True)
