"""Files that have no name yet, or a temporary one.

Where the system can (Linux), a file is written without a name: a killed process leaves nothing. It gets a temporary
name when it has to be found, and is locked from before that moment for as long as its process lives: the lock goes with
the process, however that ends. `bnfold.model.sweeping` removes what has such a name and no lock, and a guard sees to
that (`bnfold.model.guarding`).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from bnfold.model.guarding import Guard
from bnfold.model.undisturbed import undisturbed

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing swept
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".bnfold.tmp"
"""How temporary names end."""

NAME = re.compile(r"(?P<stem>\..+\.[0-9a-f]{16})\.(?P<kind>model|data|claim)(\.\d+)?" + re.escape(SUFFIX), re.DOTALL)
"""Temporary names: the files of one write share the stem, part of which is random."""

_PLACE = 32
"""Characters of the name of a place that the temporary one has, which would be too long otherwise."""

_DESCRIPTORS = Path("/proc/self/fd")


def stem_for(place: Path) -> Path:
    """How the temporary names of one write begin, beside the place of its model."""
    return place.with_name(f".{place.name[:_PLACE]}.{os.urandom(8).hex()}")


class Temporary:
    """A file that is being made.

    Attributes:
        path: its temporary name, which it has once `give_name` was called.
        file: open for writing.
    """

    def __init__(self, path: Path, guard: Guard, mode: int = 0o600) -> None:
        """Make it in the folder of `path`, with permissions `mode` less what the process's mask takes.

        Args:
            path: its temporary name.
            guard: of that folder; it is to be closed after the file.
            mode: the permissions.
        """
        self.path = path
        self._guard = guard
        self._mode = mode
        unnamed = _unnamed(path.parent, mode)
        self._has_name = unnamed is None
        self.file = self._named() if unnamed is None else unnamed

    @property
    def where(self) -> Path:
        """A path by which this process finds the file: by its name, or by its descriptor while it has none."""
        return self.path if self._has_name else _DESCRIPTORS / str(self.file.fileno())

    def give_name(self) -> None:
        """Let others find the file under its temporary name."""
        if not self._has_name:
            self._guard.watch()
            try:
                self._link(self.path)
            except OSError:  # a file system that makes files without names, and gives them none
                self._copy()
            self._has_name = True
        if fcntl is None:  # Windows, where an open file can not be read by others, nor get another name
            self.file.close()

    def become(self, path: Path) -> bool:
        """Give a file that has no name its only one, unless there is a file of that name: whether it got it."""
        if self._has_name:
            return False
        try:
            self._link(path)
        except OSError:
            return False
        return True

    def _link(self, path: Path) -> None:
        descriptor = self.file.fileno()  # with that besides, Python asks the system to follow the link to the file
        os.link(_DESCRIPTORS / str(descriptor), path, src_dir_fd=descriptor, follow_symlinks=True)

    def place(self, path: Path) -> bool:
        """Give the file another name, to stay, unless there is a file of that name: whether it got it.

        Raises:
            OSError: there can be no file of that name.
        """
        return _moved(self.path, path)

    def _copy(self) -> None:
        with self.file as old:
            self.file = self._named()
            with open(_DESCRIPTORS / str(old.fileno()), "rb") as content:
                shutil.copyfileobj(content, self.file)
            shutil.copystat(_DESCRIPTORS / str(old.fileno()), self.path)
            self.file.flush()
            os.fsync(self.file.fileno())

    def _named(self) -> BinaryIO:
        self._guard.watch()
        return _named(self.path, self._mode)

    def take_after(self, place: Path) -> None:
        """Take the permissions of the file that will be replaced, and its owner as far as this process may."""
        try:
            state = place.stat()
        except FileNotFoundError:
            return
        if hasattr(os, "fchown"):
            for owner in ((state.st_uid, state.st_gid), (-1, state.st_gid)):
                with suppress(OSError):
                    os.fchown(self.file.fileno(), *owner)
                    break
        os.chmod(self.file.fileno() if os.chmod in os.supports_fd else self.path, stat.S_IMODE(state.st_mode))

    @property
    def state(self) -> os.stat_result:
        """What the system says of the file."""
        return self.path.lstat() if self.file.closed else os.fstat(self.file.fileno())

    def is_at(self, path: Path) -> bool:
        """Whether this very file is what has that name."""
        with suppress(OSError):
            return os.path.samestat(path.lstat(), self.state)
        return False

    def close(self) -> None:
        """Remove the temporary name, if there is one, and let go of the file."""
        with suppress(OSError):
            if self.is_at(self.path):
                self.path.unlink()
        with suppress(OSError):  # what could not be written before
            self.file.close()


def try_folder(folder: Path) -> None:
    """Make a file in a folder, and leave none.

    Raises:
        OSError: none can be made there.
    """
    guard = Guard(folder)
    with undisturbed():
        with guard.closed_on_errors():
            made = Temporary(Path(f"{stem_for(folder / 'tried')}.model{SUFFIX}"), guard)
        made.close()
        guard.close()


def lock(file: BinaryIO, *, waits: bool = True) -> None:
    """Hold the file until it is closed, or the process ends.

    Raises:
        OSError: the file system has no locks; or it does not wait, and somebody else holds the file.
    """
    if fcntl is None:
        raise OSError("no locks")
    fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))


def _unnamed(folder: Path, mode: int) -> BinaryIO | None:
    """A file without a name, which can get one later; None where the system or the file system has none."""
    if not hasattr(os, "O_TMPFILE") or not _DESCRIPTORS.is_dir():
        return None
    try:
        file = open(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode), "wb")  # noqa: SIM115
    except OSError:
        return None
    with suppress(OSError):
        lock(file)
    return file


def _named(path: Path, mode: int) -> BinaryIO:
    """A file that has its name from the beginning."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    while True:
        file = open(os.open(path, flags, mode), "wb")  # noqa: SIM115
        with suppress(OSError):  # without locks, nothing is swept either
            lock(file)
        if path.exists():
            return file
        file.close()  # swept before it was locked


def _moved(made: Path, place: Path) -> bool:
    """Give a file another name, if nobody has that."""
    try:
        os.link(made, place)
    except FileExistsError:
        return False
    except OSError:  # a file system on which a file has one name
        return _taken(made, place)
    made.unlink()
    return True


def _taken(made: Path, place: Path) -> bool:
    try:
        os.close(os.open(place, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    try:
        os.replace(made, place)
    except BaseException:
        place.unlink()
        raise
    return True
