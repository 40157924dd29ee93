"""A temporary folder that does not outlive its process for long: a killed one's goes when the next one is made."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bnfold.model.temporary import SUFFIX, lock
from bnfold.model.undisturbed import Closing

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
        _sweep(Path(tempfile.gettempdir()))
        while True:
            self.path = Path(tempfile.mkdtemp(prefix="bnfold-", suffix=SUFFIX))
            self._held = (self.path / HELD).open("wb")
            with suppress(OSError):  # without locks, nothing is swept either
                lock(self._held)
            if (self.path / HELD).exists():
                return
            self._held.close()  # swept before it was locked

    def close(self) -> None:
        """Remove it with all that is in it."""
        _remove(self.path)
        self._held.close()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for temporary files, which goes with the block.

    Raises:
        OSError: there is no room for it.
    """
    folder = ScratchFolder()
    close = Closing(folder.close)
    try:
        yield folder.path
    finally:
        close()


def _sweep(place: Path) -> None:
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
