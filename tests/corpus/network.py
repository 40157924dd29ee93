"""Graphs in ONNX text with two abbreviations, so that a case is one line.

- ``@W[4,3,3,3]`` is ``W``, an initializer of that shape, standard normal, seeded by its name; ``@+k[4]`` is positive.
- ``bn(c, 4)`` is ``BatchNormalization(c, ...)`` with parameters of its own over 4 channels. Scales have both signs and
  there is a shift; ``bnp``: positive scales and a shift; ``bns``: positive scales, no shift; ``bnn``: both signs, no
  shift; ``bnu``: one positive scale and one shift for all. ``bn<epsilon = 0.0>(c, 4)`` has attributes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, numpy_helper
from support import Array, statistics

Tensors: TypeAlias = dict[str, Any]
"""Initializers by name: arrays, or lists of integers (int64) or of floats (in the type of the graph)."""

KINDS: dict[str, npt.DTypeLike] = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
CONSTANT = re.compile(r"@(\+?)(\w+)\[([\d,]*)\]")
NORMALIZATION = re.compile(r"\bbn([psnu]?)(<[^>]*>)?\((\w+), (\d+)\)")


def network(
    nodes: str,
    x: str,
    *,
    y: str = "float[] y",
    opset: int = 20,
    ir: int = 10,
    kind: str = "float",
    statistics_kind: str = "",
    functions: str = "",
    constants: Mapping[str, npt.ArrayLike] | None = None,
    edit: Callable[[ModelProto], None] | None = None,
) -> ModelProto:
    """A model from abbreviated text; outputs get the shapes that onnx infers.

    Args:
        nodes: the body.
        x: the inputs with their types.
        y: the outputs with their types, ``[]`` for a shape that is to be inferred.
        opset: of the default domain.
        ir: the IR version.
        kind: the type of the constants.
        statistics_kind: the type of the parameters of BatchNormalizations, if another.
        functions: text of model-local functions, of the domain "own".
        constants: more initializers.
        edit: what text can not say.
    """
    tensors: dict[str, Array] = {}
    nodes = CONSTANT.sub(lambda match: _constant(match, tensors, KINDS[kind]), nodes)
    nodes = NORMALIZATION.sub(lambda match: _normalization(match, tensors, KINDS[statistics_kind or kind]), nodes)
    imports = f'["" : {opset}, "own" : 1]' if functions else f'["" : {opset}]'
    outputs = y.replace("float[]", f"{kind}[]")
    model = onnx.parser.parse_model(
        f"<ir_version: {ir}, opset_import: {imports}> g ({x}) => ({outputs}) {{ {nodes} }} {functions}"
    )
    for name, values in {**tensors, **(constants or {})}.items():
        model.graph.initializer.append(numpy_helper.from_array(_array(values, KINDS[kind]), name))
    if edit is not None:
        edit(model)
    _infer_outputs(model)
    return model


def _infer_outputs(model: ModelProto) -> None:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for entry, known in zip(model.graph.output, inferred.graph.output, strict=True):
        entry.CopyFrom(known)


def drawn(name: str, *shape: int, positive: bool = False, dtype: npt.DTypeLike = np.float32) -> Array:
    """The numbers of the constant of that name: none is close to zero, and no two shapes or names share any."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), *shape])
    size = rng.uniform(0.5, 1.5, shape)
    return np.asarray(size if positive else size * rng.choice([-1.0, 1.0], shape)).astype(dtype)


def _array(values: npt.ArrayLike, dtype: npt.DTypeLike) -> Array:
    """An array as it is; lists of integers as int64, lists of floats in the type of the graph."""
    made = np.asarray(values)
    return made.astype(dtype) if isinstance(values, list) and made.dtype == np.float64 else made


def _constant(match: re.Match[str], tensors: dict[str, Array], dtype: npt.DTypeLike) -> str:
    positive, name, dims = match.groups()
    assert name not in tensors, f"'{name}' is given a shape twice"
    shape = [int(size) for size in dims.split(",") if size]
    assert prod(shape) < 10_000, "the corpus is of small graphs"
    tensors[name] = drawn(name, *shape, positive=bool(positive), dtype=dtype)
    return name


def _normalization(match: re.Match[str], tensors: dict[str, Array], dtype: npt.DTypeLike) -> str:
    form, attributes, wire, size = match.groups()
    parameters = normalization_parameters(form, int(size), seed=len(tensors), dtype=dtype)
    names = [f"{wire}_{role}{len(tensors)}" for role in ("scale", "bias", "mean", "var")]
    tensors.update(zip(names, parameters, strict=True))
    return f"BatchNormalization{attributes or ''}({wire}, {', '.join(names)})"


def normalization_parameters(form: str, channels: int, *, seed: int, dtype: npt.DTypeLike) -> tuple[Array, ...]:
    """(scale, bias, mean, var) for one of the forms of ``bn``."""
    scale, bias, mean, var = statistics(channels, seed=seed, dtype=dtype, positive=form not in ("", "n"))
    if form in ("s", "n"):
        return scale, np.zeros_like(bias), np.zeros_like(mean), var
    if form == "u":
        return np.full_like(scale, 1.25), np.full_like(bias, 0.5), np.full_like(mean, -0.25), np.ones_like(var)
    return scale, bias, mean, var
