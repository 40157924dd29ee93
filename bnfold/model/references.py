"""Tensors that say where their bytes lie instead of holding them.

A reference is a TensorProto like any other, with name, type, shape and all else that belongs to it; but in place of
``raw_data`` it is external, with a location that no file can have: it names a *source* of this process, the place in it
and the length. A copy of a model is then a copy of what is small. What leaves the process has to be `materialized`, or
written by `bnfold.model.streaming`.
"""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeAlias

from onnx import ModelProto, TensorProto

from bnfold.errors import ModelError
from bnfold.model.external import MARK, all_tensors
from bnfold.model.external import is_reference as is_reference

PIECE = 1 << 20
"""How many bytes of a file are held at a time where they have to go through this process."""

THRESHOLD = 4096
"""From how many bytes on a tensor is a reference: one costs about 200 bytes and a few microseconds."""


class Source(Protocol):
    """Bytes that tensors can refer to: a file, an object of bytes, a `Spool` or a `Recipe`.

    Attributes:
        size: how many there are.
        name: what `register` gave for it.
    """

    size: int
    name: str

    @property
    def descriptor(self) -> int | None:
        """An open file that holds them from its start on, or None."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on.

        Raises:
            ModelError: the file is not what it was when it was opened.
        """
        ...

    def pieces(self, offset: int, length: int) -> Iterator[bytes | memoryview]:
        """The same, one piece after the other; each may be large only where it is in memory anyway.

        Raises:
            ModelError: the file is not what it was when it was opened.
        """
        ...

    def verify(self) -> None:
        """See that the file is what it was.

        Raises:
            ModelError: it is not.
        """
        ...


class Range(NamedTuple):
    """``length`` bytes from ``offset`` on in ``source``."""

    source: Source
    offset: int
    length: int

    def read(self) -> bytes:
        """The bytes."""
        return self.source.read(self.offset, self.length)


def in_pieces(source: Source, offset: int, length: int) -> Iterator[bytes]:
    """Read a source piece by piece."""
    end = offset + length
    for position in range(offset, end, PIECE):
        yield source.read(position, min(PIECE, end - position))


Segment: TypeAlias = bytes | Range
"""A piece of a file that is to be written."""

_SOURCES: weakref.WeakValueDictionary[str, Source] = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()


def register(source: Source) -> str:
    """A name by which references find the source for as long as someone else holds it."""
    name = f"{MARK}{next(_NUMBERS)}"
    _SOURCES[name] = source
    return name


def location(name: str, offset: int, length: int, *, says_default: bool = False) -> str:
    """The location of a reference.

    Args:
        name: what `register` gave for the source.
        offset: where the bytes start.
        length: how many there are.
        says_default: the tensor said in so many words that its data are its own (``data_location: DEFAULT``).
    """
    return f"{name}/{offset}/{length}{'/default' if says_default else ''}"


def extent_of(tensor: TensorProto) -> Range:
    """Where a reference's bytes lie.

    Raises:
        ModelError: what held them is gone, which is a mistake of bnfold's own.
    """
    name, offset, length, *_ = tensor.external_data[0].value.split("/")
    source = _SOURCES.get(name)
    if source is None:
        raise ModelError(
            f"tensor '{tensor.name}' refers to bytes that are no longer there: "
            "this is a mistake in bnfold, please report it"
        )
    return Range(source, int(offset), int(length))


def size_of_tensor(tensor: TensorProto) -> int:
    """How many bytes an inline tensor takes in a file, but for a few."""
    return tensor.ByteSize() + (extent_of(tensor).length if is_reference(tensor) else 0)


def read_reference(tensor: TensorProto) -> bytes:
    """The bytes of a reference: what its ``raw_data`` was.

    Raises:
        ModelError: the file has changed since it was opened.
    """
    return extent_of(tensor).read()


def released(tensor: TensorProto) -> TensorProto:
    """A copy of a reference that is inline again and holds no bytes yet."""
    bare = copy.deepcopy(tensor)
    _release(bare)
    return bare


def fill(model: ModelProto) -> None:
    """Put the bytes of all references in their places; the model is changed.

    Raises:
        ModelError: the file has changed since it was opened.
    """
    for tensor in all_tensors(model):
        if is_reference(tensor):
            data = read_reference(tensor)
            _release(tensor)
            tensor.raw_data = data


def materialized(model: ModelProto) -> ModelProto:
    """A copy of the model without references: the message as protobuf parses it from the whole file.

    Raises:
        ModelError: the file has changed since it was opened.
    """
    whole = copy.deepcopy(model)
    fill(whole)
    return whole


def _release(tensor: TensorProto) -> None:
    said = tensor.external_data[0].value.endswith("/default")
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    if said:
        tensor.data_location = TensorProto.DEFAULT


def referring(tensor: TensorProto, place: str) -> TensorProto:
    """A copy of the tensor with a reference instead of its bytes."""
    made = copy.deepcopy(tensor)
    made.ClearField("raw_data")
    made.data_location = TensorProto.EXTERNAL
    made.external_data.add(key="location", value=place)
    return made
