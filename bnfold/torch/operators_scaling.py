"""Normalizations that do the same in training: over an instance, a layer, a group, or neighbouring channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.values import Context

HALVES = frozenset({torch.float16, torch.bfloat16})


def widened(x: Tensor) -> Tensor:
    """The tensor in the type that statistics are computed in: a half one in float32 (`stash_type` 1)."""
    return x.to(torch.float32) if x.dtype in HALVES else x


def standardized(x: Tensor, axes: list[int], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """``(x - mean) / sqrt(var + epsilon)``, with the mean, and one by the deviation."""
    mean = x.mean(axes, keepdim=True)
    inverse = torch.rsqrt(x.var(axes, unbiased=False, keepdim=True) + epsilon)
    return (x - mean) * inverse, mean, inverse


def _refuse_other_stash_types(spec: Spec) -> None:
    stash_type = spec.get("stash_type", 1)
    spec.refuse_unless(stash_type == 1, f"has a stash_type {stash_type} that has no translation to torch")


def _per_channel(values: Tensor, rank: int) -> Tensor:
    return values.reshape([-1] + [1] * (rank - 2))


@operator("InstanceNormalization", 6, 22)
def _instance_normalization(spec: Spec) -> Run:
    epsilon = spec.get("epsilon", 1e-5)

    def run(_: Context, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        y = standardized(x, list(range(2, x.ndim)), epsilon)[0]
        return y * _per_channel(scale, x.ndim) + _per_channel(bias, x.ndim)

    return run


@operator("LayerNormalization", 17)
def _layer_normalization(spec: Spec) -> Run:
    _refuse_other_stash_types(spec)
    axis, epsilon = spec.get("axis", -1), spec.get("epsilon", 1e-5)
    gives_statistics = spec.has_output(1) or spec.has_output(2)

    def run(_: Context, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        shape = x.shape[axis % x.ndim :]
        if not gives_statistics and scale.shape == shape and (bias is None or bias.shape == shape):
            return F.layer_norm(x, shape, scale, bias, epsilon)
        y, mean, inverse = standardized(widened(x), list(range(axis % x.ndim, x.ndim)), epsilon)
        y = y.to(x.dtype) * scale
        return (y if bias is None else y + bias), mean, inverse

    return run


@operator("RMSNormalization", 23)
def _rms_normalization(spec: Spec) -> Run:
    _refuse_other_stash_types(spec)
    axis, epsilon = spec.get("axis", -1), spec.get("epsilon", 1e-5)

    def run(_: Context, x: Tensor, scale: Tensor) -> Tensor:
        wide = widened(x)
        square = wide.square().mean(list(range(axis % x.ndim, x.ndim)), keepdim=True)
        return (wide * torch.rsqrt(square + epsilon)).to(x.dtype) * scale

    return run


@operator("GroupNormalization", 18, 21)
def _group_normalization(spec: Spec) -> Run:
    """Scale and bias are per group in version 18, per channel from 21 on."""
    if spec.version >= 21:
        _refuse_other_stash_types(spec)
    groups, epsilon = spec.get("num_groups"), spec.get("epsilon", 1e-5)

    def run(_: Context, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        grouped = widened(x).reshape(x.shape[0], groups, -1)
        y = standardized(grouped, [2], epsilon)[0].reshape(x.shape).to(x.dtype)
        if scale.shape[0] != x.shape[1]:
            scale, bias = (values.repeat_interleave(x.shape[1] // groups) for values in (scale, bias))
        return y * _per_channel(scale, x.ndim) + _per_channel(bias, x.ndim)

    return run


@operator("MeanVarianceNormalization", 9, 13)
def _mean_variance_normalization(spec: Spec) -> Run:
    axes = list(spec.get("axes") or (0, 2, 3))

    def run(_: Context, x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)

    return run


@operator("LpNormalization", 1, 22)
def _lp_normalization(spec: Spec) -> Run:
    axis, p = spec.get("axis", -1), spec.get("p", 2)

    def run(_: Context, x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, p, axis, keepdim=True)
        return torch.where(norm == 0, torch.zeros_like(x), x / norm)

    return run


@operator("LRN", 1, 13)
def _lrn(spec: Spec) -> Run:
    """Over `size` channels around each one; of an even size, one more behind it than in front."""
    alpha, beta, bias = spec.get("alpha", 1e-4), spec.get("beta", 0.75), spec.get("bias", 1.0)
    size = spec.get("size")

    def run(_: Context, x: Tensor) -> Tensor:
        around = [0, 0] * (x.ndim - 2) + [(size - 1) // 2, size // 2]
        total = F.pad(x.square(), around).unfold(1, size, 1).sum(-1)
        return torch.div(x, (total * (alpha / size) + bias).pow(beta))

    return run
