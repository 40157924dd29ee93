"""Where a command writes: text and progress, and never over the files that it reads."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

UNWRAPPED = 10_000
"""Columns of what is no terminal: a name that is looked for with grep stands on one line."""

PATIENCE = 2.0
"""Seconds before progress is shown."""


def protect(files: Iterable[Path], *targets: str | Path | None) -> None:
    """Let nothing be written over a file that the model was read from, itself or its weights.

    Raises:
        UsageError: a target is one of the files.
    """
    for target in (Path(target) for target in targets if target):
        if any(_same(target, file) for file in files):
            raise UsageError(f"'{target}' is the model itself, or holds its weights; give another output")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # there is no such file, or there can be none: writing will tell
        return False


def open_console(*, quiet: bool = False) -> Console:
    """The console on stdout; a quiet one where stdout is for a document."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else UNWRAPPED
    return Console(quiet=quiet, highlight=False, soft_wrap=True, width=width)


@contextmanager
def showing_progress() -> Iterator[Callable[[str], None]]:
    """A function that is told what is being done, and shows it where that takes long and somebody looks."""
    from rich.console import Console
    from rich.status import Status

    status = Status("", console=Console(stderr=True))
    begun = time.monotonic()
    shown = sys.stderr.isatty()

    def tell(doing: str) -> None:
        status.update(doing)
        if shown and time.monotonic() - begun > PATIENCE:
            status.start()

    try:
        yield tell
    finally:
        status.stop()
