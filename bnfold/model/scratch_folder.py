"""A temporary folder that does not outlive its process for long: a guard removes that of a killed one."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bnfold.model.guarding import Guard
from bnfold.model.temporary import SUFFIX, lock
from bnfold.model.undisturbed import Closing, undisturbed

NAME = re.compile(r"bnfold-[a-z0-9_]{8}" + re.escape(SUFFIX))
HELD = ".held"
"""The file in the folder that is locked for as long as the folder's process lives."""


class ScratchFolder:
    """A folder for temporary files, where the system has them.

    Attributes:
        path: the folder.
    """

    def __init__(self) -> None:
        """Make it, after what dead processes have left of theirs is removed.

        Raises:
            OSError: there is no room for it.
        """
        place = Path(tempfile.gettempdir())
        sweep(place)
        self._guard = Guard(place, __name__)
        self._guard.watch()
        with self._guard.closed_on_errors():
            self.path, self._held = _made(place)

    def close(self) -> None:
        """Remove it with all that is in it."""
        _remove(self.path)
        self._held.close()
        self._guard.close()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for temporary files, which goes with the block.

    Raises:
        OSError: there is no room for it.
    """
    close = Closing()
    try:
        with undisturbed():
            folder = ScratchFolder()
            close.close = folder.close
        yield folder.path
    finally:
        close()


def _made(place: Path) -> tuple[Path, BinaryIO]:
    """A new folder, and the file in it that is locked.

    Raises:
        OSError: there is no room for it.
    """
    while True:
        path = Path(tempfile.mkdtemp(prefix="bnfold-", suffix=SUFFIX, dir=place))
        with suppress(FileNotFoundError):  # swept before it held anything
            held = (path / HELD).open("wb")
            with suppress(OSError):  # without locks, nothing is swept either
                lock(held)
            if (path / HELD).exists():
                return path, held
            held.close()  # swept before it was locked


def sweep(place: Path) -> None:
    """Remove the folders of this kind and this user whose processes are dead."""
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if NAME.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_abandoned(Path(entry.path))


def _remove_abandoned(folder: Path) -> None:
    """Raises OSError where it is none, or somebody holds it."""
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        return
    if not os.path.lexists(folder / HELD):
        folder.rmdir()  # which takes nothing along: its process was killed when it had just made it
        return
    with open(os.open(folder / HELD, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as held:
        lock(held, waits=False)
        _remove(folder)


def _remove(folder: Path) -> None:
    """What tells that nobody needs the folder goes last."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != HELD:
                path.unlink()
    shutil.rmtree(folder, ignore_errors=True)
