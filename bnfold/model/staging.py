"""Files that are written and not yet in their places, and putting them there in one step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from bnfold.errors import TargetError
from bnfold.model.copying import write
from bnfold.model.files import Opened
from bnfold.model.flushing import flushing
from bnfold.model.guarding import Guard
from bnfold.model.references import Segment
from bnfold.model.sweeping import claim, sweep
from bnfold.model.temporary import SUFFIX, Temporary, stem_for
from bnfold.model.undisturbed import Closing, undisturbed


class Staged:
    """A model that is written and not yet in place, and its data files, which are.

    Attributes:
        target: where the model will be.
        data_file: the file that holds all its external weights, made now or found; None where there are none, or
            where the model is copied as it came.
        is_copy: whether the model's file is what came in, byte for byte.
        remarks: what a person should know of the files.
        replaces: the file that the model was made from, if it is the target; one that is another by now stays.
    """

    def __init__(self, target: Path, *, is_copy: bool = False) -> None:
        """Make room for the model beside `target`, where what dead processes have left is removed."""
        sweep(target.parent)
        self.target = target
        self.data_file: Path | None = None
        self.is_copy = is_copy
        self.remarks: list[str] = []
        self.replaces: Opened | None = None
        self._stem = stem_for(target)
        self._is_flushed = target.exists()  # what nothing is lost with is not waited for: ADR 14
        self._mode = 0o600 if target.exists() else 0o666  # what replaces a file may be as private as that is
        self._guard = Guard(target.parent)
        with self._guard.closed_on_errors():
            self._model = Temporary(Path(f"{self._stem}.model{SUFFIX}"), self._guard, self._mode)
        self._data: list[_Data] = []
        self._was_committed = False

    @property
    def model(self) -> Path:
        """A path by which this process can read the model and run it."""
        return self._model.where

    def write(self, content: Iterable[Segment], *, is_whole: bool = False) -> None:
        """Write the model's file.

        Args:
            content: what to write.
            is_whole: the model refers to no file beside it, so that it can be run before it has a name.

        Raises:
            OSError: it can not be written.
        """
        self._write(self._model, content)
        self._model.take_after(self.target)
        if not is_whole:
            self._model.give_name()

    def write_data(self, content: Iterable[Segment]) -> Temporary:
        """Write a data file; it has no place until `place_data` gives it one.

        Raises:
            OSError: it can not be written.
        """
        with undisturbed():  # who is interrupted in between knows nothing of a file that it has made
            made = Temporary(Path(f"{self._stem}.data.{len(self._data)}{SUFFIX}"), self._guard, self._mode)
            self._data.append(_Data(made))
        self._write(made, content)
        made.take_after(self.target)
        made.give_name()
        return made

    def _write(self, made: Temporary, content: Iterable[Segment]) -> None:
        with flushing(made.file) if self._is_flushed else nullcontext():
            write(made.file, content)
            made.file.flush()

    def place_data(self, made: Temporary, place: Path) -> bool:
        """Give a data file its name, unless there is a file of that name: whether it got it.

        Raises:
            OSError: there can be no file of that name.
        """
        if os.path.lexists(place):
            return False
        self._model.give_name()  # by which others see that no model refers to the data
        number = next(number for number, data in enumerate(self._data) if data.made is made)
        data = self._data[number]
        with undisturbed():
            data.place, data.claim = place, claim(self._stem, number, made, place, self._guard)
        if made.place(place):
            return True
        data.claim.close()
        return False

    def commit(self) -> None:
        """Put the model in its place, in one step.

        Raises:
            TargetError: the place can not be written to.
            ModelError: somebody else has changed or replaced the file that the model was made from, and would lose it.
        """
        with target_errors(self.target):
            if self._is_flushed or self.target.exists():
                self._flush()
            if self.replaces is not None:
                self.replaces.verify()
            self._was_committed = True
            _put(self._model, self.target)
            if self.replaces is not None:
                self.replaces.renew()
            if self._is_flushed:
                flush_folder(self.target.parent)

    def _flush(self) -> None:
        """Bring all to the disk before the file that was there goes: by a power cut neither can be lost."""
        for made in () if self._is_flushed else (*(data.made for data in self._data), self._model):
            if not made.file.closed:
                os.fsync(made.file.fileno())
        self._is_flushed = True
        if self._data:
            flush_folder(self.target.parent)  # the data first

    def discard(self) -> None:
        """Remove what is not in place, and let go of the files. A model that is in its place needs its data."""
        is_in_place = self._was_committed and not self._model.is_at(self._model.path)
        for data in self._data:
            data.close(keeps=is_in_place)
        self._model.close()
        self._guard.close()


class _Data:
    """A data file of a model that is not in its place.

    Attributes:
        made: the file.
        place: the name that it may have got.
        claim: what tells others that the model has none yet.
    """

    def __init__(self, made: Temporary) -> None:
        self.made = made
        self.place = made.path
        self.claim: Temporary | None = None

    def close(self, *, keeps: bool) -> None:
        """Let go of it; the claim is the last to go."""
        with suppress(OSError):
            if not keeps and self.made.is_at(self.place):
                self.place.unlink()
        self.made.close()
        if self.claim is not None:
            self.claim.close()


def _close(made: Temporary, guard: Guard) -> None:
    """Let go of a file, and then of who watches over it."""
    made.close()
    guard.close()


def _put(made: Temporary, place: Path) -> None:
    """Give a file its place in one step: as its first name where nothing is there, else by a rename."""
    if not made.become(place):
        made.give_name()
        os.replace(made.path, place)


@contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to be written, which takes the place of another one in one step when the block is done.

    Raises:
        OSError: it can not be written, or not be put there.
    """
    place = Path(os.path.realpath(target))
    sweep(place.parent)
    guard, close = Guard(place.parent), Closing()
    try:
        with undisturbed():
            with guard.closed_on_errors():
                made = Temporary(Path(f"{stem_for(place)}.model{SUFFIX}"), guard, 0o600 if place.exists() else 0o666)
            close.close = partial(_close, made, guard)
        yield made.file
        made.file.flush()
        os.fsync(made.file.fileno())
        made.take_after(place)
        _put(made, place)
        flush_folder(place.parent)
    finally:
        close()


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


def flush_folder(folder: Path) -> None:
    """Make a rename outlast a power cut, where folders can be opened (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
