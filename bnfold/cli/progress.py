"""What is being done, on a terminal, once it takes long: a line on stderr that is gone when the work is."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from bnfold.model.bounded import ONLY_SHOWING

Tell: TypeAlias = Callable[[str], None]

PATIENCE = 2.0
"""Seconds of a command before it shows what it does."""

BEGUN = time.monotonic()
"""When the command began: what was done before it shows anything counts, too."""

INTERVAL = 0.1
"""Seconds between two pictures of the line."""


def is_watched() -> bool:
    """Whether somebody looks at stderr, on something that can take a line back."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


@contextmanager
def showing_progress(doing: str = "") -> Iterator[Tell]:
    """A function that is told what is being done, and shows it where that takes long and somebody looks.

    Args:
        doing: what is done first.
    """
    if not is_watched():
        yield lambda text: None
        return
    line = _Line(doing)
    line.start()
    try:
        yield line.tell
    finally:
        line.end()


class _Line(threading.Thread):
    """Shows the line whatever the main thread does, be it inside of onnxruntime."""

    def __init__(self, doing: str) -> None:
        super().__init__(name=ONLY_SHOWING, daemon=True)
        self._doing, self._begun = doing, time.monotonic()
        self._ended = threading.Event()

    def tell(self, doing: str) -> None:
        self._doing = doing

    def end(self) -> None:
        """Take the line back."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        if self._ended.wait(max(0.0, PATIENCE - (time.monotonic() - BEGUN))):
            return
        with suppress(MemoryError, OSError):  # no picture is worth a command
            self._show()

    def _show(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner
        from rich.text import Text

        from bnfold.report.printable import printable

        def text() -> Text:
            seconds = time.monotonic() - self._begun
            return Text(f"{printable(self._doing)}  {seconds:.0f} s", no_wrap=True, overflow="ellipsis")

        console, spinner = Console(stderr=True, highlight=False), Spinner("dots", text())
        live = Live(
            spinner,
            console=console,
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,  # these are the main thread's
            redirect_stderr=False,
        )
        with live:
            while not self._ended.wait(INTERVAL):
                spinner.update(text=text())
                live.refresh()
