"""The rules: what each operator does with an affine map. Importing this package fills the registry."""

from bnfold.ops import joining, layout, linear, pointwise, pooling, resampling

__all__ = ["joining", "layout", "linear", "pointwise", "pooling", "resampling"]
