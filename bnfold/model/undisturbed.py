"""What has to come to its end once it was begun."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM") if hasattr(signal, name))
"""What asks a process to end; and the alarm by which it is asked once more (`bnfold.cli.signals`)."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off the signals that Python has a handler for, such as a second Ctrl-C, until the block is done."""
    if threading.current_thread() is not threading.main_thread():  # no other one is disturbed
        yield
        return
    heard: list[int] = []
    before = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(heard):
            before[signal.Signals(number)](number, None)


class Closing:
    """Something that is called once: when it is done with, or else at the end of the process that made it.

    A signal may come between a block and what is to be done at its end, and then nothing else would.

    Attributes:
        close: what is called. Who makes something that is to be closed sets it `undisturbed`, and calls this whatever
            comes of that.
    """

    def __init__(self) -> None:
        self.close: Callable[[], None] | None = None
        self._process = os.getpid()
        atexit.register(self.__call__)

    def __call__(self) -> None:
        """Do it, undisturbed; but not in a process that was forked, whose files they are not."""
        if os.getpid() == self._process and self.close is not None:
            with undisturbed():
                self.close()
        atexit.unregister(self.__call__)
