"""End bnfold behind each step of its work in turn: behind each call that may change what is on the disk.

What a process leaves on the disk changes with its calls of the system alone, so that behind each of them is every
moment that there is for a kill. Python tells of each of its calls into C (`sys.setprofile`).
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

CHANGING = frozenset(
    {
        *(
            "open",
            "close",
            "write",
            "writev",
            "copy_file_range",
            "sendfile",
            "truncate",
            "ftruncate",
            "fsync",
            "fdatasync",
        ),
        *("link", "symlink", "rename", "replace", "unlink", "remove", "mkdir", "rmdir", "fork_exec", "posix_spawn"),
        *("chmod", "fchmod", "chown", "fchown", "utime", "setxattr", "flock"),
    }
)
MODULES = ("posix", "fcntl", "_posixsubprocess", "_io")
"""The modules of C in which the calls are."""


def is_step(function: Any) -> bool:
    """Whether a function of C may change what is on the disk, or who holds it."""
    if function.__name__ not in CHANGING:
        return False
    return function.__module__ in MODULES or isinstance(getattr(function, "__self__", None), io.IOBase)


def counted(act: Callable[[int], None]) -> None:
    """Call `act` behind each step of this thread from now on, with the number of the step."""
    seen = 0

    def behind(_: FrameType, event: str, function: Any) -> None:
        nonlocal seen
        if event in {"c_return", "c_exception"} and is_step(function):
            seen += 1
            act(seen)

    sys.setprofile(behind)


def ended_behind(step: int, by: signal.Signals) -> Callable[[], None]:
    """What has a process send itself a signal behind a step; a kill to those that it has begun as well."""

    def act(number: int) -> None:
        if number == step:
            os.kill(0 if by == signal.SIGKILL else os.getpid(), by)

    return lambda: counted(act)


def written_to(place: Path) -> Callable[[], None]:
    """What has a process write down how many steps it has made."""
    file = os.open(place, os.O_CREAT | os.O_WRONLY)

    def act(number: int) -> None:
        os.pwrite(file, b"%8d" % number, 0)

    return lambda: counted(act)
