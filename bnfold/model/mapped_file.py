"""A file of a model, opened in place: the graph is parsed, and large weights stay where they are until they are read.

The file is read by its descriptor and not mapped into memory: mapped pages count as the process's own once they are
touched, and a file that another process cuts off while it is mapped kills this one (SIGBUS). Whether the file is still
the one that was opened is seen by its size and time at each reading. A file that is replaced under its name by another
one (as bnfold and most programs do) is no change: the descriptor holds on to the old one.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.message import DecodeError

from bnfold.errors import ModelError
from bnfold.model.references import in_pieces, register
from bnfold.model.rewriting import Bytes
from bnfold.model.skeleton import Skeleton, skeleton_from
from bnfold.model.wire import HEADER, LIMIT

WINDOW = 1 << 16
"""How much of a file is read at a time where only headers are looked for."""


def open_skeleton(path: str | os.PathLike[str]) -> Skeleton:
    """Open the model in a file; its large tensors are references to the file, which stays open as long as it is used.

    Raises:
        ModelError: the file can not be read, or is no model that protobuf can parse.
    """
    place = Path(path)
    with telling(place):
        source = open_source(place)
    return _skeleton(source, f"'{place}'")


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn what opening or reading a file raises into a sentence about it.

    Raises:
        ModelError: the block could not read the file, or it is a folder.
    """
    try:
        if path.is_dir():
            raise ModelError(f"'{path}' is a folder; give the .onnx file in it")
        yield
    except FileNotFoundError as error:
        raise ModelError(f"'{path}' does not exist") from error
    except OSError as error:
        raise ModelError(f"'{path}' can not be read: {error.strerror}") from error
    except ValueError as error:  # a null character
        raise ModelError(f"'{path}' can not be read: {error}") from error


def skeleton_of(raw: bytes, name: str = "the model") -> Skeleton:
    """The model in the bytes of a file; its large tensors are references to them.

    Args:
        raw: what a file of a model holds.
        name: what to call it in a message.

    Raises:
        ModelError: protobuf can not parse it.
    """
    return _skeleton(BytesSource(raw), name)


def open_source(path: Path) -> Bytes:
    """The file in place, where it is one, and where an open file can be replaced, which on Windows it can not.

    Raises:
        OSError: it can not be opened.
    """
    if path.is_file() and os.name != "nt":
        return FileSource(path)
    return BytesSource(path.read_bytes())


def _skeleton(source: Bytes, name: str) -> Skeleton:
    if not source.size:
        raise ModelError(f"{name} is empty; was the file written to the end?")
    try:
        if source.size <= LIMIT:  # beyond, protobuf takes none, and there is no need to read it
            return skeleton_from(source)
        cause = None
    except DecodeError as error:
        cause = error
    raise ModelError(f"{name} is not an ONNX model, or is cut off: it can not be parsed as protobuf") from cause


class BytesSource:
    """Bytes in memory.

    Attributes:
        raw: the bytes.
        size: how many there are.
        name: what references call them.
        descriptor: None, there is no file.
    """

    descriptor = None

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.size = len(raw)
        self.name = register(self)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on."""
        return self.raw[offset : offset + length]

    def pieces(self, offset: int, length: int) -> Iterator[memoryview]:
        """The same in one piece, and not copied."""
        yield memoryview(self.raw)[offset : offset + length]

    def window(self, position: int) -> tuple[bytes, int]:
        """All the bytes, whatever the position, and 0, where they start."""
        return self.raw, 0

    def verify(self) -> None:
        """Bytes do not change."""


class FileSource:
    """A file that is read in place. It is closed when the last user is gone.

    Attributes:
        path: what it was opened as.
        size: how long it was then, and has to be.
        name: what references call it.
        descriptor: the open file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        state = os.fstat(self.descriptor)
        self.size = state.st_size
        self._time = state.st_mtime_ns
        self._window = (b"", 0)
        self.name = register(self)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on.

        Raises:
            ModelError: the file has changed since it was opened, or can not be read.
        """
        try:
            data = os.pread(self.descriptor, length, offset)
            while len(data) < length:  # one reading gives 2 GiB at most, and less where a signal comes in
                more = os.pread(self.descriptor, length - len(data), offset + len(data))
                if not more:
                    raise self._changed()
                data += more
        except OSError as error:
            raise ModelError(f"'{self.path}' can not be read: {error.strerror}") from error
        self.verify()
        return data

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """The same, a piece at a time.

        Raises:
            ModelError: the file has changed since it was opened, or can not be read.
        """
        return in_pieces(self, offset, length)

    def window(self, position: int) -> tuple[bytes, int]:
        """Some bytes from `position` on, or some that hold them, and where they start.

        Raises:
            ModelError: the file has changed since it was opened, or can not be read.
        """
        data, base = self._window
        end = base + len(data)
        if position < base or end < min(position + HEADER, self.size):
            data, base = self._window = self.read(position, min(WINDOW, self.size - position)), position
        return data, base

    def verify(self) -> None:
        """See that the file is what it was.

        Raises:
            ModelError: it is not.
        """
        state = os.fstat(self.descriptor)
        if (state.st_size, state.st_mtime_ns) != (self.size, self._time):
            raise self._changed()

    def _changed(self) -> ModelError:
        return ModelError(f"'{self.path}' changed while it was read; do it again when nothing writes to the file")
