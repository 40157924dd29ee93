"""What campaigns over random graphs share: trials whose end is told, the fewest steps that fail, parts of work."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from random_graphs.check import Vacuous

T = TypeVar("T")
CHUNK = 50
"""Graphs that a worker is given at a time."""
_TELLING = 30
"""Characters by which failures are told apart."""


def told(trial: Callable[[], T]) -> T | str | None:
    """What a trial gives, or what does not hold; None when nothing can be told."""
    try:
        return trial()
    except Vacuous:
        return None
    except AssertionError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (a crash is a failure like any other, whatever it is)
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {where.filename.rsplit('/', 1)[-1]}:{where.lineno}: {error}"


def symptom(outcome: object) -> str:
    """The beginning of a failure without its numbers; empty for what is none."""
    return "".join(c for c in outcome if not c.isdigit())[:_TELLING] if isinstance(outcome, str) else ""


def fewest(steps: Sequence[str], tried: Callable[[Sequence[str]], object]) -> list[str]:
    """The fewest of the steps that still fail in the same way."""
    seen = symptom(tried(steps))
    for k in range(len(steps)):
        fewer = [*steps[:k], *steps[k + 1 :]]
        if seen and symptom(tried(fewer)) == seen:
            return fewest(fewer, tried)
    return list(steps)


def parts(start: int, count: int) -> list[range]:
    """The numbers of a campaign, as workers get them."""
    stop = start + count
    return [range(at, min(at + CHUNK, stop)) for at in range(start, stop, CHUNK)]
