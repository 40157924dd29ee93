"""Arrays that lie in a source, read block by block: none of them has to be in memory as a whole."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from onnx import TensorProto, helper

from bnfold.errors import ExternalDataError
from bnfold.model.external import is_external, is_reference, locate
from bnfold.model.mapped_file import FileSource
from bnfold.model.references import THRESHOLD, Range, Source, extent_of
from bnfold.model.tensors import FLOATS, Array
from bnfold.values import frozen

BLOCK = 1 << 16
"""How many elements a block has at most: in float64 half a MiB, which stays in the cache from one step to the next."""

# Until one of that size has come back to it, glibc's malloc gets every block from the system anew, page by page, which
# takes as long as reading it (mallopt(3), M_MMAP_THRESHOLD). This one is never touched.
np.empty(16 * BLOCK)

Shape: TypeAlias = tuple[int, ...]

_FILES: weakref.WeakValueDictionary[tuple[Path, int, int, int, int], FileSource] = weakref.WeakValueDictionary()
"""Files of external data that are open: one descriptor for all tensors of a file. The state of the file is part of the
key, so that one that has changed since is opened anew."""


class Block(NamedTuple):
    """Elements of an array that lie behind one another.

    Attributes:
        part: one slice per axis.
        start: the number of the first element.
        size: how many there are.
    """

    part: tuple[slice, ...]
    start: int
    size: int


def blocks(shape: Shape, most: int = BLOCK) -> Iterator[Block]:
    """An array of at least one axis in blocks of at most `most` elements, in the order in which the elements lie."""
    axis = next((k for k in range(len(shape)) if prod(shape[k + 1 :]) <= most), len(shape) - 1)
    row = prod(shape[axis + 1 :])
    step = max(most // row, 1) if row else 1
    rest = (slice(None),) * (len(shape) - axis - 1)
    start = 0
    for leading in product(*map(range, shape[:axis])):
        for first in range(0, shape[axis], step):
            last = min(first + step, shape[axis])
            yield Block((*(slice(k, k + 1) for k in leading), slice(first, last), *rest), start, (last - first) * row)
            start += (last - first) * row


@frozen
class Stored:
    """An array of floating point numbers whose bytes lie in a source as numpy has them.

    Attributes:
        place: where they lie.
        shape: the array's, at least one axis.
        elem_type: the ONNX element type.
    """

    place: Range
    shape: Shape
    elem_type: int

    @classmethod
    def of(cls, tensor: TensorProto, base_dir: Path | None) -> Stored | None:
        """Where the tensor's values lie; None where they are in memory, few, or not as the tensor declares them.

        Raises:
            ExternalDataError: the file that holds them can not be read.
        """
        shape = tuple(tensor.dims[:])
        if tensor.data_type not in FLOATS or not shape or sys.byteorder != "little":
            return None
        length = prod(shape) * _dtype(tensor.data_type).itemsize
        place = _place(tensor, base_dir) if length >= THRESHOLD else None
        return cls(place, shape, tensor.data_type) if place is not None and place.length == length else None

    def read(self, block: Block) -> Array:
        """The elements of a block, read-only, in the array's rank and type.

        Raises:
            ModelError: the file has changed since it was opened, or can not be read.
        """
        dtype = _dtype(self.elem_type)
        data = self.place.source.read(self.place.offset + block.start * dtype.itemsize, block.size * dtype.itemsize)
        shape = tuple(len(range(*part.indices(size))) for part, size in zip(block.part, self.shape, strict=True))
        return np.frombuffer(data, dtype).reshape(shape)


def _place(tensor: TensorProto, base_dir: Path | None) -> Range | None:
    if is_reference(tensor):
        return extent_of(tensor)
    if not is_external(tensor) or os.name == "nt":  # an open file can not be replaced on Windows
        return None
    extent = locate(tensor, base_dir or Path())
    try:
        return Range(_opened(extent.path), extent.offset, extent.length)
    except OSError as error:
        raise ExternalDataError(f"tensor '{tensor.name}': '{extent.path}' can not be read: {error.strerror}") from error


def _opened(path: Path) -> Source:
    state = path.stat()
    key = (path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    source = _FILES.get(key)
    if source is None:
        source = _FILES[key] = FileSource(path)
    return source


def _dtype(elem_type: int) -> np.dtype[np.generic]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
