"""Compressed arrays as files that can be mapped."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from tempfile import mkstemp

from bnfold.errors import UsageError
from bnfold.runtime.arrays import Stored, npy_header, usage_errors

_BLOCK = 1 << 20


def packed_names(stored: Stored, names: Collection[str]) -> list[str]:
    """Those of some names whose arrays are compressed, so that they can not be mapped."""
    return [name for name in names if stored.headers[name].place is None]


def unpacked(stored: Stored, names: Collection[str], folder: Path) -> Stored:
    """The same arrays, with those of some names as .npy files of their own, written block by block.

    Args:
        stored: the arrays of an .npz file.
        names: of the compressed ones that are wanted.
        folder: where the files go; it has to stay as long as they are read.

    Raises:
        UsageError: the archive is damaged, or the folder has no room.
    """
    headers = dict(stored.headers)
    with usage_errors(Path(stored.path)), zipfile.ZipFile(stored.path) as archive:
        for name in names:
            headers[name] = npy_header(_extracted(archive, f"{name}.npy", folder))
    return replace(stored, headers=headers)


def _extracted(archive: zipfile.ZipFile, member: str, folder: Path) -> Path:
    with archive.open(member) as content:
        try:
            descriptor, path = mkstemp(".npy", dir=folder)
            with open(descriptor, "wb") as target:
                shutil.copyfileobj(content, target, _BLOCK)
        except OSError as error:
            raise UsageError(
                f"'{member}' of {archive.filename} is compressed, and can not be unpacked into {folder}: "
                f"{error.strerror}; save it with numpy.savez, or set TMPDIR to a folder with room"
            ) from error
    return Path(path)
