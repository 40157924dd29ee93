"""Files under a temporary name, and putting them in their places in one step."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bnfold.errors import TargetError
from bnfold.model.copying import write
from bnfold.model.flushing import flushing
from bnfold.model.references import Segment


@dataclass
class Staged:
    """Files that are written and not yet in place.

    Attributes:
        model: the temporary file that holds the model; it can be read and run.
        target: where it will be.
        data: files beside the target that the model refers to and that this write made.
        data_file: the file that holds all its external weights, made now or found; None where there are none, or
            where the model is copied as it came.
        is_copy: whether the model's file is what came in, byte for byte.
        remarks: what a person should know of the files.
    """

    model: Path
    target: Path
    data: list[Path] = field(default_factory=list)
    data_file: Path | None = None
    is_copy: bool = False
    remarks: list[str] = field(default_factory=list)

    def commit(self) -> None:
        """Put the model in its place, in one step.

        Raises:
            TargetError: the place can not be written to.
        """
        with target_errors(self.target):
            os.replace(self.model, self.target)
            _flush_folder(self.target.parent)

    def discard(self) -> None:
        """Remove what is not in place. A model that has left its temporary name is, and needs its data."""
        if self.model.exists():
            for path in (*self.data, self.model):
                path.unlink(missing_ok=True)


@contextmanager
def target_errors(target: str | os.PathLike[str]) -> Iterator[None]:
    """Say what the operating system said, in a sentence.

    Raises:
        TargetError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise TargetError(f"'{target}' can not be written: {error.strerror or error}") from error


def reserve(place: Path) -> Path:
    """An empty file of a temporary name beside `place`."""
    handle, name = tempfile.mkstemp(prefix=f".{place.name[:32]}.", suffix=".tmp", dir=place.parent)
    os.close(handle)
    return Path(name)


def write_flushed(path: Path, content: Iterable[Segment]) -> None:
    """Write a file that outlasts a power cut once it has its name."""
    with path.open("wb") as file, flushing(file):
        write(file, content)


def take_mode(made: Path, place: Path) -> None:
    """The permissions of the file that is replaced, else those that a new file gets; mkstemp's own are 0600."""
    if place.exists():
        made.chmod(stat.S_IMODE(place.stat().st_mode))
        return
    mask = os.umask(0)
    os.umask(mask)
    made.chmod(0o666 & ~mask)


def _flush_folder(folder: Path) -> None:
    """Make a rename outlast a power cut, where folders can be opened (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
