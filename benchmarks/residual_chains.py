"""Conv, Relu, an affine, an operator that lets it pass, a zero-padded Conv: every form that the affine can have there.

All forms of a scenario compute the same, but for the bound, which has no shift at all: what no form can be faster than.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from onnx import ModelProto
from residual_net import (
    Array,
    Laid,
    Net,
    Numbers,
    Written,
    add_only,
    channels_first,
    channels_last,
    max_only,
    mul_add,
    normalization,
    nothing,
    numbers,
    sub_mul_add,
    weights,
)

Between: TypeAlias = Callable[[Net, str], str]
PADS = [1, 1, 1, 1]
BOUND = "bound: no shift"


@dataclass(frozen=True)
class Size:
    """`batch` images of `height` x `height`; channels of the input, between the convolutions, of the output."""

    batch: int
    channels: tuple[int, int, int]
    height: int

    def __str__(self) -> str:
        first, second, third = self.channels
        return f"{self.batch}x {first}-{second}-{third} {self.height}²"


@dataclass(frozen=True)
class Chain:
    """One form of the affine.

    Attributes:
        before: what stands of it in front of the operator between the convolutions.
        behind: what stands of it behind that operator.
        inner: what stands of it behind the Transpose to channels first, in front of the second Conv.
        first: whether the first Conv takes the affine, and the Relu goes into a Max.
        second: whether the second Conv takes the scale.
        border: whether what the shift makes of the second Conv's output is added as a constant.
    """

    before: Written = nothing
    behind: Written = nothing
    inner: Written = nothing
    first: bool = False
    second: bool = False
    border: bool = False


BEFORE: dict[str, Chain] = {
    "BN": Chain(before=normalization),
    "Mul, Add": Chain(before=mul_add),
    "Sub, Mul, Add": Chain(before=sub_mul_add),
    "Add": Chain(before=add_only, second=True),
    "Max": Chain(before=max_only, first=True),
}
BEHIND: dict[str, Chain] = {
    "BN": Chain(behind=normalization),
    "Mul, Add": Chain(behind=mul_add),
    "Add": Chain(behind=add_only, second=True),
    "Max": Chain(behind=max_only, first=True),
}
BORDER: dict[str, Chain] = {"border map": Chain(second=True, border=True), BOUND: Chain(second=True)}


def elsewhere(chains: Mapping[str, Chain]) -> dict[str, Chain]:
    """The same forms where the tensor is smaller, under the names that say so."""
    return {f"{name}, fewer": chain for name, chain in chains.items()}


def max_pool(net: Net, wire: str) -> str:
    """A quarter of the elements."""
    return net.add("MaxPool", wire, kernel_shape=[2, 2], strides=[2, 2])


def average_pool(net: Net, wire: str) -> str:
    """A quarter of the elements."""
    return net.add("AveragePool", wire, kernel_shape=[2, 2], strides=[2, 2])


def strided_slice(net: Net, wire: str) -> str:
    """Every second row and column."""
    ends = np.full(2, np.iinfo(np.int64).max)
    return net.add("Slice", wire, np.zeros(2, np.int64), ends, np.array([2, 3]), np.array([2, 2]))


def upsample(net: Net, wire: str) -> str:
    """Four times the elements."""
    scales = np.array([1, 1, 2, 2], np.float32)
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return net.add("Resize", wire, "", scales, **nearest)


def straight(net: Net, wire: str) -> str:
    """Nothing between."""
    return wire


SPACE: dict[Between, float] = {max_pool: 0.5, average_pool: 0.5, strided_slice: 0.5, upsample: 2.0, straight: 1.0}
"""By how much the height changes."""


@dataclass(frozen=True)
class Pair:
    """Two convolutions with something between.

    Attributes:
        layout: that of the wires; channels last has Transposes around each Conv, as Keras 3 exports it.
        between: the operator that lets the affine pass.
        stride: of the second Conv.
        chains: the forms; the first is what the others are compared with.
    """

    layout: Literal["NCHW", "NHWC"]
    between: Between
    stride: int
    chains: Mapping[str, Chain]

    def build(self, size: Size) -> dict[str, ModelProto]:
        """A model of that size for every form."""
        return {name: self._model(chain, size) for name, chain in self.chains.items()}

    def _model(self, chain: Chain, size: Size) -> ModelProto:
        net, affine = Net(), numbers(size.channels[1])
        laid: Laid = channels_first if self.layout == "NCHW" else channels_last
        wire = self._first(net, chain, size, affine)
        if not chain.first:
            wire = net.add("Relu", wire)
        wire = chain.before(net, wire, affine, laid)
        wire = self._around(net, wire, self.between)
        wire = chain.behind(net, wire, affine, laid)
        spatial = (size.height, size.height)
        rest = (*spatial, size.channels[0]) if self.layout == "NHWC" else (size.channels[0], *spatial)
        return net.model((size.batch, *rest), self._second(net, wire, chain, size, affine))

    def _around(self, net: Net, wire: str, between: Between) -> str:
        """An operator that wants channels first."""
        if self.layout == "NCHW" or between is straight:
            return between(net, wire)
        inner = between(net, net.add("Transpose", wire, perm=[0, 3, 1, 2]))
        return net.add("Transpose", inner, perm=[0, 2, 3, 1])

    def _first(self, net: Net, chain: Chain, size: Size, affine: Numbers) -> str:
        inner, outer = size.channels[:2]
        weight, bias = weights(outer, inner, 3, 3, seed=1), weights(outer, 1, 1, seed=2).reshape(-1)
        if chain.first:
            weight, bias = weight * affine.scale.reshape(-1, 1, 1, 1), bias * affine.scale + affine.shift
        return self._around(net, "x", lambda net, wire: net.add("Conv", wire, weight, bias, pads=PADS))

    def _second(self, net: Net, wire: str, chain: Chain, size: Size, affine: Numbers) -> str:
        inner, outer = size.channels[1:]
        weight, bias = weights(outer, inner, 3, 3, seed=3), weights(outer, 1, 1, seed=4).reshape(-1)
        height = int(size.height * SPACE[self.between])
        border = border_map(weight, affine.shift, height, self.stride) + bias.reshape(-1, 1, 1)
        if chain.second:
            weight = weight * affine.scale.reshape(1, -1, 1, 1)
        strides = {"pads": PADS, "strides": [self.stride, self.stride]}

        def convolve(net: Net, wire: str) -> str:
            wire = chain.inner(net, wire, affine, channels_first)
            if not chain.border:
                return net.add("Conv", wire, weight, bias, **strides)
            return net.add("Add", net.add("Conv", wire, weight, **strides), border[None])

        return self._around(net, wire, convolve)


def border_map(weight: Array, shift: Array, height: int, stride: int) -> Array:
    """What a Conv with pads 1 makes of a constant image: `[O, H', H']`."""
    taps = np.einsum("oihw,i->ohw", weight, shift)  # [O, 3, 3]
    seen = np.array([[0 <= row + tap - 1 < height for tap in range(3)] for row in range(0, height, stride)])
    return np.asarray(np.einsum("ohw,yh,xw->oyx", taps, seen * 1.0, seen * 1.0))
