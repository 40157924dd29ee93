"""Calls of the command line in processes that may take so much time and memory, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import NamedTuple

SERVER = Path(__file__).with_name("server.py")
SECONDS = 60.0
MEMORY = 3 << 30
"""Of address space, beyond what a process with bnfold and onnxruntime has: a thread reserves 64 MiB and uses little."""


class Ended(NamedTuple):
    """How a call ended.

    Attributes:
        status: its exit status; -1 where a signal ended it.
        signal: the name of the signal.
        seconds: of the processor that it took.
        peak: by how many bytes its memory grew at most.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
    """

    status: int
    signal: str
    seconds: float
    peak: int
    out: str
    err: str


class Client:
    """Runs calls, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._folder = TemporaryDirectory(prefix="bnfold-hostile-")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def call(self, folder: Path, *arguments: str, seconds: float = SECONDS, memory: int = MEMORY) -> Ended:
        """Run the command line in a folder."""
        out, err = Path(self._folder.name, "out"), Path(self._folder.name, "err")
        request = {
            "arguments": arguments,
            "folder": str(folder),
            "out": str(out),
            "err": str(err),
            "seconds": seconds,
            "bytes": memory,
        }
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("both are pipes")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        texts = (path.read_bytes().decode("utf-8", "backslashreplace") for path in (out, err))
        return Ended(answer["status"], answer["signal"], answer["seconds"], answer["peak"], *texts)
