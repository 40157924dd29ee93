"""A process that answers JSON lines, started again whenever it dies or takes too long: one case is lost at most."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

SECONDS_PER_CASE = 30.0
SECONDS_TO_START = 120.0


class Died(Exception):
    """The process gave no answer; the text says what happened, in one line."""


class Process:
    """A command whose first line on stdout is a greeting, and that then answers a line for each line that it gets.

    Attributes:
        greeting: What it said when it started.
    """

    _process: subprocess.Popen[bytes]

    def __init__(self, command: Sequence[str], seconds: float = SECONDS_PER_CASE) -> None:
        self._command = list(command)
        self._seconds = seconds
        self.greeting = self._start()

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer.

        Raises:
            Died: it ended, or did not answer in time; another process has been started.
        """
        stdin = self._process.stdin
        assert stdin is not None
        try:
            self._errors_before = os.fstat(self._errors.fileno()).st_size
            stdin.write(json.dumps(job).encode() + b"\n")
            return self._answer(self._seconds)
        except (Died, BrokenPipeError) as death:
            reason = str(death) if isinstance(death, Died) else self._reason()
            self._start()
            raise Died(reason) from death

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            stream.close()

    def _start(self) -> dict[str, Any]:
        if hasattr(self, "_process"):
            self.close()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._errors_before = 0
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
        )
        return self._answer(SECONDS_TO_START)

    def _answer(self, seconds: float) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], seconds)[0]:
            raise Died(f"no answer within {seconds:.0f} s")
        line = stdout.readline()
        if not line:
            raise Died(self._reason())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _reason(self) -> str:
        """The signal that ended it, or the line of its traceback that names the error."""
        status = self._process.wait()
        if status < 0:
            return f"ended by {signal.Signals(-status).name}"
        self._errors.seek(self._errors_before)
        return last_error(self._errors.read().decode(errors="replace")) or f"ended with status {status}"


ERROR = re.compile(r"(?:\w+\.)*(\w*(?:Error|Exception|Fail|NotImplemented|Invalid)\w*: ?.*)")
LINKS = ("the direct cause of the following exception:", "another exception occurred:")
"""Python writes them between the tracebacks of one chain."""
LONGEST = 200


def last_error(stderr: str) -> str:
    """The error that the last traceback began with, which its others come from; without one the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("Traceback") and not before.endswith(LINKS):
            errors = []
        if found := ERROR.fullmatch(line):
            errors.append(found[1])
    return (errors or lines[-1:] or [""])[0][:LONGEST]
