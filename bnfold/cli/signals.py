"""The signals that ask a process to end, as exceptions: what was begun is cleaned up on the way out."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Besides SIGINT, which Python turns into a KeyboardInterrupt by itself."""

AGAIN = 0.01
"""Seconds until an exception that was lost is raised again."""

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
    handlers = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(ENDING, _end)}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] is signal.SIG_DFL:
            signal.signal(number, handler)
    try:
        with insisting():
            yield
    finally:
        for number, old in before.items():
            if old is signal.SIG_DFL:
                signal.signal(number, old)


@contextmanager
def insisting() -> Iterator[None]:
    """Raise once more what a signal has raised where Python drops exceptions: in finalizers and some callbacks."""
    before = sys.unraisablehook

    def hook(lost: UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, Ended | KeyboardInterrupt) or not hasattr(signal, "setitimer"):
            before(lost)
            return
        signal.signal(signal.SIGALRM, _raising(lost.exc_value))
        signal.setitimer(signal.ITIMER_REAL, AGAIN)  # behind the callback, in most cases; else it is lost once more

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def _raising(error: BaseException) -> Callable[[int, FrameType | None], None]:
    def handler(_: int, __: FrameType | None) -> None:
        raise error

    return handler


def _end(number: int, _: FrameType | None) -> None:
    """End once: a second signal would end the cleaning up."""
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise Ended(number)
