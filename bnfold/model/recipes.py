"""New tensors that are computed when they are read: most are read once, when they are written."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from bnfold.model.references import Source, location, referring, register
from bnfold.model.stored import BLOCK, Block, Shape, Stored, blocks
from bnfold.model.tensors import Array, round_to, without_values


class Recipe:
    """``factor * base + offset`` in float64, rounded once: a source of bytes, of which none are there.

    Attributes:
        size: how many bytes it makes.
        name: what references call it.
        shape: that of the tensor, which is that of its base.
        descriptor: None, there is no file.
    """

    descriptor = None

    def __init__(self, base: Stored, factor: Array, offset: Array | None, elem_type: int) -> None:
        """A recipe for a tensor of type `elem_type`; `factor` and `offset` broadcast to the shape of `base`."""
        self.shape: Shape = base.shape
        self._base = base
        self._elem_type = elem_type
        self._factor = np.broadcast_to(factor, base.shape)
        self._offset = None if offset is None else np.broadcast_to(offset, base.shape)
        self._item = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)).itemsize
        self.size = prod(base.shape) * self._item
        self.name = register(self)

    @property
    def base(self) -> Source:
        """What the bytes are made of."""
        return self._base.place.source

    def reference(self, tensor: TensorProto) -> TensorProto:
        """A reference to what is made here, in a copy of a tensor of the same shape and type."""
        return referring(without_values(tensor), location(self.name, 0, self.size))

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on.

        Raises:
            ModelError: the file that the base lies in has changed since it was opened.
        """
        return b"".join(self.pieces(offset, length))

    def pieces(self, offset: int, length: int) -> Iterator[memoryview]:
        """The same, one block at a time.

        Raises:
            ModelError: the file that the base lies in has changed since it was opened.
        """
        room = np.empty(min(BLOCK, prod(self.shape)))  # one for all blocks: malloc would give it back each time
        for block in blocks(self.shape):
            start, end = block.start * self._item, (block.start + block.size) * self._item
            if start < offset + length and end > offset:
                yield self._made(block, room).data[max(offset - start, 0) : offset + length - start]

    def verify(self) -> None:
        """See that the file that the base lies in is what it was.

        Raises:
            ModelError: it is not.
        """
        self._base.place.source.verify()

    def _made(self, block: Block, room: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        old = self._base.read(block)
        values = room[: block.size].reshape(old.shape)
        values[...] = old
        values *= self._factor[block.part]
        if self._offset is not None:
            values += self._offset[block.part]
        return round_to(values, self._elem_type).reshape(-1).view(np.uint8)
