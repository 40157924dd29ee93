"""The signals that ask a process to end, as exceptions: what was begun is cleaned up on the way out."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Besides SIGINT, which Python turns into a KeyboardInterrupt by itself."""

AGAIN = 0.01
"""Seconds until an exception that was lost, or had to wait for an import, is raised again."""

PATIENCE = 10.0
"""Seconds that are waited for an import at most."""

_IMPORTING = "<frozen importlib._bootstrap>"
"""The file that Python names for the code that imports."""

SHELL = 128
"""The exit status of what a signal has ended, less the signal's number."""


class Ended(BaseException):
    """A signal asked this process to end. Unlike Ctrl-C, it does not ask a training for what it has.

    Attributes:
        how: in words.
        status: the exit status that tells of it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        self.status = SHELL + number


@contextmanager
def heard() -> Iterator[None]:
    """Let signals raise `Ended`, or for Ctrl-C KeyboardInterrupt, in this block. What is ignored (nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGINT: interrupt, **dict.fromkeys(ENDING, _end)}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, handler)
    try:
        with insisting():
            yield
    finally:
        for number, old in before.items():
            if old in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, old)


@contextmanager
def insisting() -> Iterator[None]:
    """Raise once more what a signal has raised where Python drops exceptions: in finalizers and some callbacks."""
    before = sys.unraisablehook

    def hook(lost: UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, Ended | KeyboardInterrupt) or not hasattr(signal, "setitimer"):
            before(lost)
            return
        _raise_later(lost.exc_value)  # behind the callback, in most cases; else it is lost once more

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def ask(error: BaseException) -> None:
    """Raise what a signal asks for; behind the import that is on, if one is.

    Code in C that an import begins may not survive an exception (protobuf's ends the process), make another error of it
    (onnxruntime's, and Python's own until 3.12 where a class is made), or drop it.
    """
    if not hasattr(signal, "setitimer") or not _is_importing():
        raise error
    _raise_later(error)


def interrupt(_: int, __: FrameType | None) -> None:
    """What Ctrl-C does."""
    ask(KeyboardInterrupt())


def _end(number: int, _: FrameType | None) -> None:
    """End once: a second signal would end the cleaning up."""
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    ask(Ended(number))


def _raise_later(error: BaseException) -> None:
    """Raise it as soon as nothing is being imported, or it took too long."""
    latest = time.monotonic() + PATIENCE

    def handler(_: int, __: FrameType | None) -> None:
        if time.monotonic() > latest or not _is_importing():
            raise error
        signal.setitimer(signal.ITIMER_REAL, AGAIN)

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, AGAIN)


def _is_importing() -> bool:
    """Whether what was interrupted is, or was called by, an import."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False
