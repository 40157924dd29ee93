"""Where in a zip archive the bytes of a member begin, so that one that is not compressed can be mapped."""

from __future__ import annotations

import struct
from typing import IO
from zipfile import ZIP_STORED, ZipInfo

_SIGNATURE = b"PK\x03\x04"
_LOCAL = struct.Struct("<4s22xHH")
"""A local file header (APPNOTE.TXT 4.3.7): its signature, and at 26 the lengths of the name and the extra field."""

_ENCRYPTED = 0x1


def start_of(file: IO[bytes], member: ZipInfo) -> int | None:
    """Where in the archive the content of a member begins.

    The extra field before the content is another one than that of the directory at the end: numpy.savez writes 20 bytes
    of it here, for members beyond 4 GiB, and none there.

    Args:
        file: the archive, opened; its position is changed.
        member: what the directory says of the member.

    Returns:
        The offset in bytes; None where the content is compressed or encrypted, so that it does not lie there as it is.

    Raises:
        ValueError: there is no member at the place that the directory says.
    """
    if member.compress_type != ZIP_STORED or member.flag_bits & _ENCRYPTED:
        return None
    file.seek(member.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_SIGNATURE):
        raise ValueError(f"member {member.filename!r} is not where the archive says")
    _, name, extra = _LOCAL.unpack(header)
    return member.header_offset + _LOCAL.size + int(name) + int(extra)
