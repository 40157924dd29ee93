"""What is fed to a session: seeded inputs from the graph's own types and from what its operators need."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnfold.errors import ModelError
from bnfold.runtime import bfloat16
from bnfold.runtime.axes import shape_of
from bnfold.runtime.hints import Choice, Hint, Hints, Range
from bnfold.runtime.sessions import FLOATS, Port

Array: TypeAlias = NDArray[Any]

STRING = "string"

# ONNX indexes with int32 and int64 only, so the 8-bit types carry values (pixels, codes) and may use their whole range.
_INTEGERS = {"int8": (-128, 127), "uint8": (0, 255)} | dict.fromkeys(
    ("int16", "uint16", "int32", "uint32", "int64", "uint64"), (0, 1)
)
_MOST_ELEMENTS = 2**28  # of one input: 2 GiB while it is drawn
_MOST_AXES = 32  # as many as every numpy takes
_WORDS = ("red", "green", "blue", "one", "two", "three")
_SCALES = (1.0, 0.0625, 4.0)
_GOLDEN = 0.618  # steps of this share of a range meet it evenly, however many they are


def draw_inputs(
    ports: Iterable[Port],
    *,
    seed: int,
    draw: int,
    sizes: Mapping[str, int] | None = None,
    hints: Hints | None = None,
    default: int = 1,
    scale: float | None = None,
) -> dict[str, Array]:
    """Make one set of inputs, the same for the same seed and draw.

    Where the graph says nothing of an input: floats are standard normal times 1, 1/16 or 4 in turn, so that saturating
    operators are met on either side. 8-bit integers use their whole range, wider ones are 0 or 1, so that whatever is
    indexed by them holds such an index. A single bool takes turns, so that both branches of an If are met.

    Args:
        ports: The inputs of the graph.
        seed: Any number >= 0.
        draw: Which of the sets, from 0.
        sizes: Sizes of the open axes by `axis_key`; `find_sizes` finds them.
        hints: What the graph says of its inputs; `hints_of` finds it.
        default: The size of an open axis that is not in `sizes`.
        scale: Of the floats, instead of the one that it is the turn of.

    Raises:
        ModelError: An input is not a tensor of numbers, bools or strings, or is out of all size.
    """
    ports = tuple(ports)
    for port in ports:
        _refuse_endless(port, shape_of(port, sizes or {}, default))
    drawing = _Drawing(seed, draw, _SCALES[draw % len(_SCALES)] if scale is None else scale, sizes or {})
    return {
        port.name: drawing.array(port, shape_of(port, drawing.sizes, default), (hints or {}).get(port.name, ()))
        for port in ports
    }


def vary_inputs(feeds: Mapping[str, Array], *, seed: int) -> dict[str, Array]:
    """Make inputs that differ from the given ones but are as valid: same shapes, types, signs and magnitudes.

    The values of each float input are permuted and multiplied by factors from [0.5, 1.5). Integers and bools are
    left alone, as they may be indices or shapes, unless there is no float input: then they are permuted.
    """
    generator = np.random.default_rng([seed, 1])
    chosen = {name for name, array in feeds.items() if array.dtype.name in FLOATS} or set(feeds)
    return {name: _vary(generator, array) if name in chosen else array for name, array in feeds.items()}


def describe(feeds: Mapping[str, Array]) -> tuple[str, ...]:
    """Inputs in words, such as `"x float32[2, 3, 32, 32]"`, one per input."""
    return tuple(f"{name} {type_of(array.dtype)}{list(array.shape)}" for name, array in feeds.items())


def type_of(dtype: np.dtype[Any]) -> str:
    """An element type as `Port.dtype` spells it."""
    return STRING if dtype.kind in "UO" else dtype.name


def _refuse_endless(port: Port, shape: tuple[int, ...]) -> None:
    if prod(shape) > _MOST_ELEMENTS or len(shape) > _MOST_AXES:
        raise ModelError(
            f"input {port.name!r} is {port.dtype}{list(shape[:_MOST_AXES])}, too large to draw values for; "
            "pass real ones with --data"
        )


class _Drawing:
    """One set of inputs in the making."""

    def __init__(self, seed: int, draw: int, scale: float, sizes: Mapping[str, int]) -> None:
        self.generator = np.random.default_rng([seed, draw])
        self.seed = seed
        self.draw = draw
        self.scale = scale
        self.sizes = sizes

    def array(self, port: Port, shape: tuple[int, ...], hints: Sequence[Hint]) -> Array:
        """The values of one input."""
        choices = [hint for hint in hints if isinstance(hint, Choice)]
        if choices:
            return self._chosen(port, shape, choices)
        bounds = _bounds([hint for hint in hints if isinstance(hint, Range)], self.sizes, shape)
        if bounds is not None and port.dtype != STRING:
            return self._within(port, shape, *bounds)
        return self._free(port, shape)

    def _free(self, port: Port, shape: tuple[int, ...]) -> Array:
        """Values of which only the type is known."""
        if port.dtype in FLOATS:
            return np.asarray(self.generator.standard_normal(shape) * self.scale).astype(_numpy_dtype(port))
        if port.dtype in _INTEGERS:
            low, high = _INTEGERS[port.dtype]
            return np.asarray(self.generator.integers(low, high, shape, endpoint=True)).astype(port.dtype)
        if port.dtype == "bool":
            bits = np.asarray(self.generator.integers(0, 2, shape))
            return (np.full(shape, self.draw % 2 == 0) if bits.size == 1 else bits).astype(bool)
        if port.dtype == STRING:
            return np.asarray(self.generator.choice(np.array(_WORDS, object), shape), object)
        raise ModelError(f"input {port.name!r} is {port.dtype}, for which no values can be drawn")

    def _chosen(self, port: Port, shape: tuple[int, ...], choices: Sequence[Choice]) -> Array:
        """Values that every reader knows; those of the first one where they have none in common."""
        common = [value for value in choices[0].values if all(value in choice.values for choice in choices)]
        values = np.array(common or choices[0].values, object)
        dtype = object if port.dtype == STRING else _numpy_dtype(port)
        return np.asarray(self.generator.choice(values, shape)).astype(dtype)

    def _within(self, port: Port, shape: tuple[int, ...], low: Array, high: Array) -> Array:
        """Numbers from `low` to `high`, whole ones where the bounds are: then a short range is met in full."""
        if port.dtype in FLOATS and not _whole(low, high):
            return np.asarray(self.generator.uniform(low, high, shape)).astype(_numpy_dtype(port))
        low, high = _as_integers(port, low, high)
        values = low + self._spread(port, shape, high - low + 1)
        return np.asarray(values).astype(_numpy_dtype(port))

    def _spread(self, port: Port, shape: tuple[int, ...], span: Array) -> Array:
        """Whole numbers in [0, span), each as often as any other, in an order that no two draws in a row share."""
        generator = np.random.default_rng([self.seed, zlib.crc32(port.name.encode())])
        count = prod(shape)
        places = (generator.permutation(count).reshape(shape) + generator.uniform(0, 1, shape)) / max(
            count, 1
        )  # [0, 1)
        step = np.maximum((span * _GOLDEN).astype(np.int64), 1)
        return np.asarray(((places * span).astype(np.int64) + self.draw * step) % span)


def _bounds(ranges: Sequence[Range], sizes: Mapping[str, int], shape: tuple[int, ...]) -> tuple[Array, Array] | None:
    """What all ranges allow; `None` where none of them says anything of values of this shape."""
    resolved = [found for one in ranges if (found := one.resolve(sizes, shape)) is not None]
    if not resolved:
        return None
    low, high = resolved[0]
    for other_low, other_high in resolved[1:]:
        low, high = np.maximum(low, other_low), np.minimum(high, other_high)
    return np.minimum(low, high), high


def _whole(low: Array, high: Array) -> bool:
    """Whether the range is one of whole numbers."""
    return np.issubdtype(low.dtype, np.integer) and np.issubdtype(high.dtype, np.integer)


def _as_integers(port: Port, low: Array, high: Array) -> tuple[Array, Array]:
    """The whole numbers of a range that the type holds."""
    if port.dtype in _INTEGERS:
        info = np.iinfo(port.dtype)
        least, most = max(info.min, -(2**31)), min(info.max, 2**31 - 1)
        low, high = np.clip(low, least, most), np.clip(high, least, most)
    low, high = np.ceil(low).astype(np.int64), np.floor(high).astype(np.int64)
    return low, np.maximum(low, high)


def _vary(generator: np.random.Generator, array: Array) -> Array:
    permuted = generator.permutation(array.reshape(-1)).reshape(array.shape)
    if array.dtype.name not in FLOATS:
        return permuted
    return np.asarray(permuted.astype(np.float64) * generator.uniform(0.5, 1.5, array.shape)).astype(array.dtype)


def _numpy_dtype(port: Port) -> np.dtype[Any]:
    return bfloat16.dtype() if port.dtype == bfloat16.NAME else np.dtype(port.dtype)
