"""The largest magnitudes of a constant. A stored one is read once for it, block by block, however often it is asked."""

from __future__ import annotations

import weakref
from typing import TypeAlias

import numpy as np

from bnfold.model.constant import Constant
from bnfold.model.references import Source
from bnfold.model.stored import Shape, Stored, blocks
from bnfold.model.tensors import Array

_Key: TypeAlias = tuple[int, int, Shape, tuple[int, ...]]
"""Offset, element type, shape and axes."""

_KNOWN: weakref.WeakKeyDictionary[Source, dict[_Key, Array]] = weakref.WeakKeyDictionary()
"""What was found out of the arrays in a source, whose bytes never change."""

_OF_HELD: weakref.WeakKeyDictionary[Constant, dict[tuple[int, ...], Array]] = weakref.WeakKeyDictionary()
"""What was found out of arrays that are computed and held: thousands of operators may share one."""


def largest_magnitudes(constant: Constant, axes: tuple[int, ...]) -> Array:
    """The largest magnitudes along axes, which stay with size 1: float64; NaN where one is.

    Raises:
        ExternalDataError, ModelError: the constant can not be read.
    """
    stored = constant.locate()
    if stored is None and constant.is_held:
        held = _OF_HELD.setdefault(constant, {})
        if axes not in held:
            held[axes] = _largest(constant.values, axes).astype(np.float64)
        return held[axes]
    if stored is None:
        return _largest(constant.values, axes).astype(np.float64)
    known = _KNOWN.setdefault(stored.place.source, {})
    key = (stored.place.offset, stored.elem_type, stored.shape, axes)
    if key not in known:
        known[key] = _largest_of(stored, axes)
    return known[key]


def _largest_of(stored: Stored, axes: tuple[int, ...]) -> Array:
    found = np.zeros([1 if axis in axes else size for axis, size in enumerate(stored.shape)])
    for block in blocks(stored.shape):
        index = tuple(slice(None) if axis in axes else part for axis, part in enumerate(block.part))
        np.maximum(found[index], _largest(stored.read(block), axes), out=found[index])
    return found


def _largest(values: Array, axes: tuple[int, ...]) -> Array:
    if values.dtype not in (np.float16, np.float32, np.float64):
        values = values.astype(np.float32)  # bfloat16: exact, and numpy reduces it
    if values.size == 0:
        return np.zeros([1 if axis in axes else size for axis, size in enumerate(values.shape)])
    largest: Array = np.abs(values).max(axis=axes, keepdims=True)
    return largest
