"""The rules: what each operator does with an affine map. Importing this package fills the registry."""

from bnfold.ops import (
    affines,
    cropping,
    extremes,
    joining,
    layout,
    linear,
    linear_push,
    normalizing,
    normalizing_push,
    parallel,
    pointwise,
    pooling,
    recurrent,
    replacing,
    resampling,
    selecting,
)

__all__ = [
    "affines",
    "cropping",
    "extremes",
    "joining",
    "layout",
    "linear",
    "linear_push",
    "normalizing",
    "normalizing_push",
    "parallel",
    "pointwise",
    "pooling",
    "recurrent",
    "replacing",
    "resampling",
    "selecting",
]
