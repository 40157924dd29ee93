"""Making things in a thread before they are asked for, so that reading and computing do not wait for writing."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from enum import Enum
from typing import TypeVar

T = TypeVar("T")

FEW = 4
"""How many are made when they are asked for, without a thread, which would cost more than it gains; and after that how
many wait at most."""


class _End(Enum):
    """What comes behind the last thing."""

    END = 0


def ahead(things: Iterator[T]) -> Generator[T, None, None]:
    """The same things in the same order; only one thread makes them at a time.

    Whoever may leave before the last one closes the iterator, which waits for what is being made.

    Raises:
        whatever making one raises, where it is asked for.
    """
    for _ in range(FEW):
        if (thing := next(things, _End.END)) is _End.END:
            return
        yield thing
    from concurrent.futures.thread import ThreadPoolExecutor  # as late: small models do without

    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, things, _End.END) for _ in range(FEW))
        while (thing := waiting.popleft().result()) is not _End.END:
            yield thing
            waiting.append(pool.submit(next, things, _End.END))
