"""The signals that ask a process to end, as exceptions: what was begun is cleaned up on the way out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Besides SIGINT, which Python turns into a KeyboardInterrupt by itself."""

SHELL = 128
"""The exit status of what a signal has ended, less the signal's number."""


class Ended(BaseException):
    """A signal asked this process to end. Unlike Ctrl-C, it does not ask a training for what it has.

    Attributes:
        name: of the signal.
        status: the exit status that tells of it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = signal.Signals(number).name
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
        yield
    finally:
        for number, old in before.items():
            if old is signal.SIG_DFL:
                signal.signal(number, old)


def _end(number: int, _: FrameType | None) -> None:
    """End once: a second signal would end the cleaning up."""
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise Ended(number)
