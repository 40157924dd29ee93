"""Where large new tensors wait to be written."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator

from onnx import TensorProto

from bnfold.model.references import THRESHOLD, in_pieces, location, referring, register


class Spool:
    """A temporary file without a name that new tensors are put into one by one. It goes with the object.

    Attributes:
        size: how many bytes it holds.
        name: what references call it.
    """

    def __init__(self) -> None:
        self.size = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the finalizer)
        self.name = register(self)
        weakref.finalize(self, self._file.close)

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._file.fileno()

    def put(self, tensor: TensorProto) -> TensorProto:
        """Keep the tensor's bytes; a reference to them, or the tensor itself where it is small or not inline."""
        data = tensor.raw_data
        if len(data) < THRESHOLD or tensor.external_data or tensor.data_location != TensorProto.DEFAULT:
            return tensor
        self._file.seek(self.size)
        self._file.write(data)
        self._file.flush()
        place = location(self.name, self.size, len(data), says_default=tensor.HasField("data_location"))
        self.size += len(data)
        return referring(tensor, place)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on."""
        self._file.seek(offset)
        return self._file.read(length)

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """The same, a piece at a time."""
        return in_pieces(self, offset, length)

    def verify(self) -> None:
        """Nobody else can change a file without a name."""
