"""A terminal in memory: a command runs on a real pty, and what it sends is what a person comes to see.

The pty is the command's stdout and stderr, or one of them where the other is a pipe. The bytes go into a screen of
pyte, with everything that has scrolled out above it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyte

LIMIT = 120.0
"""Seconds that a command may take."""

ESCAPE = re.compile(rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z\\-_])")
UNSET = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM")
"""What would say how a terminal is, and has to be said by the test."""


class Shown(NamedTuple):
    """What came of a command.

    Attributes:
        status: its exit status.
        sent: the bytes that the terminal got.
        screens: what was to be seen, each time that something came.
        last: what is to be seen in the end, and by scrolling back, without the spaces at the ends of lines.
        piped: what the stream that was no terminal got.
    """

    status: int
    sent: bytes
    screens: tuple[str, ...]
    last: str
    piped: str

    @property
    def lines(self) -> list[str]:
        return self.last.splitlines()

    @property
    def escapes(self) -> list[bytes]:
        """The escape sequences that were sent."""
        return ESCAPE.findall(self.sent)

    @property
    def colours(self) -> list[bytes]:
        """Those that set a colour, of 8, 256 or 16 million."""
        return [
            code for code in self.escapes if re.search(rb"\[(?:[\d;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;|m)", code)
        ]


def on_terminal(
    command: Sequence[str | Path],
    place: Path,
    *,
    columns: int = 80,
    rows: int = 50,
    streams: str = "both",
    environment: Mapping[str, str] | None = None,
) -> Shown:
    """Run a command of bnfold on a terminal.

    Args:
        command: its arguments.
        place: the folder to run it in.
        columns: how wide the terminal is.
        rows: how high it is.
        streams: what of the command is on it: "both", "stdout" or "stderr"; the other is a pipe.
        environment: variables, beside those of a usual terminal.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in UNSET}
    out, err = (theirs if streams in ("both", name) else subprocess.PIPE for name in ("stdout", "stderr"))
    with subprocess.Popen(
        [sys.executable, "-m", "bnfold", *map(str, command)],
        cwd=place,
        env=variables | {"TERM": "xterm-256color"} | dict(environment or {}),
        stdin=theirs,
        stdout=out,
        stderr=err,
    ) as process:
        os.close(theirs)
        try:
            screen = pyte.HistoryScreen(columns, rows, history=10_000)
            sent, screens = _watched(ours, screen)
            pipe = process.stdout or process.stderr
            piped = pipe.read().decode() if pipe else ""
            return Shown(process.wait(LIMIT), sent, screens, _text([*_above(screen), *screen.display]), piped)
        finally:
            process.kill()
            os.close(ours)


def _watched(ours: int, screen: pyte.HistoryScreen) -> tuple[bytes, tuple[str, ...]]:
    """All that the terminal gets until nothing has it open any more, and what it shows along the way."""
    stream, sent, screens, end = pyte.ByteStream(screen), b"", [], time.monotonic() + LIMIT
    while time.monotonic() < end and select.select([ours], [], [], end - time.monotonic())[0]:
        try:
            some = os.read(ours, 1 << 16)
        except OSError:  # how Linux says that the other end is closed
            break
        if not some:
            break
        sent += some
        stream.feed(some)
        screens.append(_text(screen.display))
    return sent, tuple(screens)


def _above(screen: pyte.HistoryScreen) -> list[str]:
    """What has scrolled out."""
    return ["".join(row[x].data for x in range(screen.columns)) for row in screen.history.top]


def _text(lines: Sequence[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).rstrip()
