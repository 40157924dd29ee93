"""What killed processes have left, and who is about to take a data file back.

A data file gets its name before its model does. Until the model has its own, a *claim* lies beside it: a small
temporary file that names the data file, locked like the others. The temporary name of the model goes first when all is
in place, and last when nothing comes of it. So a claim that nobody holds tells, with the model's temporary name, of a
data file that no model refers to; and without it of one that stays.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bnfold.model.guarding import Guard
from bnfold.model.temporary import NAME, SUFFIX, Temporary, lock


def claim(stem: Path, number: int, made: Temporary, place: Path, guard: Guard) -> Temporary:
    """Say that a data file is about to get its name, which is its last one only when its model has one.

    Args:
        stem: how the temporary names of this write begin.
        number: of the claim.
        made: the data file.
        place: what its name will be, in the folder of the model or below.
        guard: of the folder of the model.
    """
    told = Temporary(Path(f"{stem}.claim.{number}{SUFFIX}"), guard)
    told.file.write(f"{_identity(made.state)}\n{place.relative_to(stem.parent)}".encode(errors="surrogateescape"))
    told.file.flush()
    told.give_name()
    return told


def is_claimed(place: Path, folder: Path) -> bool:
    """Whether the model of a data file is not in its place yet, in `folder`, and may never be."""
    with suppress(OSError):
        identity, found = _identity(place.stat()), _found(folder)
        for name in (name for name in found if ".claim." in name):
            with suppress(OSError), _opened(folder / name) as file:
                if _claimed(file, folder) == (identity, place):
                    return True
    return False


def sweep(folder: Path) -> None:
    """Remove what processes that are dead have left in a folder, as far as it can be removed."""
    with suppress(OSError):
        found = _found(folder)
        for name in sorted(found, key=lambda name: found[name] == "model"):  # the model's last
            with suppress(OSError), _abandoned(folder / name) as file:
                _remove(folder / name, file)


def _remove(path: Path, file: BinaryIO) -> None:
    """Remove an abandoned file, and the data file that it claims."""
    match = NAME.fullmatch(path.name)
    assert match is not None
    model = f"{match['stem']}.model{SUFFIX}"
    if match["kind"] == "model" and any(
        name.startswith(match["stem"]) and name != model for name in _found(path.parent)
    ):
        return
    if match["kind"] == "claim" and os.path.lexists(path.with_name(model)):
        identity, place = _claimed(file, path.parent)
        with suppress(FileNotFoundError):
            if place is not None and _identity(place.lstat()) == identity:
                place.unlink()
    path.unlink()


def _found(folder: Path) -> dict[str, str]:
    """The temporary names in a folder, and the kind of each."""
    with os.scandir(folder) as entries:
        return {entry.name: match["kind"] for entry in entries if (match := NAME.fullmatch(entry.name))}


def _claimed(file: BinaryIO, folder: Path) -> tuple[str, Path | None]:
    """What a claim says."""
    identity, _, name = file.read().decode(errors="surrogateescape").partition("\n")
    is_below = name and not os.path.isabs(name) and ".." not in Path(name).parts
    return identity, folder / name if is_below else None


def _identity(state: os.stat_result) -> str:
    """What no other file is, not even one that gets the same number later."""
    return f"{state.st_ino} {state.st_size} {state.st_mtime_ns}"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags), "rb") as file:
        yield file


@contextmanager
def _abandoned(path: Path) -> Iterator[BinaryIO]:
    """The file, locked, if it is this user's own, nobody else has locked it, and it still has its name.

    Raises:
        OSError: it is none.
    """
    with _opened(path) as file:
        lock(file, waits=False)
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or os.geteuid() not in (0, state.st_uid):
            raise PermissionError
        if not os.path.samestat(path.lstat(), state):
            raise FileNotFoundError
        yield file
