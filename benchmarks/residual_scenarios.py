"""The scenarios of the residual benchmark: which forms, in which layout, at which sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from onnx import ModelProto
from residual_chains import (
    BEFORE,
    BEHIND,
    BORDER,
    BOUND,
    Chain,
    Pair,
    Size,
    average_pool,
    elsewhere,
    max_pool,
    straight,
    strided_slice,
    upsample,
)
from residual_net import normalization
from residual_others import (
    Dense,
    between_barriers,
    in_a_dense_block,
    in_a_sequence,
    in_rows,
    joined,
    on_an_input,
    several_readers,
)

AnySize: TypeAlias = Size | Dense
EXACT_BUT = frozenset({BOUND})
"""Forms that do not compute the same."""


@dataclass(frozen=True)
class Scenario:
    """Where an affine stays.

    Attributes:
        name: what is around it.
        layout: that of the wire.
        build: the forms at a size; the first is what the others are compared with.
        sizes: what is measured in full.
        small: what the tests build.
    """

    name: str
    layout: str
    build: Callable[[AnySize], Mapping[str, ModelProto]]
    sizes: tuple[AnySize, ...]
    small: AnySize

    @property
    def label(self) -> str:
        """Name and layout."""
        return f"{self.name}, {self.layout}"


IMAGES = (
    Size(1, (3, 32, 64), 32),
    Size(32, (3, 32, 64), 32),
    Size(1, (64, 64, 64), 56),
    Size(8, (16, 16, 16), 112),
)
MORE_IMAGES = (*IMAGES, Size(8, (3, 32, 64), 32), Size(32, (64, 64, 64), 14), Size(1, (3, 32, 64), 224))
BLOCKS = (
    Size(1, (224, 32, 64), 56),
    Size(1, (32, 96, 64), 28),
    Size(1, (96, 32, 64), 14),
    Size(1, (992, 32, 64), 7),
    Size(1, (32, 20, 64), 28),
    Size(1, (200, 20, 64), 56),
)
"""The last two are not multiples of what onnxruntime's layout puts together: its Concat is outside of that."""
SMALLER = tuple(Size(size.batch, size.channels, size.height // 2) for size in IMAGES)
SEQUENCES = (Dense(128, 256, 1), Dense(128, 256, 8), Dense(128, 64, 32), Dense(256, 768, 1))
ROWS = (Dense(1, 256), Dense(32, 256), Dense(128, 1024), Dense(1024, 64))


def _pair(name: str, pair: Pair, sizes: tuple[Size, ...] = IMAGES) -> Scenario:
    def build(size: AnySize) -> Mapping[str, ModelProto]:
        assert isinstance(size, Size)
        return pair.build(size)

    return Scenario(name, pair.layout, build, sizes, Size(2, (3, 4, 5), 6))


def _images(name: str, forms: Callable[[Size], Mapping[str, ModelProto]], sizes: tuple[Size, ...] = IMAGES) -> Scenario:
    def build(size: AnySize) -> Mapping[str, ModelProto]:
        assert isinstance(size, Size)
        return forms(size)

    return Scenario(name, "NCHW", build, sizes, Size(2, (3, 4, 5), 6))


def _dense(
    name: str, layout: str, forms: Callable[[Dense], Mapping[str, ModelProto]], sizes: tuple[Dense, ...], small: Dense
) -> Scenario:
    def build(size: AnySize) -> Mapping[str, ModelProto]:
        assert isinstance(size, Dense)
        return forms(size)

    return Scenario(name, layout, build, sizes, small)


def _some(chains: Mapping[str, Chain], *names: str) -> dict[str, Chain]:
    return {name: chains[name] for name in names}


PADDED = {**BEFORE, **BORDER}
STRIDED = {**_some(BEFORE, "BN", "Add", "Max"), **BORDER}
REDUCED = {**_some(BEFORE, "BN", "Mul, Add", "Add", "Max"), **elsewhere(BEHIND), **BORDER}
AVERAGED = {name: chain for name, chain in REDUCED.items() if name != "Max, fewer"}
"""A maximum does not pass an average."""
UPSAMPLED = {**BEHIND, **elsewhere(_some(BEFORE, "BN", "Mul, Add", "Add", "Max")), **BORDER}
WRITTEN = {
    **_some(BEFORE, "Sub, Mul, Add", "Mul, Add", "Add", "Max"),
    "BN, axis 1": Chain(inner=normalization),
    **BORDER,
}
WRITTEN_REDUCED = {**WRITTEN, **elsewhere(_some(BEHIND, "Mul, Add", "Add", "Max"))}

SCENARIOS: tuple[Scenario, ...] = (
    _pair("Conv Relu _ Conv(pads)", Pair("NCHW", straight, 1, PADDED), MORE_IMAGES),
    _pair("Conv Relu _ Conv(pads, strides 2)", Pair("NCHW", straight, 2, STRIDED)),
    _pair("Conv Relu _ MaxPool Conv(pads)", Pair("NCHW", max_pool, 1, REDUCED)),
    _pair("Conv Relu _ AveragePool Conv(pads)", Pair("NCHW", average_pool, 1, AVERAGED)),
    _pair("Conv Relu _ strided Slice Conv(pads)", Pair("NCHW", strided_slice, 1, REDUCED)),
    _pair("Conv Relu Resize _ Conv(pads)", Pair("NCHW", upsample, 1, UPSAMPLED), SMALLER),
    _images("Concat(Conv, Conv Relu) _ Conv(pads)", joined),
    _images("Concat(MaxPool, Conv) _ Relu Conv", in_a_dense_block, BLOCKS),
    _images("Conv Relu _ three Convs(pads)", several_readers),
    _images("input _ Conv(pads) Relu", on_an_input),
    _images("Relu _ Relu", between_barriers),
    _pair("Conv Relu _ Conv(pads)", Pair("NHWC", straight, 1, WRITTEN)),
    _pair("Conv Relu _ MaxPool Conv(pads)", Pair("NHWC", max_pool, 1, WRITTEN_REDUCED)),
    _dense("MatMul Add Relu _ Relu MatMul", "NTC", in_a_sequence, SEQUENCES, Dense(3, 4, 2)),
    _dense("Gemm Relu _ Relu Gemm", "NC", in_rows, ROWS, Dense(3, 4)),
)
