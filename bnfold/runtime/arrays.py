"""Arrays in .npz and .npy files: what they say of themselves, and their values when asked for."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnfold.errors import UsageError

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
class Header:
    """What a file says of an array before the values.

    Attributes:
        shape: Its shape.
        dtype: Its element type.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


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
    with _usage_errors(path):
        with path.open("rb") as file:
            start = file.read(len(_NPY))
        if start == _NPY:
            return Stored(path, {"": _npy_header(path)}, lambda names: {name: _npy(path) for name in names})
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
        with _usage_errors(file):
            headers[name] = _npy_header(file)
    return Stored(path, headers, lambda names: {name: _npy(files[name]) for name in names})


def _npy_header(path: Path) -> Header:
    with path.open("rb") as file:
        header = _header(file, path)
        expected = file.tell() + header.dtype.itemsize * int(np.prod(header.shape, dtype=np.int64))
    if os.path.getsize(path) < expected and not header.dtype.hasobject:
        raise ValueError(f"it is cut off: {expected} bytes expected, got {os.path.getsize(path)}")
    return header


def _npz_headers(path: Path) -> dict[str, Header]:
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in (name for name in archive.namelist() if name.endswith(".npy")):
            with archive.open(member) as file:
                headers[member.removesuffix(".npy")] = _header(file, path)
    return headers


def _header(file: IO[bytes], path: Path) -> Header:
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    return Header(shape, dtype)


def _npz(path: Path, names: list[str]) -> dict[str, Array]:
    # numpy leaves a file that it opened itself open when the archive in it turns out to be broken.
    with _usage_errors(path), path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        return {name: content[name] for name in names}


def _npy(path: Path) -> Array:
    """The array, mapped: what is not read of it takes no memory. Nothing can be mapped of an empty one."""
    with _usage_errors(path):
        empty = 0 in _npy_header(path).shape
        array: Array = np.load(path, mmap_mode=None if empty else "r", allow_pickle=False)
        return array


@contextmanager
def _usage_errors(path: Path) -> Iterator[None]:
    """Turn what reading a file raises into a sentence about it.

    Raises:
        UsageError: The block could not read the file.
    """
    try:
        yield
    except _TROUBLE as error:
        raise UsageError(f"the inputs {path} can not be read: {error}") from error
