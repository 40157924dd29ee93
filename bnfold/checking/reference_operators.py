"""onnx.reference in float64: with operators of our own where its are slow, wrong, or round to float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from bnfold.checking.reference_convolutions import Conv, ConvTranspose
from bnfold.checking.reference_pools import (
    AveragePool,
    GlobalAveragePool,
    GlobalLpPool,
    GlobalMaxPool,
    LpPool,
    MaxPool,
)
from bnfold.checking.reference_resize import Resize
from bnfold.checking.reference_windows import Array, Attribute


class BatchNormalization(OpRun):
    """By the formula of the specification, in training mode too (ONNX BatchNormalization-9 to BatchNormalization-15).

    onnx.reference can not be asked: in opset 9 to 13 it takes a `momentum`, which every node has by default, for
    training mode; in 7 and 8 it fails.
    """

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, bias: Array, mean: Array, var: Array, **attributes: Attribute
    ) -> tuple[Array, ...]:
        epsilon = np.float64(np.float32(1e-5 if attributes.get("epsilon") is None else attributes["epsilon"]))
        if not attributes.get("training_mode"):
            return (_normalized(x, scale, bias, mean, var + epsilon),)
        momentum = np.float64(np.float32(0.9 if attributes.get("momentum") is None else attributes["momentum"]))
        axes = (0, *range(2, x.ndim))
        now = x.mean(axes), x.var(axes)
        running = (old * momentum + new * (1 - momentum) for old, new in zip((mean, var), now, strict=True))
        return (_normalized(x, scale, bias, now[0], now[1] + epsilon), *running)[: len(self.onnx_node.output)]


def _normalized(x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
    shape = (-1,) + (1,) * (x.ndim - 2)  # [C] -> [C, 1, ..., 1]
    scale, bias, mean, var = (values.reshape(shape) for values in (scale, bias, mean, var))
    return np.asarray(scale * (x - mean) / np.sqrt(var) + bias)


class GroupNormalization(OpRun):
    """Scale and bias per group or per channel (ONNX GroupNormalization-18 and -21).

    onnx.reference has it as a function that can not be made where no type is inferred, as in bodies.
    """

    op_domain = ""

    def _run(self, x: Array, scale: Array, bias: Array, **attributes: Attribute) -> tuple[Array]:
        groups, channels = int(attributes["num_groups"]), x.shape[1]
        rows = x.reshape(x.shape[0], groups, -1)  # [N, C, *S] -> [N, G, C/G * S]
        epsilon = np.float64(np.float32(1e-5 if attributes.get("epsilon") is None else attributes["epsilon"]))
        spread = np.sqrt(rows.var(2, keepdims=True) + epsilon)
        normalized = ((rows - rows.mean(2, keepdims=True)) / spread).reshape(x.shape)
        shape = (-1,) + (1,) * (x.ndim - 2)  # [C] -> [C, 1, ..., 1]
        scale, bias = (np.repeat(values, channels // values.size).reshape(shape) for values in (scale, bias))
        return (np.asarray(scale * normalized + bias),)


class Upsample(OpRun):
    """Nearest, by whole factors (ONNX Upsample-7 and -9)."""

    op_domain = ""

    def _run(self, x: Array, scales: Array | Sequence[float] | None = None, **attributes: Attribute) -> tuple[Array]:
        for axis, factor in enumerate(attributes["scales"] if scales is None else scales):
            if factor != round(float(factor)):
                raise ValueError(f"a factor of {factor} is not a whole number")
            x = np.repeat(x, round(float(factor)), axis=axis)
        return (x,)


class DequantizeLinear(OpRun):
    """One scale, or one per place along an axis, or per block of it (ONNX DequantizeLinear-10, 13, 19, 21, 23, 25).

    In the type of the scale, whatever `output_dtype` says: in a graph that was made float64, that is float64.
    """

    op_domain = ""

    def _run(self, x: Array, scale: Array, zero: Array | None = None, **attributes: Attribute) -> tuple[Array]:
        axis = 1 if attributes.get("axis") is None else int(attributes["axis"])
        block = int(attributes.get("block_size") or 0)
        wide = x.astype(np.float64) - (0 if zero is None else _laid(zero.astype(np.float64), x.shape, axis, block))
        return ((wide * _laid(scale, x.shape, axis, block)).astype(scale.dtype),)


def _laid(values: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """Scales or zero points so that they broadcast against integers of that shape."""
    if block:
        repeated = np.repeat(values, block, axis=axis)
        return repeated.take(range(shape[axis]), axis=axis)  # the last block may be a part of one
    if values.size == 1:
        return values.reshape(())
    laid = [1] * len(shape)
    laid[axis] = values.size
    return values.reshape(laid)  # [d_axis] -> [1, ..., d_axis, ..., 1]


OPERATORS: list[type[OpRun]] = [
    AveragePool,
    BatchNormalization,
    Conv,
    ConvTranspose,
    DequantizeLinear,
    GlobalAveragePool,
    GlobalLpPool,
    GlobalMaxPool,
    GroupNormalization,
    LpPool,
    MaxPool,
    Resize,
    Upsample,
]


class Evaluator(ReferenceEvaluator):
    """With these operators in functions too, where onnx.reference forgets what it was given."""

    def __init__(self, proto: Any, **given: Any) -> None:  # noqa: ANN401 - a model, a graph or a function, or its file
        super().__init__(proto, **{**given, "new_ops": OPERATORS})
