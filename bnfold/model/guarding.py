"""Who removes what this process leaves when it is killed: a shell that waits for its end.

A result whose weights lie beside it has a name while it is checked, and one that takes another's place has one for a
moment. The shell reads from a pipe that ends with this process, however that ends; a line in it says that all is well.
Otherwise the shell becomes a Python that sweeps the folder, which removes nothing that anybody still holds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_WAIT = 'read -r _ || exec "$0" -c "$1" "$2" "$3" "$4"'
_SWEEP = """
import sys
from importlib import import_module
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import_module(sys.argv[2]).sweep(Path(sys.argv[3]))
"""
_PACKAGES = str(Path(__file__).resolve().parents[2])
_SHELL = "/bin/sh"


class Guard:
    """Sweeps a folder if this process ends after `watch` without having closed it, where there is a shell.

    Args:
        folder: the folder.
        sweeper: the module whose `sweep` does it.
    """

    def __init__(self, folder: Path, sweeper: str = "bnfold.model.sweeping") -> None:
        self._folder = os.path.abspath(folder)
        self._sweeper = sweeper
        self._is_watching = False
        self._shell: subprocess.Popen[bytes] | None = None

    def watch(self) -> None:
        """Begin, if that was not done yet: to be called before anything in the folder gets a temporary name."""
        if self._is_watching:
            return
        self._is_watching = True
        if not Path(sys.executable or "").name.startswith("python"):  # a program that has Python in it
            return
        with suppress(OSError):
            self._shell = subprocess.Popen(
                [_SHELL, "-c", _WAIT, sys.executable, _SWEEP, _PACKAGES, self._sweeper, self._folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",  # a folder that is to go can go
                start_new_session=True,  # what is sent to all processes of a terminal or a job is not for this one
            )

    @contextmanager
    def closed_on_errors(self) -> Iterator[None]:
        """Close it if the block raises, before which nothing was made that is to be guarded."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """All is well: the shell ends."""
        shell, self._shell = self._shell, None
        if shell is None or shell.stdin is None:
            return
        with suppress(OSError):
            shell.stdin.write(b"\n")
            shell.stdin.close()
        shell.wait()
