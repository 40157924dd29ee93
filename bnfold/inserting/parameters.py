"""The numbers of a BatchNormalization that is put in: such that the function stays what it is, or for a fresh start.

    identity     scale 1, bias 0, mean 0, variance 1 - epsilon:  (x - 0) / sqrt(1) * 1 + 0 = x
    calibrated   mean and variance of the data, scale = sqrt(variance + epsilon), bias = mean: x again, and the forward
                 in training mode gives x as well, up to how the statistics of a batch differ from those of all data
    reset        mean and variance of the data, scale 1, bias 0: the normalized value, for training from scratch

Identity is exact in float32: variance + epsilon rounds to 1, whose root is 1. In float64 both are exact before any
rounding; in float16 and bfloat16 the variance rounds to 1, and 1 / sqrt(1 + epsilon) moves x by less than half of what
those types resolve, so that it rounds back to x.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from bnfold.model.tensors import largest, round_to

Vector: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Parameters:
    """The four vectors of a BatchNormalization, [C] each, in float64."""

    scale: Vector
    bias: Vector
    mean: Vector
    variance: Vector

    def tensors(self, names: tuple[str, str, str, str], elem_type: int) -> list[TensorProto]:
        """The vectors as initializers in the order of the operator's inputs, rounded once."""
        vectors = (self.scale, self.bias, self.mean, np.minimum(self.variance, largest(elem_type)))
        return [tensor_of(vector, name, elem_type) for vector, name in zip(vectors, names, strict=True)]


def identity(channels: int, epsilon: float, elem_type: int) -> Parameters:
    """Parameters with which y = x, exactly.

    Args:
        channels: how many.
        epsilon: as the node has it, a float32.
        elem_type: the type that the parameters will be rounded to.
    """
    ones, zeros = np.ones(channels), np.zeros(channels)
    return Parameters(ones, zeros, zeros, np.full(channels, _one_less(epsilon, elem_type)))


def calibrated(mean: Vector, variance: Vector, epsilon: float, elem_type: int) -> Parameters:
    """Parameters with which y = x, and with which the normalized value has mean 0 and variance 1 over the data.

    A variance beyond the type's range (of float16: a deviation of 256) is taken for its largest number. Inference gives
    x all the same, and the normalized value is larger than it would be.
    """
    held = round_to(np.minimum(variance, largest(elem_type)), elem_type).astype(np.float64)
    return Parameters(_undoing(held, epsilon, elem_type), mean, mean, variance)


def reset(mean: Vector, variance: Vector) -> Parameters:
    """Parameters with which y is the normalized value."""
    return Parameters(np.ones_like(mean), np.zeros_like(mean), mean, variance)


def tensor_of(values: npt.NDArray[np.float64], name: str, elem_type: int) -> TensorProto:
    """A tensor of numbers rounded once to an element type."""
    rounded = round_to(values, elem_type)
    if elem_type == TensorProto.BFLOAT16:
        return helper.make_tensor(name, elem_type, values.shape, rounded.tobytes(), raw=True)
    return numpy_helper.from_array(rounded, name)


def _undoing(variance: Vector, epsilon: float, elem_type: int) -> Vector:
    """sqrt(variance + epsilon), or a neighbour whose product with 1 / sqrt(variance + epsilon) rounds to 1.

    Runtimes multiply the scale by the reciprocal first. Where that is 1 the whole normalization gives back x to the
    last bit; one ulp beside it, a network with many layers is off by more than its own rounding.
    """
    kind = np.dtype(np.float64 if elem_type == TensorProto.DOUBLE else np.float32)
    root = np.sqrt(variance.astype(kind) + np.asarray(np.float32(epsilon), kind))
    reciprocal = (1 / root).astype(kind)
    best, off = root, np.abs(root * reciprocal - 1)
    for candidate in _neighbours(root):
        distance = np.abs(candidate * reciprocal - 1)
        best, off = np.where(distance < off, candidate, best), np.minimum(distance, off)
    return np.asarray(best, np.float64)


def _neighbours(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """The two numbers above and the two below each value, in its own type."""
    for towards in (np.inf, 0):
        near = np.nextafter(values, values.dtype.type(towards))
        yield near
        yield np.nextafter(near, values.dtype.type(towards))


def _one_less(epsilon: float, elem_type: int) -> float:
    """A number of that type that gives 1 when epsilon is added in that type's arithmetic, or in float32 if narrower."""
    wide = np.float64 if elem_type == TensorProto.DOUBLE else np.float32
    kind = wide(np.float32(epsilon))
    below = wide(1) - kind
    for candidate in (below, np.nextafter(below, wide(1)), np.nextafter(below, wide(0))):
        if candidate + kind == wide(1):
            return float(candidate)
    raise AssertionError(f"no number gives 1 with {epsilon}")
