"""The end of a process that has nothing left to do."""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End the process with that exit status, and let the system take its memory back in one piece.

    Python would first take the view of the graph apart object by object, a tenth of the time of a large fold. All that
    is to happen at the end happens: what asked to be called is called (`atexit`), and streams are flushed.
    """
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:
        if not status:  # a success of which not all was shown: Python's own end knows what to say
            sys.exit(status)
    os._exit(status)
