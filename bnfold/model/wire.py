"""Protobuf's wire format: where the fields of a message stand, without parsing what they hold.

A field is a tag (a varint: field number and wire type) and a value; a value of wire type 2 states its length, so that
it can be skipped unread (https://protobuf.dev/programming-guides/encoding). Nothing is judged here: what this module
does not read (groups, bad tags, lengths past the end) is `Unreadable`, and protobuf is asked about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 are groups, 6 and 7 are none."""

LIMIT = 2**31 - 1
"""The longest message, and the longest value, that protobuf reads."""

_PLAIN = frozenset(number << 3 | BYTES for number in range(1, 16))
"""Tags of one byte of fields that state their length."""

HEADER = 16
"""A tag has at most 5 bytes, a length or a number at most 10: so many bytes show how a field begins."""


class Unreadable(Exception):
    """The bytes are not fields in the form that this module reads; protobuf may still take them."""


class Windows(Protocol):
    """What can be read piece by piece."""

    size: int

    def window(self, position: int) -> tuple[bytes, int]:
        """Bytes that hold what is at `position`, a header's length of it or all that there is; and where they start."""
        ...


class Field(NamedTuple):
    """A field of a message: ``[start, body)`` is its tag and length, ``[body, end)`` its value."""

    number: int
    wire: int
    start: int
    body: int
    end: int

    @property
    def length(self) -> int:
        """How long the value is."""
        return self.end - self.body


def fields(source: Windows, start: int, end: int, least: int = 0) -> Iterator[Field]:
    """The fields of the message in ``[start, end)``, in the order of the file.

    Args:
        source: what the message lies in.
        start: where it starts.
        end: where it ends.
        least: values shorter than this are left out, and so are numbers then.

    Raises:
        Unreadable: on the way, at the first field that is not in the usual form.
    """
    data, base, position = b"", start, start
    limit = start  # where the window ends
    while position < end:
        if position + HEADER > limit:
            data, base = source.window(position)
            limit = base + len(data)
        if least >= 0x80:
            position = base + _behind_short(data, position - base, min(end, limit - HEADER) - base, least)
            if position >= end or limit < min(position + HEADER, source.size):
                continue  # at the end of the message or of the window
        field = _field(data, position, base)
        if field.end - field.body >= least and field.end <= end:
            yield field
        position = field.end
    if position > end:
        raise Unreadable("a field ends behind its message")


def _behind_short(data: bytes, place: int, stop: int, least: int) -> int:
    """The place behind all fields that are plainly shorter than `least` (of 0x80 or more), or that of one of them.

    This runs once for each element of a graph: a tag of one byte, and a length of one or two, is what they have.
    """
    high = least >> 7
    while place < stop:
        length = data[place + 1]
        if length >= 0x80:
            if data[place + 2] >= high:
                break
            length += (data[place + 2] << 7) - 0x7F
        if data[place] not in _PLAIN:
            break
        place += length + 2
    return place


def _field(data: bytes, position: int, base: int) -> Field:
    """The field at `position`; `data` starts at `base`."""
    place = position - base
    try:
        if data[place] in _PLAIN and data[place + 1] < 0x80:  # what most fields are like, quickly
            return Field(data[place] >> 3, BYTES, position, position + 2, position + 2 + data[place + 1])
        tag, place = _varint(data, place)
        wire = tag & 7
        if wire == BYTES:
            length, place = _varint(data, place)
        else:
            length = _number_length(data, place, wire)
    except IndexError:
        raise Unreadable("a field is cut off") from None
    if not 8 <= tag < 2**32 or length > LIMIT:
        raise Unreadable("a field has no number, or is too long")
    return Field(tag >> 3, wire, position, base + place, base + place + length)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """(value, behind it) of the varint of a tag or a length, which has 32 bits."""
    value = 0
    for shift in range(0, 35, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise Unreadable("a tag or a length is too long")


def _number_length(data: bytes, place: int, wire: int) -> int:
    """How many bytes the number at `place` has."""
    if wire == FIXED32:
        return 4
    if wire == FIXED64:
        return 8
    if wire != VARINT:
        raise Unreadable("a group, or no wire type")
    for length in range(10):
        if data[place + length] < 0x80:
            return length + 1
    raise Unreadable("a number is too long")


def varint(value: int) -> bytes:
    """A number as a varint, as short as it can be."""
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def header(number: int, length: int) -> bytes:
    """Tag and length of a field whose value has `length` bytes."""
    return varint(number << 3 | BYTES) + varint(length)
