"""Constants: what numbers they have, and in which of the ways that exporters know they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from support import Array

from random_graphs.builder import Builder, dtype


def vector(b: Builder, *shape: int, kind: int | None = None) -> str:
    """Numbers of both signs, none of them small."""
    return constant(b, b.rng.uniform(0.25, 1.5, shape) * b.rng.choice([-1.0, 1.0], shape), kind)


def positive(b: Builder, *shape: int, kind: int | None = None) -> str:
    """Numbers around one."""
    return constant(b, b.rng.uniform(0.5, 1.5, shape), kind)


def weight(b: Builder, *shape: int, terms: int, kind: int | None = None) -> str:
    """Weights of a sum of that many terms, so that the sum stays near one."""
    kind = b.kind if kind is None else kind
    values = b.rng.uniform(0.3, 1.5, shape) * b.rng.choice([-1.0, 1.0], shape) / np.sqrt(max(terms, 1))
    if (
        b.opset >= 10
        and not b.in_function
        and kind == TensorProto.FLOAT
        and len(shape) >= 2
        and b.chance(b.whole.quantized)
    ):
        return _dequantized(b, values)
    return constant(b, values, kind)


def constant(b: Builder, values: Array, kind: int | None = None) -> str:
    """The numbers in some form, or other ones of that shape that the graph has already."""
    kind = b.kind if kind is None else kind
    values = np.asarray(values, np.float64)
    key = (values.shape, kind, _sort(values))
    known = _visible(b, key)
    if known and b.chance(b.whole.shared):
        return str(b.pick(*known))
    rounded = values.astype(dtype(kind))
    name = _written(b, rounded, kind)
    b.shared.setdefault(key, []).append(name)
    return name


def _sort(values: Array) -> str:
    """Numbers of one sort may stand for each other: what was to be positive, or not zero, stays so."""
    if (values > 0).all():
        return "positive"
    return "any" if (values != 0).all() else "zeros"


def _visible(b: Builder, key: tuple[tuple[int, ...], int, str]) -> list[str]:
    """The constants of that kind in this scope and those around it."""
    outer = [] if b.outer is None else _visible(b.outer, key)
    return outer + b.shared.get(key, [])


def _written(b: Builder, values: Array, kind: int) -> str:
    if b.in_function:
        return b.in_node(values)
    if b.chance(b.whole.simple):
        return b.stored(values)
    forms: list[Callable[[Builder, Array, int], str]] = [
        lambda b, v, _: b.in_node(v),
        lambda b, v, _: b.derived("Identity", [b.stored(v)]),
        _halves,
        _reshaped,
        _transposed,
        _cast,
        _filled,
        _negated,
        _overridable,
    ]
    form: Callable[[Builder, Array, int], str] = b.pick(*forms)
    return form(b, values, kind)


def _reshaped(b: Builder, values: Array, _: int) -> str:
    shape = b.integers(values.shape)
    return b.derived("Reshape", [b.stored(values.reshape(-1)), shape])


def _halves(b: Builder, values: Array, _: int) -> str:
    """A sum of constants."""
    if b.kind == TensorProto.BFLOAT16:
        return b.stored(values)
    half = (values / 2).astype(values.dtype)  # numpy 1 widens what has no axes
    return b.derived("Add", [b.stored(half), b.stored(half)])


def _transposed(b: Builder, values: Array, _: int) -> str:
    perm = [int(k) for k in b.rng.permutation(values.ndim)]
    back = [int(k) for k in np.argsort(perm)]
    if values.ndim < 2:
        return b.stored(values)
    return b.derived("Transpose", [b.stored(np.ascontiguousarray(values.transpose(perm)))], perm=back)


def _cast(b: Builder, values: Array, kind: int) -> str:
    """From the wider type of which the constant is a rounding; every number is one of `kind` already."""
    return b.derived("Cast", [b.stored(values.astype(np.float64))], to=kind)


def _filled(b: Builder, values: Array, kind: int) -> str:
    """The same number everywhere, its sign and size those of the first."""
    if b.opset < 9 or not values.size:
        return b.stored(values)
    tensor = helper.make_tensor("value", kind, [1], [float(values.reshape(-1)[0])])
    if kind == TensorProto.BFLOAT16:
        tensor = numpy_helper.from_array(values.reshape(-1)[:1], "value")
    return b.derived("ConstantOfShape", [b.integers(values.shape)], value=tensor)


def _negated(b: Builder, values: Array, kind: int) -> str:
    if b.opset < 13 and kind not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
        return b.stored(values)
    return b.derived("Neg", [b.stored(-values)])


def _overridable(b: Builder, values: Array, _: int) -> str:
    """An initializer that is a graph input too, so that a caller may override it: no constant, for a fold."""
    home = b
    while home.outer is not None:
        home = home.outer
    if home.in_function or not b.chance(0.3):
        return b.stored(values)
    name = b.whole.name("o")
    home.initializers.append(numpy_helper.from_array(values, name))
    b.whole.overridable.append(name)
    return name


def _dequantized(b: Builder, values: Array) -> str:
    """Integers behind DequantizeLinear, one scale for all or one for each index of an axis."""
    axis = b.number(0, min(values.ndim - 1, 1))
    per_axis = b.opset >= 13 and b.chance(0.6)
    scales = np.asarray(np.abs(values).max() / 100, np.float32)
    if per_axis:
        scales = np.asarray(
            np.abs(values).max(axis=tuple(k for k in range(values.ndim) if k != axis)) / 100, np.float32
        )
    zeros = b.rng.integers(-3, 4, scales.shape).astype(np.int8)
    laid = [-1 if k == axis else 1 for k in range(values.ndim)] if per_axis else []
    integers = np.clip(np.round(values / scales.reshape(laid)) + zeros.reshape(laid), -128, 127).astype(np.int8)
    inputs = [b.stored(integers, "q"), b.stored(scales, "qs")]
    inputs += [b.stored(zeros, "z")] if b.chance(0.5) else []
    b.whole.used.append("DequantizeLinear")
    return b.derived("DequantizeLinear", inputs, **({"axis": axis} if per_axis else {}))


def laid(size: int, axis: int, rank: int) -> list[int]:
    """The shape of a vector along one axis: ``[1, ..., size, ..., 1]``."""
    return [size if k == axis else 1 for k in range(rank)]


def product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=np.int64))
