"""Which files are opened, by Python's own audit hook: none outside of a folder, but for what Python itself needs."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

HARMLESS = re.compile(rf"/proc/(\d+|self)/statm|{os.devnull}")
"""Where a process reads how large it is, and what takes all and gives nothing."""


class Watch:
    """While it is entered, no file outside of the folders may be opened, made, renamed or removed.

    Args:
        folders: where files may lie; the folder of temporary files is one, and that of Python another.
    """

    def __init__(self, *folders: Path) -> None:
        own = (*folders, Path(tempfile.gettempdir()), Path(sys.prefix), Path(sys.base_prefix), *map(Path, sys.path))
        self._allowed = tuple(os.path.realpath(folder) + os.sep for folder in own if folder.name)
        self._is_on = False
        self.outside: list[str] = []
        sys.addaudithook(self._hear)

    def __enter__(self) -> None:
        self._is_on = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_on = False
        outside, self.outside = self.outside, []
        assert not outside, f"opened outside of the model's folder: {outside}"

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on or event not in {"open", "os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir"}:
            return
        for name in arguments[:2] if event == "os.rename" else arguments[:1]:
            if isinstance(name, str | bytes | os.PathLike):
                place = os.path.realpath(os.fsdecode(name))
                if not HARMLESS.fullmatch(place) and not (place + os.sep).startswith(self._allowed):
                    self.outside.append(f"{event} {place}")
