"""Arrays in .npz and .npy files: what they say of themselves, and their values when asked for, read or mapped."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnfold.errors import UsageError
from bnfold.runtime.zipped import start_of

Array: TypeAlias = NDArray[Any]

_NPZ = b"PK"
_NPY = b"\x93NUMPY"

# What numpy and zipfile were seen to raise on damaged files; a header is Python source to numpy.
_TROUBLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Place:
    """Where the values of an array lie as they are, to be mapped.

    Attributes:
        path: The file.
        offset: Of the first value, in bytes.
        order: C for the last axis fastest, F for the first.
    """

    path: Path
    offset: int
    order: Literal["C", "F"]


@dataclass(frozen=True)
class Header:
    """What a file says of an array before the values.

    Attributes:
        shape: Its shape.
        dtype: Its element type.
        place: Where the values lie; `None` where they lie nowhere as they are, being compressed or in memory.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    place: Place | None = None

    @property
    def size(self) -> int:
        """How many bytes the values take."""
        return self.dtype.itemsize * prod(self.shape)


@dataclass(frozen=True)
class Stored:
    """Arrays by name, still in their file or files.

    Attributes:
        path: Where they lie, for messages.
        headers: What is known of each without reading it.
        read: Reads the arrays of some names.

    Raises:
        UsageError: From `read`: the file has changed, or is damaged behind the headers.
    """

    path: Path
    headers: Mapping[str, Header]
    read: Callable[[list[str]], dict[str, Array]]


def stored_file(path: Path) -> Stored:
    """The arrays of an .npz file; the one of an .npy file has no name: `""`.

    Raises:
        UsageError: It can not be read, or holds Python objects.
    """
    with usage_errors(path):
        with path.open("rb") as file:
            start = file.read(len(_NPY))
        if start == _NPY:
            return Stored(path, {"": npy_header(path)}, lambda names: {name: _npy(path) for name in names})
        if start.startswith(_NPZ):
            return Stored(path, _npz_headers(path), lambda names: _npz(path, names))
    raise UsageError(f"the inputs {path} can not be read: it is neither an .npz nor an .npy file")


def stored_folder(path: Path, files: Mapping[str, Path]) -> Stored:
    """The arrays of several .npy files.

    Args:
        path: The folder, for messages.
        files: The file of each array.

    Raises:
        UsageError: One can not be read, or holds Python objects.
    """
    headers = {}
    for name, file in files.items():
        with usage_errors(file):
            headers[name] = npy_header(file)
    return Stored(path, headers, lambda names: {name: _npy(files[name]) for name in names})


def mapped(header: Header) -> Array:
    """The array, mapped for reading: what is not read of it takes no memory, and what is can be given up again.

    The checksums of an archive are not looked at, since that would read all of it.

    Args:
        header: of an array that has a place.

    Raises:
        UsageError: the file is gone, or shorter than it was.
    """
    place = header.place
    if place is None:
        raise ValueError("an array without a place can not be mapped")
    if not header.size:  # nothing can be mapped of an empty array
        return np.empty(header.shape, header.dtype)
    with usage_errors(place.path):
        return np.asarray(np.memmap(place.path, header.dtype, "r", place.offset, header.shape, place.order))


def npy_header(path: Path) -> Header:
    """What an .npy file says of its array.

    Raises:
        ValueError: the file is shorter than it says; and whatever numpy raises on what is no such file.
    """
    with path.open("rb") as file:
        header = _header(file, path, 0)
        _refuse_short(header, file.tell(), os.path.getsize(path))
    return header


def _npz_headers(path: Path) -> dict[str, Header]:
    headers = {}
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for member in (info for info in archive.infolist() if info.filename.endswith(".npy")):
            start = start_of(file, member)
            with archive.open(member) as content:
                header = _header(content, path, start)
                _refuse_short(header, content.tell(), member.file_size)
            headers[member.filename.removesuffix(".npy")] = header
    return headers


def _header(file: IO[bytes], path: Path, start: int | None) -> Header:
    """Read a header.

    Args:
        file: What begins with it.
        path: The file in which it lies.
        start: Where it lies there; `None` for nowhere as it is.
    """
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = reader(file)
    place = None if start is None else Place(path.absolute(), start + file.tell(), "F" if is_fortran else "C")
    return Header(shape, dtype, place)


def _refuse_short(header: Header, begun: int, found: int) -> None:
    expected = begun + header.size
    if min(header.shape, default=0) < 0:
        raise ValueError(f"its shape is {list(header.shape)}")
    if found < expected and not header.dtype.hasobject:
        raise ValueError(f"it is cut off: {expected} bytes expected, got {found}")


def _npz(path: Path, names: list[str]) -> dict[str, Array]:
    # numpy leaves a file that it opened itself open when the archive in it turns out to be broken.
    with usage_errors(path), path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        return {name: content[name] for name in names}


def _npy(path: Path) -> Array:
    """The array, mapped; the header is read again, since the file may be another by now."""
    with usage_errors(path):
        return mapped(npy_header(path))


@contextmanager
def usage_errors(path: Path) -> Iterator[None]:
    """Turn what reading a file raises into a sentence about it.

    Raises:
        UsageError: The block could not read the file.
    """
    try:
        yield
    except _TROUBLE as error:
        raise UsageError(f"the inputs {path} can not be read: {error}") from error
