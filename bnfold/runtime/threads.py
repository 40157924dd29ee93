"""How many threads onnxruntime may take."""

from __future__ import annotations

import os

from bnfold.errors import UsageError

THREADS_VARIABLE = "BNFOLD_THREADS"
"""The environment variable that says it; not set or 0 is onnxruntime's own choice, one per core."""


def threads() -> int:
    """What the environment says.

    Raises:
        UsageError: it says no number.
    """
    said = os.environ.get(THREADS_VARIABLE, "0")
    if not (said.isascii() and said.isdecimal()):
        raise UsageError(f"{THREADS_VARIABLE} is the number of threads that a session may take, and not '{said}'")
    return int(said)
