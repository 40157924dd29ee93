"""How long the steps of a command take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Clock:
    """How long things take.

    Attributes:
        seconds: by what was done, in the order in which it was begun.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, doing: str) -> Iterator[None]:
        """Add the time that the block takes."""
        begun = time.perf_counter()
        self.seconds.setdefault(doing, 0.0)
        try:
            yield
        finally:
            self.seconds[doing] += time.perf_counter() - begun
