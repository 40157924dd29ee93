"""Sums, means and extrema along axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bnfold.torch.axes import axes_of, normalized
from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.values import Context, Host

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.sum(x, axes, keepdim=keep, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.mean(x, axes, keepdim=keep)


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in reversed(axes):
        x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
    return x


def _extremum(function: Callable[..., Tensor]) -> Reduction:
    """Of nothing, it is the type's own other end."""

    def reduce(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        if 0 not in [x.shape[axis] for axis in axes]:
            return function(x, axes, keepdim=keep)
        shape = [1 if k in axes else size for k, size in enumerate(x.shape)]
        full = x.new_full(shape, _neutral(x.dtype, is_maximum=function is torch.amax))
        return full if keep else full.reshape([size for k, size in enumerate(shape) if k not in axes])

    return reduce


def _neutral(dtype: torch.dtype, *, is_maximum: bool) -> float | int | bool:
    """What changes no maximum (minimum)."""
    if dtype == torch.bool:
        return not is_maximum
    if dtype.is_floating_point:
        return -torch.inf if is_maximum else torch.inf
    return torch.iinfo(dtype).min if is_maximum else torch.iinfo(dtype).max


REDUCTIONS: dict[str, tuple[Reduction, int, tuple[int, ...]]] = {
    "ReduceSum": (_sum, 13, (1, 11, 13)),
    "ReduceMean": (_mean, 18, (1, 11, 13, 18)),
    "ReduceProd": (_product, 18, (1, 11, 13, 18)),
    "ReduceMax": (_extremum(torch.amax), 18, (1, 11, 12, 13, 18, 20)),
    "ReduceMin": (_extremum(torch.amin), 18, (1, 11, 12, 13, 18, 20)),
    "ReduceL1": (lambda x, axes, keep: _sum(x.abs(), axes, keep), 18, (1, 11, 13, 18)),
    "ReduceL2": (lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep), 18, (1, 11, 13, 18)),
    "ReduceSumSquare": (lambda x, axes, keep: _sum(x * x, axes, keep), 18, (1, 11, 13, 18)),
    "ReduceLogSum": (lambda x, axes, keep: _sum(x, axes, keep).log(), 18, (1, 11, 13, 18, 28)),
    "ReduceLogSumExp": (lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep), 18, (1, 11, 13, 18, 28)),
}
"""Per operator: the function, the version from which on the axes are an input, and its versions."""


def _reduction(function: Reduction, input_since: int) -> Callable[[Spec], Run]:
    def build(spec: Spec) -> Run:
        axes, keep = axes_of(spec, input_since=input_since), bool(spec.get("keepdims", 1))
        leaves = bool(spec.get("noop_with_empty_axes", 0)) if spec.version >= input_since else False

        def run(_: Context, x: Tensor, given: Tensor | Host | None = None) -> Tensor:
            chosen = axes(given) or ([] if leaves else list(range(x.ndim)))
            return function(x, normalized(chosen, x.ndim), keep) if chosen else x

        return run

    return build


for _name, (_function, _since, _versions) in REDUCTIONS.items():
    operator(_name, *_versions, numbers=(1,))(_reduction(_function, _since))
