"""What a whole process costs: the clock's time, the processor's, and the memory that was resident at most."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Of one process with all that it has waited for: seconds, seconds of user and system time, bytes."""

    wall: float
    cpu: float
    peak: int


class Miss(NamedTuple):
    """Why there is no cost: more seconds than were allowed, or what the process said last."""

    reason: str
    over: float | None = None


def cost(arguments: Sequence[str | Path], environment: Mapping[str, str], limit: float) -> Cost | Miss:
    """Run a process to its end.

    Args:
        arguments: the program, by its path, and what it is given.
        environment: its variables.
        limit: seconds after which it is ended.
    """
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen([str(part) for part in arguments], stdout=output, stderr=output, env=environment)
        timer = threading.Timer(limit, process.kill)
        timer.start()
        # Not process.wait: only wait4 says what this one child has used.
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode == 0:
            return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
        output.seek(0)
        said = output.read().decode(errors="replace").strip().splitlines()
    if wall >= limit:
        return Miss(f"> {limit:g} s", over=limit)
    return Miss(f"status {process.returncode}: {said[-1][-200:] if said else 'said nothing'}")
