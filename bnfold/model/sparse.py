"""Sparse tensors, written out dense: a Constant node's ``sparse_value`` and a graph's ``sparse_initializer``."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from onnx import SparseTensorProto, TensorProto

from bnfold.errors import ModelError
from bnfold.model.tensors import Array, to_array

MAX_DENSE = 2**26
"""A sparse tensor of more elements than this is not written out: a file of a few bytes could fill the memory."""


def dense_shape(sparse: SparseTensorProto) -> tuple[int, ...] | None:
    """The shape; None where the tensor is not to be written out: too large, or of text."""
    shape = tuple(int(size) for size in sparse.dims)
    if any(size < 0 for size in shape) or prod(shape) > MAX_DENSE:
        return None
    return None if sparse.values.data_type == TensorProto.STRING else shape


def to_dense(sparse: SparseTensorProto, base_dir: Path | None) -> Array:
    """The tensor's values in its own type, zeros written out.

    Given: values ``[n]``, and either the places in the flat tensor ``[n]`` or the coordinates ``[n, rank]``.

    Raises:
        ExternalDataError: a file that holds a part of it can not be read.
        ModelError: the parts do not fit each other, or name a place twice or outside of the tensor.
    """
    shape = tuple(int(size) for size in sparse.dims)
    values, indices = to_array(sparse.values, base_dir), to_array(sparse.indices, base_dir)
    places = _places(indices, values, shape)
    if places is None:
        raise ModelError(
            f"sparse tensor '{sparse.values.name}' is damaged: its indices {indices.shape} do not say where each of "
            f"its values {values.shape} lies in {shape}"
        )
    dense = np.zeros(prod(shape), values.dtype)
    dense[places] = values
    return dense.reshape(shape)


def _places(indices: Array, values: Array, shape: tuple[int, ...]) -> Array | None:
    """Where each value lies in the flat tensor, ``[n]``; None where that is not said for each of them alone."""
    if values.ndim != 1 or indices.dtype != np.int64 or indices.shape not in {values.shape, (values.size, len(shape))}:
        return None
    sizes = (prod(shape),) if indices.ndim == 1 else shape
    coordinates = indices.reshape(values.size, len(sizes)).T  # [n] -> [1, n]; [n, rank] -> [rank, n]
    if any(np.any((along < 0) | (along >= size)) for along, size in zip(coordinates, sizes, strict=True)):
        return None
    strides = [prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    places = sum((along * stride for along, stride in zip(coordinates, strides, strict=True)), np.zeros(1, np.int64))
    return np.broadcast_to(places, values.shape) if np.unique(places).size == values.size else None
