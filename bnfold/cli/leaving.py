"""The end of a process that has nothing left to do."""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End the process with that exit status, and let the system take its memory back in one piece.

    Python would first take the view of the graph apart object by object, a tenth of the time of a large fold. All that
    is to happen at the end happens: streams are flushed, and what asked to be called is called (`atexit`).
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:  # nobody reads any more: Python's own end knows what to say
        sys.exit(status)
    atexit._run_exitfuncs()
    os._exit(status)
