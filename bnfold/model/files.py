"""Files that have to be what they were when they were opened."""

from __future__ import annotations

import os
from pathlib import Path

from bnfold.errors import ModelError


class Opened:
    """A file as it was at one moment.

    Attributes:
        path: its name.
    """

    def __init__(self, path: Path, state: os.stat_result) -> None:
        """The file of that name, which was in that state."""
        self.path = path
        self._identity = _identity(state)

    @classmethod
    def now(cls, path: Path) -> Opened:
        """A file as it is now.

        Raises:
            OSError: it is gone.
        """
        return cls(path, path.stat())

    def verify(self, state: os.stat_result | None = None) -> None:
        """See that it is what it was, and that its name is not that of another file by now.

        Args:
            state: of the file; None asks for that of the name.

        Raises:
            ModelError: it is not.
        """
        try:
            is_same = _identity(state or self.path.stat()) == self._identity
        except OSError:
            is_same = False
        if not is_same:
            raise ModelError(
                f"'{self.path}' was changed or replaced after it was read; nothing was written: do it again when "
                "nothing else writes to the file"
            )

    def renew(self) -> None:
        """Take the file as it is now, which this process has put there itself."""
        self._identity = _identity(self.path.stat())


def _identity(state: os.stat_result) -> tuple[int, int, int, int]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns
