"""Weights and biases in integers: types, layouts of scales, and what lies between them and the operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from support import Array

from random_quantized.drawer import Drawer

KINDS: dict[str, tuple[Any, int, int, int]] = {
    "int8": (np.int8, 10, -100, 100),
    "uint8": (np.uint8, 10, 0, 200),
    "int4": (ml_dtypes.int4, 21, -8, 7),
    "uint4": (ml_dtypes.uint4, 21, 0, 15),
    "int16": (np.int16, 21, -100, 100),
    "int32": (np.int32, 10, -3000, 3000),
}
"""Type, the opset that brought it to DequantizeLinear, and the range to draw from."""
OF_WEIGHTS = ("int8", "int8", "uint8", "int4", "uint4", "int16")
BETWEEN = (*["Transpose"] * 5, "Identity", "Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Scales:
    """The scales of a constant, float64: one, or one per place along an axis of it; None where they lie otherwise."""

    values: Array | None
    axis: int | None = None


@dataclass
class Path:
    """From integers to the constant that is wanted.

    Attributes:
        shape: that of the integers.
        order: per axis of the constant, which axis of the integers it is; None where that can not be said.
        steps: the operators, with constants and attributes.
    """

    shape: list[int]
    order: list[int] | None
    steps: list[tuple[str, list[Any], dict[str, Any]]]


def weight(d: Drawer, shape: list[int]) -> tuple[str, Scales]:
    """A weight of that shape, and its scales."""
    path = _path(d, shape)
    scales, attributes, axis = _scales(d, path.shape)
    if d.chance(0.08):
        scales = np.asarray(scales * d.rng.integers(-1, 2, scales.shape))
    narrow = d.opset >= 19 and d.chance(0.15)
    scales = scales.astype(np.float16 if narrow else d.dtype)
    name = _dequantized(d, path, str(d.pick(*_known(d))), scales, attributes)
    wide = scales.astype(np.float64)
    if axis is None:
        return name, Scales(wide)
    return name, Scales(None) if path.order is None or wide.ndim != 1 else Scales(wide, path.order.index(axis))


def bias(
    d: Drawer, shape: list[int], axis: int, scale: float | None, of: Scales, along: int, groups: int = 1
) -> list[str]:
    """None, one in floats, or one in integers, mostly with the scale of the products.

    Args:
        d: the graph.
        shape: that of the bias.
        axis: the axis of the bias on which the outputs lie.
        scale: that of the input, where it comes in integers.
        of: the scales of the weight.
        along: the axis of the weight on which the outputs lie.
        groups: how often they are repeated over the outputs.
    """
    how = d.pick("none", "float", "int", "int", "int", "int")
    if how == "none":
        return []
    if how == "float":
        return [d.store(d.numbers(*shape))]
    path = _path(d, shape)
    step = float(d.rng.uniform(0.01, 0.03)) if scale is None or of.values is None or d.chance(0.05) else scale
    values = np.asarray(step * (0.02 if of.values is None or of.axis not in (None, along) else of.values))
    if values.size > 1:
        values = np.tile(values, groups)
    if d.opset >= 13 and len(path.shape) == 2 and d.chance(0.1):
        along = int(d.rng.integers(2))
        return [
            _dequantized(d, path, "int32", np.full(path.shape[along], values.reshape(-1)[0], d.dtype), {"axis": along})
        ]
    if values.size == 1 or path.order is None or d.opset < 13 or values.size != shape[axis]:
        return [_dequantized(d, path, "int32", values.reshape(-1)[0].astype(d.dtype), {})]
    return [_dequantized(d, path, "int32", values.reshape(-1).astype(d.dtype), {"axis": path.order[axis]})]


def _known(d: Drawer) -> list[str]:
    return [name for name in OF_WEIGHTS if KINDS[name][1] <= d.opset]


def _dequantized(d: Drawer, path: Path, kind: str, scales: Array, attributes: dict[str, Any]) -> str:
    dtype, _, low, high = KINDS[kind]
    integers = d.store(d.rng.integers(low, high, path.shape, endpoint=True).astype(dtype))
    inputs = [integers if d.chance(0.95) else d.add("Identity", integers), d.store(scales)]
    if kind == "int32":
        inputs += [d.store(np.zeros(scales.shape, dtype))] if d.chance(0.1) else []
    elif d.chance(0.5):
        zeros = d.rng.integers(low // 4, high // 4, () if d.chance(0.2) else scales.shape)
        inputs += [d.store(np.broadcast_to(zeros, scales.shape).astype(dtype))]
    says_type = d.opset >= 23 and scales.dtype != d.dtype and d.chance(0.5)
    value = d.add("DequantizeLinear", *inputs, **attributes, **({"output_dtype": d.kind} if says_type else {}))
    if scales.dtype != d.dtype and not says_type:
        value = d.add("Cast", value, to=d.kind)
    for op_type, given, how in path.steps:
        value = d.add(op_type, value, *(d.store(np.array(values, np.int64)) for values in given), **how)
    return value


def _scales(d: Drawer, shape: list[int]) -> tuple[Array, dict[str, Any], int | None]:
    """(scales, attributes, the axis of the integers that they lie along)."""
    layout, rank = d.pick("tensor", "tensor", "one", "axis", "axis", "axis", "blocks"), len(shape)
    if layout == "axis" and d.opset >= 13 and rank:
        axis = int(d.rng.integers(min(rank, 2) if d.chance(0.9) else rank))
        values = np.full(shape[axis], 0.02) if d.chance(0.15) else d.rng.uniform(0.01, 0.03, shape[axis])
        return values, {"axis": axis - rank if d.chance(0.2) else axis}, axis if shape[axis] > 1 else None
    if layout == "blocks" and d.opset >= 21 and rank:
        axis, block = int(d.rng.integers(rank)), int(d.rng.integers(1, 4))
        sizes = [-(-size // block) if k == axis else size for k, size in enumerate(shape)]
        return d.rng.uniform(0.01, 0.03, sizes), {"axis": axis, "block_size": block}, axis
    return np.full([1] if layout == "one" else [], d.rng.uniform(0.01, 0.03)), {}, None


def _path(d: Drawer, shape: list[int]) -> Path:
    """Nothing mostly, or one operator or two."""
    path = Path(list(shape), list(range(len(shape))), [])
    for _ in range(int(d.pick(0, 0, 0, 1, 1, 2))):
        _STEPS[str(d.pick(*BETWEEN))](d, path)
    return path


def _transpose(d: Drawer, path: Path) -> None:
    perm = [int(k) for k in d.rng.permutation(len(path.shape))]
    if not perm:
        return
    path.steps.insert(
        0, ("Transpose", [], {} if perm == sorted(perm, reverse=True) and d.chance(0.5) else {"perm": perm})
    )
    path.shape = [path.shape[int(k)] for k in np.argsort(perm)]
    path.order = None if path.order is None else [perm[axis] for axis in path.order]


def _identity(d: Drawer, path: Path) -> None:
    path.steps.insert(0, ("Identity", [], {}))


def _cast(d: Drawer, path: Path) -> None:
    path.steps.insert(0, ("Cast", [], {"to": d.kind}))


def _reshape(d: Drawer, path: Path) -> None:
    if path.shape:
        path.steps.insert(0, ("Reshape", [path.shape], {}))
        rows = path.shape[0]
        path.shape, path.order = (
            d.pick([rows, int(np.prod(path.shape[1:]))], path.shape[::-1], [int(np.prod(path.shape))]),
            None,
        )


def _squeeze(d: Drawer, path: Path) -> None:
    axis = int(d.rng.integers(len(path.shape) + 1))
    path.steps.insert(0, _with_axis(d, "Squeeze", axis))
    path.shape, path.order = [*path.shape[:axis], 1, *path.shape[axis:]], None


def _unsqueeze(d: Drawer, path: Path) -> None:
    if 1 in path.shape:
        axis = path.shape.index(1)
        path.steps.insert(0, _with_axis(d, "Unsqueeze", axis))
        path.shape, path.order = [*path.shape[:axis], *path.shape[axis + 1 :]], None


def _with_axis(d: Drawer, op_type: str, axis: int) -> tuple[str, list[Any], dict[str, Any]]:
    return (op_type, [[axis]], {}) if d.opset >= 13 else (op_type, [], {"axes": [axis]})


_STEPS: dict[str, Any] = {
    "Transpose": _transpose,
    "Identity": _identity,
    "Cast": _cast,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
