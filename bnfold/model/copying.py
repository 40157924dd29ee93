"""Segments into a file, ranges by the system's own ways of copying where it has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import BinaryIO, TypeAlias

from bnfold.model.ahead import ahead
from bnfold.model.references import Range, Segment

_MOST = 1 << 30
"""How many bytes the system is asked to copy at a time; it stops a little below 2 GiB."""

SHORT = 1 << 10
"""Shorter ranges cost more to ask the system for than to read."""

PAGE = 1 << 12
"""How much is read for a short one: those behind it mostly lie there too."""

BATCH = 1 << 18
"""How many bytes are made before they are written."""

_Part: TypeAlias = bytes | memoryview | Range
"""Bytes as they are written, or a range of a file that the system copies."""

Method = Callable[[int, int, int, int], int]
"""From the descriptor of the source, its offset and a length, to a descriptor: how many bytes were copied."""


def _copy_file_range(source: int, offset: int, length: int, target: int) -> int:
    return os.copy_file_range(source, target, length, offset)


def _send_file(source: int, offset: int, length: int, target: int) -> int:
    return os.sendfile(target, source, offset, length)


METHODS: tuple[Method, ...] = (
    *((_copy_file_range,) if hasattr(os, "copy_file_range") else ()),
    *((_send_file,) if hasattr(os, "sendfile") else ()),
)
"""What the system has, the quickest first. Each may fail for a pair of files, and the next one is tried then."""


def write(file: BinaryIO, pieces: Iterable[Segment], methods: Iterable[Method] = METHODS) -> None:
    """Write segments one after the other to the end of a file; no more than one piece of a range is held in memory.

    Args:
        file: open for writing; one without a descriptor is written to as well.
        pieces: what to write.
        methods: how to copy from file to file, by preference; what none of them does is read and written.

    Raises:
        ModelError: a file that a range refers to has changed since it was opened.
        OSError: the file can not be written.
    """
    with closing(ahead(_batches(pieces))) as batches:
        for batch in batches:
            for part in batch:
                if isinstance(part, Range):
                    _copy(file, part, methods)
                else:
                    file.write(part)


def _batches(pieces: Iterable[Segment]) -> Iterator[list[_Part]]:
    """What is written, in batches that are worth handing on."""
    batch, size = list[_Part](), 0
    for part in _parts(pieces):
        batch.append(part)
        size += 0 if isinstance(part, Range) else len(part)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _parts(pieces: Iterable[Segment]) -> Iterator[_Part]:
    page = _Page()
    for piece in _merged(pieces):
        if not isinstance(piece, Range):
            yield piece
        elif piece.length < SHORT:
            yield page.read(piece)
        elif piece.source.descriptor is not None:
            yield piece
        else:
            yield from piece.source.pieces(piece.offset, piece.length)
            piece.source.verify()


class _Page:
    """The piece of a source that was read last."""

    def __init__(self) -> None:
        self._held: Range | None = None
        self._data = b""

    def read(self, piece: Range) -> bytes:
        """The bytes of a short range."""
        start = -1 if self._held is None or self._held.source is not piece.source else piece.offset - self._held.offset
        if not 0 <= start <= len(self._data) - piece.length:
            self._held = Range(piece.source, piece.offset, min(PAGE, piece.source.size - piece.offset))
            self._data, start = self._held.read(), 0
        return self._data[start : start + piece.length]


def _merged(pieces: Iterable[Segment]) -> Iterator[Segment]:
    """The same with ranges that follow each other in one file made one, so that the system is asked once for them."""
    run: Range | None = None
    for piece in pieces:
        if run is not None and isinstance(piece, Range) and _follows(piece, run):
            run = run._replace(length=run.length + piece.length)
            continue
        if run is not None:
            yield run
            run = None
        if isinstance(piece, Range):
            run = piece
        else:
            yield piece
    if run is not None:
        yield run


def _follows(piece: Range, run: Range) -> bool:
    is_file = run.source.descriptor is not None
    return is_file and piece.source is run.source and piece.offset == run.offset + run.length


def _copy(file: BinaryIO, piece: Range, methods: Iterable[Method]) -> None:
    position, end = piece.offset, piece.offset + piece.length
    file.flush()  # the system writes behind what is written, and knows nothing of what waits here
    for method in methods:
        position = _copied(method, file, piece, position)
    for part in piece.source.pieces(position, end - position):
        file.write(part)
    piece.source.verify()


def _copied(method: Method, file: BinaryIO, piece: Range, position: int) -> int:
    """Copy from `position` on, as far as the method gets; where that is.

    No error is told: what is left is read and written in the end, and it is that which says what is wrong.
    """
    end = piece.offset + piece.length
    source = piece.source.descriptor
    try:
        while position < end and source is not None:
            count = method(source, position, min(_MOST, end - position), file.fileno())
            if not count:
                break
            position += count
    except OSError:
        pass
    return position
