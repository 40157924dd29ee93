"""Conv, ConvTranspose, Gemm, MatMul."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.values import Context
from bnfold.torch.windows import Pads, Windows, halves, is_symmetric, padded

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


@operator("Conv", 1, 11, 22)
def _conv(spec: Spec) -> Run:
    """x: [N, C, *s], w: [O, C/group, *k], b: [O]."""
    windows, group = Windows.of(spec), spec.get("group", 1)
    spec.get("kernel_shape")  # the weight has it

    def run(_: Context, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        rank, kernel = x.ndim - 2, w.shape[2:]
        pads = windows.pads(x.shape[2:], kernel)
        own = [begin for begin, _ in pads] if is_symmetric(pads) else 0
        x = x if is_symmetric(pads) else padded(x, pads)
        return CONVOLUTIONS[rank](x, w, b, windows.strides(rank), own, windows.dilations(rank), group)

    return run


@operator("ConvTranspose", 1, 11, 22)
def _conv_transpose(spec: Spec) -> Run:
    """x: [N, C, *s], w: [C, O/group, *k], b: [O]. Output: ``stride * (s - 1) + output_padding + extent - pads``."""
    windows, group = Windows.of(spec), spec.get("group", 1)
    wanted, extra = spec.get("output_shape"), spec.get("output_padding")
    spec.get("kernel_shape")

    def run(_: Context, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        rank, kernel = x.ndim - 2, w.shape[2:]
        strides, dilations, after = windows.strides(rank), windows.dilations(rank), extra or [0] * rank
        pads = _pads_of_transposed(windows, x.shape[2:], kernel, after, wanted)
        if is_symmetric(pads) and not any(after):
            return TRANSPOSED[rank](x, w, b, strides, [begin for begin, _ in pads], 0, group, dilations)
        full = TRANSPOSED[rank](x, w, None, strides, 0, 0, group, dilations)
        y = padded(full, [(-begin, more - end) for (begin, end), more in zip(pads, after, strict=True)])
        return y if b is None else y + b.reshape([-1] + [1] * rank)

    return run


def _pads_of_transposed(
    windows: Windows, sizes: torch.Size, kernel: torch.Size, after: list[int], wanted: list[int] | None
) -> Pads:
    """What is cut off at begin and end of each axis; from the output's shape where that is given or automatic."""
    if wanted is None and windows.auto_pad in {"NOTSET", "VALID"}:
        return windows.pads(sizes, kernel)
    strides = windows.strides(len(kernel))
    wanted = wanted or [size * stride for size, stride in zip(sizes, strides, strict=True)]
    full = [
        stride * (size - 1) + more + extent
        for size, stride, more, extent in zip(sizes, strides, after, windows.extents(kernel), strict=True)
    ]
    at_end = windows.auto_pad == "SAME_UPPER"
    return [halves(size - target, more_at_end=at_end) for size, target in zip(full, wanted[-len(full) :], strict=True)]


@operator("Gemm", 7, 9, 11, 13)
def _gemm(spec: Spec) -> Run:
    """Y = alpha * A' B' + beta * C, A': [M, K], B': [K, N], C broadcasts to [M, N]."""
    alpha, beta = spec.get("alpha", 1.0), spec.get("beta", 1.0)
    turn_a, turn_b = spec.get("transA", 0), spec.get("transB", 0)

    def run(_: Context, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if turn_a else a
        if c is not None and c.ndim == 1 and alpha == beta == 1.0 and c.shape[0] == b.shape[0 if turn_b else 1]:
            return F.linear(a, b if turn_b else b.t(), c)
        y = a @ (b.t() if turn_b else b)
        y = y if alpha == 1.0 else y * alpha
        return y if c is None else y + (c if beta == 1.0 else c * beta)

    return run


@operator("MatMul", 1, 9, 13)
def _matmul(_: Spec) -> Run:
    return lambda _, a, b: torch.matmul(a, b)
