"""Statistics of a batch that is spread over several processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Summed(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs, since each of them has the sum."""

    @staticmethod
    def forward(context: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:  # noqa: ANN401 (torch's own)
        context.group = group
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=context.group)
        return total, None


def batch_statistics(x: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, Tensor, float]:
    """Mean and biased variance of each channel over all processes, and over how many values.

    Args:
        x: ``[N, C, ...]``; N may differ from process to process.
        group: the processes.

    Returns:
        The mean ``[C]``, the variance ``[C]``, and the number of values of one channel.
    """
    axes = [axis for axis in range(x.ndim) if axis != 1]
    own = x.sum(axes)
    sums = _summed(torch.cat([own, own.new_full((1,), x.numel() // x.shape[1])]), group)
    mean, count = sums[:-1] / sums[-1], sums[-1]
    shape = [-1] + [1] * (x.ndim - 2)
    deviations = (x - mean.reshape(shape)).square().sum(axes)  # second, as a difference of squares would cancel
    return mean, _summed(deviations, group) / count, float(count.detach())


def _summed(values: Tensor, group: dist.ProcessGroup) -> Tensor:
    made: Tensor = _Summed.apply(values, group)  # type: ignore[no-untyped-call]
    return made
