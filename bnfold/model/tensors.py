"""TensorProto to numpy and back: float64 in, one rounding out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from bnfold.errors import ModelError
from bnfold.model.external import is_external, is_reference, read
from bnfold.model.references import read_reference, size_of_tensor

Array: TypeAlias = npt.NDArray[Any]

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
"""The types in which bnfold computes weights: those that Conv, Gemm and MatMul take as floating point numbers."""

_PLAIN: dict[int, np.dtype[Any]] = {
    kind: np.dtype(helper.tensor_dtype_to_np_dtype(kind)).newbyteorder("<")
    for kind in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
}
"""Types whose stored bytes are numpy's own, where the machine is little-endian as the format is."""

_EXTERNAL = TensorProto.EXTERNAL
_KNOWN = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}

_DATA_FIELDS = (
    "raw_data",
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
    "external_data",
    "data_location",
    "segment",
)


MOST_AXES = 32
"""As many as every numpy that bnfold supports takes."""

_UNCHECKED = 2**20
"""Whether a tensor of so many elements holds them is only looked at when it is read."""


def believable_shape(tensor: TensorProto) -> tuple[int, ...]:
    """The shape that the tensor declares.

    Raises:
        ModelError: no tensor has such a shape, or the bytes can not be as many as that needs: 2 bits are the least that
            an element takes.
    """
    shape = tuple(tensor.dims[:])
    elements = prod(shape)
    if len(shape) > MOST_AXES or min(shape, default=0) < 0:
        raise ModelError(f"tensor '{tensor.name}' does not hold what it declares: no tensor has the shape {shape[:64]}")
    if elements > _UNCHECKED and not is_external(tensor) and elements > 4 * size_of_tensor(tensor):
        raise ModelError(f"tensor '{tensor.name}' does not hold what it declares: {elements} elements, {shape}")
    return shape


def to_array(tensor: TensorProto, base_dir: Path | None) -> Array:
    """The tensor's values in its own type.

    Args:
        tensor: inline or external.
        base_dir: the folder that external locations are relative to.

    Raises:
        ExternalDataError: the file that holds the values can not be read.
        ModelError: shape and bytes disagree.
    """
    data, plain = None, _PLAIN.get(tensor.data_type)
    if tensor.data_location == _EXTERNAL:
        # onnx's own reading writes into the tensor up to 1.22, and follows no symbolic link from then on.
        data = read_reference(tensor) if is_reference(tensor) else read(tensor, base_dir or Path())
    elif plain is not None:
        data = tensor.raw_data  # once: each access is a copy
    try:
        if plain is not None and data:  # read-only, and not copied as by onnx
            return np.frombuffer(data, plain).reshape(tensor.dims[:])
        if data or tensor.data_location == _EXTERNAL:  # onnx would look for the file itself, and in another folder
            tensor = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=data)
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"tensor '{tensor.name}' does not hold what it declares: {error}") from error


def round_to(values: Array, elem_type: int) -> Array:
    """Float64 `values` rounded once, to nearest even, to the ONNX element type.

    numpy's own conversion is used where it rounds once. ml_dtypes goes from float64 to bfloat16 by way of float32,
    which rounds twice: so the way there is a float32 rounded to odd, after which rounding again does no harm
    (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
    """
    with np.errstate(over="ignore", under="ignore"):  # overflow is looked for by the caller and refused
        if elem_type == TensorProto.BFLOAT16:
            return _to_float32_odd(values).astype(ml_dtypes.bfloat16)
        return values.astype(helper.tensor_dtype_to_np_dtype(elem_type))


def _to_float32_odd(values: Array) -> npt.NDArray[np.float32]:
    """Float64 to float32, rounded towards zero and made odd where anything was cut off."""
    wide = np.asarray(values, np.float64)
    narrow = wide.astype(np.float32)
    beyond = np.abs(narrow.astype(np.float64)) > np.abs(wide)
    narrow = np.where(beyond, np.nextafter(narrow, np.float32(0)), narrow)
    inexact = np.isfinite(wide) & (narrow.astype(np.float64) != wide)
    bits = np.asarray(narrow, order="C").view(np.uint32)
    odd: npt.NDArray[np.float32] = (bits | inexact.astype(np.uint32)).view(np.float32)
    return odd


def from_array(values: Array, elem_type: int, name: str) -> TensorProto:
    """A tensor of float64 `values`, rounded once to `elem_type`, shape ``values.shape``."""
    return numpy_helper.from_array(np.asarray(round_to(values, elem_type), order="C"), name)


def with_values(tensor: TensorProto, values: Array) -> TensorProto:
    """A copy of `tensor` that holds float64 `values`; name, type, doc string and metadata stay, unknown fields too."""
    rounded = np.asarray(round_to(values, tensor.data_type), order="C")
    is_plain = tensor.data_type in _PLAIN and sys.byteorder == "little"
    copy = without_values(tensor)
    copy.raw_data = rounded.tobytes() if is_plain else numpy_helper.from_array(rounded, tensor.name).raw_data
    return copy


def without_values(tensor: TensorProto) -> TensorProto:
    """A copy of `tensor` that says all but its numbers, and where they lie."""
    copy = TensorProto()
    copy.CopyFrom(tensor)
    for field in _DATA_FIELDS:
        copy.ClearField(field)
    return copy


@cache
def smallest_normal(elem_type: int) -> float:
    """The smallest positive number that has the type's full precision."""
    return float(_finfo(elem_type).smallest_normal)


@cache
def largest(elem_type: int) -> float:
    """The largest finite number of the type."""
    return float(_finfo(elem_type).max)


@cache
def keeps_range(elem_type: int) -> bool:
    """Whether the type has float32's range of exponents, so that a trained scale does not leave it below."""
    return float(_finfo(elem_type).smallest_normal) <= float(np.finfo(np.float32).smallest_normal)


def _finfo(elem_type: int) -> Any:  # noqa: ANN401 (ml_dtypes.finfo is untyped)
    finfo: Callable[[Any], Any] = ml_dtypes.finfo
    return finfo(helper.tensor_dtype_to_np_dtype(elem_type))


@cache
def item_size(elem_type: int) -> int:
    """How many bytes an element takes in memory; 0 for a type that the installed onnx does not know."""
    return 0 if elem_type not in _KNOWN else int(helper.tensor_dtype_to_np_dtype(elem_type).itemsize)


def type_name(elem_type: int) -> str:
    """The type as ONNX spells it in text: ``float16``, ``int64``, ..."""
    if elem_type not in TensorProto.DataType.values():
        return f"number {elem_type}"
    return str(TensorProto.DataType.Name(elem_type)).lower()
