"""The threads in which numpy multiplies matrices.

OpenBLAS starts them as soon as numpy is imported, one per core, and they look for work for a while. Where there is none
they cost a third of the processor time of a small fold.
"""

from __future__ import annotations

import os

THREADS_VARIABLE = "OPENBLAS_NUM_THREADS"


def let_blas_take(threads: int) -> None:
    """Let there be so many threads, if numpy is not imported yet; what the user's environment says goes first."""
    os.environ.setdefault(THREADS_VARIABLE, str(threads))
