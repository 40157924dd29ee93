"""What runs of bnfold's own code, and what it takes of memory, counted and not timed."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import bnfold
from bnfold.folding.attempt import Attempt

PACKAGE = str(Path(bnfold.__file__).parent)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the lines of the package that run, each time round a loop too, and the questions to operators."""
    found: Counter[str] = Counter()

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        found["questions"] += frame.f_code is Attempt._settle.__code__
        return line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def line(frame: FrameType, event: str, argument: object) -> Any:
        found["lines"] += event == "line"
        return line

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield found
    finally:
        sys.settrace(before)


@contextmanager
def counted_large(limit: int) -> Iterator[Counter[str]]:
    """Count, per function, how often more bytes than that are taken between two calls: no line tells how long it is."""
    found: Counter[str] = Counter()
    before, where = 0, ""

    def look(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal before, where
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_lines = False
        left, most = tracemalloc.get_traced_memory()
        found[where] += most - before > limit
        tracemalloc.reset_peak()
        before, where = left, frame.f_code.co_qualname
        return look

    previous = sys.gettrace()
    tracemalloc.start()
    sys.settrace(look)
    try:
        yield found
    finally:
        sys.settrace(previous)
        tracemalloc.stop()
