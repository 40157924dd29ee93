"""What is fed to a session: seeded inputs from the graph's own types, sizes for its open axes, inputs from a file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnfold.errors import ModelError, UsageError
from bnfold.runtime import bfloat16
from bnfold.runtime.sessions import FLOATS, Port, Session

Array: TypeAlias = NDArray[Any]

# ONNX indexes with int32 and int64 only, so the 8-bit types carry values (pixels, codes) and may use their whole range.
_INTEGERS = {"int8": (-128, 127), "uint8": (0, 255)} | dict.fromkeys(
    ("int16", "uint16", "int32", "uint32", "int64", "uint64"), (0, 1)
)
_SCALES = (1.0, 0.0625, 4.0)
_BATCHES = (2, 1)
_SIZES = (32, 64, 224, 16, 8, 4, 2, 1)
_MOST_ELEMENTS = 2**26  # of all inputs together; five open axes of 224 would not fit any memory


def draw_inputs(
    ports: Iterable[Port], *, seed: int, draw: int, sizes: Mapping[str, int] | None = None, default: int = 1
) -> dict[str, Array]:
    """Make one set of inputs, the same for the same seed and draw.

    Floats are standard normal times 1, 1/16 or 4 in turn, so that saturating operators are met on either side. 8-bit
    integers use their whole range, wider ones are 0 or 1, so that whatever is indexed by them holds such an index.

    Args:
        ports: The inputs of the graph.
        seed: Any number >= 0.
        draw: Which of the sets, from 0.
        sizes: Sizes of the open axes by `axis_key`; `find_sizes` finds them.
        default: The size of an open axis that is not in `sizes`.

    Raises:
        ModelError: An input is not a tensor of numbers.
    """
    generator = np.random.default_rng([seed, draw])
    scale = _SCALES[draw % len(_SCALES)]
    return {port.name: _draw(generator, port, _shape(port, sizes or {}, default), scale) for port in ports}


def vary_inputs(feeds: Mapping[str, Array], *, seed: int) -> dict[str, Array]:
    """Make inputs that differ from the given ones but are as valid: same shapes, types, signs and magnitudes.

    The values of each float input are permuted and multiplied by factors from [0.5, 1.5). Integers and bools are
    left alone, as they may be indices or shapes, unless there is no float input: then they are permuted.
    """
    generator = np.random.default_rng([seed, 1])
    chosen = {name for name, array in feeds.items() if array.dtype.name in FLOATS} or set(feeds)
    return {name: _vary(generator, array) if name in chosen else array for name, array in feeds.items()}


def find_sizes(session: Session, *, seed: int) -> dict[str, int]:
    """Find sizes for the open axes of a graph with which it really runs.

    The first axis of an input is taken for the batch: 2, else 1. All other open axes get one common size, the first of
    32, 64, 224, 16, 8, 4, 2, 1 that runs. Axes of one name have one size everywhere.

    Returns:
        A size per `axis_key`; empty when every axis is fixed.

    Raises:
        ModelError: The model runs with none of them; the text carries onnxruntime's last reason.
    """
    reason = "all of them make inputs that are too large"
    for sizes in _assignments(session.inputs):
        try:
            session.run(draw_inputs(session.inputs, seed=seed, draw=0, sizes=sizes))
        except ModelError as error:
            reason = str(error)
        else:
            return sizes
    raise ModelError(f"no inputs found on which {session.label} runs; pass real ones with --data (last try: {reason})")


def load_inputs(path: str | os.PathLike[str], ports: Sequence[Port]) -> dict[str, Array]:
    """Read one set of inputs from a .npz file that holds an array per input name; further arrays are ignored.

    Raises:
        UsageError: The file can not be read, or an array is missing or has another element type or shape.
    """
    arrays = _read_npz(path)
    return {port.name: _fit(port, arrays, path) for port in ports}


def describe(feeds: Mapping[str, Array]) -> tuple[str, ...]:
    """Inputs in words, such as `"x float32[2, 3, 32, 32]"`, one per input."""
    return tuple(f"{name} {array.dtype.name}{list(array.shape)}" for name, array in feeds.items())


def axis_key(port: Port, axis: int) -> str:
    """The name of an open axis: its symbol, or `"input[axis]"` where the model gives none."""
    symbol = port.shape[axis]
    return symbol if isinstance(symbol, str) and symbol else f"{port.name}[{axis}]"


def _shape(port: Port, sizes: Mapping[str, int], default: int) -> tuple[int, ...]:
    return tuple(
        size if isinstance(size, int) else sizes.get(axis_key(port, axis), default)
        for axis, size in enumerate(port.shape)
    )


def _draw(generator: np.random.Generator, port: Port, shape: tuple[int, ...], scale: float) -> Array:
    if port.dtype in FLOATS:
        return np.asarray(generator.standard_normal(shape) * scale).astype(_numpy_dtype(port))
    if port.dtype in _INTEGERS:
        low, high = _INTEGERS[port.dtype]
        return np.asarray(generator.integers(low, high, shape, endpoint=True)).astype(port.dtype)
    if port.dtype == "bool":
        return np.asarray(generator.integers(0, 2, shape)).astype(bool)
    raise ModelError(f"input {port.name!r} is {port.dtype}, for which no values can be drawn; pass real inputs")


def _vary(generator: np.random.Generator, array: Array) -> Array:
    permuted = generator.permutation(array.reshape(-1)).reshape(array.shape)
    if array.dtype.name not in FLOATS:
        return permuted
    return np.asarray(permuted.astype(np.float64) * generator.uniform(0.5, 1.5, array.shape)).astype(array.dtype)


def _numpy_dtype(port: Port) -> np.dtype[Any]:
    return bfloat16.dtype() if port.dtype == bfloat16.NAME else np.dtype(port.dtype)


def _assignments(ports: Sequence[Port]) -> Iterator[dict[str, int]]:
    """All sizes worth a try, best first; a single empty one when no axis is open."""
    axes = [(axis_key(port, axis), axis) for port in ports for axis, size in enumerate(port.shape) if not _fixed(size)]
    batch = {key for key, axis in axes if axis == 0}
    others = {key for key, _ in axes} - batch
    for first in _BATCHES if batch else (1,):
        for size in _SIZES if others else (1,):
            sizes = dict.fromkeys(sorted(batch), first) | dict.fromkeys(sorted(others), size)
            if sum(prod(_shape(port, sizes, 1)) for port in ports) <= _MOST_ELEMENTS or not axes:
                yield sizes


def _fixed(size: int | str | None) -> bool:
    return isinstance(size, int)


def _read_npz(path: str | os.PathLike[str]) -> dict[str, Array]:
    try:
        # numpy leaves a file that it opened itself open when the archive in it turns out to be broken.
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.lib.npyio.NpzFile):
                return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"the inputs {os.fspath(path)} can not be read as an .npz file: {error}") from error
    raise UsageError(f"the inputs {os.fspath(path)} hold one bare array; save them with numpy.savez(path, name=array)")


def _fit(port: Port, arrays: Mapping[str, Array], path: str | os.PathLike[str]) -> Array:
    where = f"in {os.fspath(path)}"
    if port.name not in arrays:
        present = ", ".join(map(repr, arrays)) or "nothing"
        raise UsageError(f"input {port.name!r} is missing {where}, which holds {present}")
    array = _restored(port, arrays[port.name])
    if array.dtype.name != port.dtype:
        raise UsageError(f"input {port.name!r} {where} has the wrong type: expected {port.dtype}, got {array.dtype}")
    if not _shape_fits(port.shape, array.shape):
        expected = ", ".join("?" if size is None else str(size) for size in port.shape)
        raise UsageError(
            f"input {port.name!r} {where} has the wrong shape: expected [{expected}], got {list(array.shape)}"
        )
    return array


def _restored(port: Port, array: Array) -> Array:
    """The .npy format keeps the bytes of a bfloat16 array and forgets its type."""
    if port.dtype == bfloat16.NAME and array.dtype == np.dtype("V2"):
        return array.view(bfloat16.dtype())
    return array


def _shape_fits(expected: tuple[int | str | None, ...], actual: tuple[int, ...]) -> bool:
    if not expected:  # a scalar, or an unknown rank
        return True
    return len(expected) == len(actual) and all(
        size == other for size, other in zip(expected, actual, strict=True) if isinstance(size, int)
    )
