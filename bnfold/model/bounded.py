"""A bound on memory for code that has none, and that does what a file says: onnx's shape inference."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ONLY_SHOWING = "bnfold-progress"
"""The name of a thread that shows what is being done, and goes on where it gets no memory."""


@contextmanager
def bounded_memory(room: int) -> Iterator[None]:
    """Let the process take `room` bytes more at most, while the block runs.

    A limit holds for the whole process, so there is none where other threads of Python run, but for one that only shows
    what is being done and can do without memory. The system has to be one that says how large a process is (Linux).

    Raises:
        MemoryError: the block wanted more.
    """
    if sys.platform != "linux" or _others_run():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _size() + room
    if soft != resource.RLIM_INFINITY and soft <= limit:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _others_run() -> bool:
    return sum(thread.name != ONLY_SHOWING for thread in threading.enumerate()) > 1


def _size() -> int:
    """How many bytes of address space the process has."""
    import resource

    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
