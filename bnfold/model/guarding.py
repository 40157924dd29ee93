"""Who removes what this process leaves when it is killed: a shell that waits for its end.

A result whose weights lie beside it has a name while it is checked. The shell reads from a pipe that ends with this
process, however that ends; a line in it says that all is well. Otherwise the shell becomes a Python that sweeps the
folder (`bnfold.model.sweeping`), which removes nothing that anybody still holds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_WAIT = 'read -r _ || exec "$0" -c "$1" "$2" "$3"'
_SWEEP = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bnfold.model.sweeping import sweep
sweep(Path(sys.argv[2]))
"""
_PACKAGES = str(Path(__file__).resolve().parents[2])
_SHELL = "/bin/sh"


class Guard:
    """Sweeps a folder if this process ends without having closed it, where there is a shell."""

    def __init__(self, folder: Path) -> None:
        self._shell: subprocess.Popen[bytes] | None = None
        if not Path(sys.executable or "").name.startswith("python"):  # a program that has Python in it
            return
        with suppress(OSError):
            self._shell = subprocess.Popen(
                [_SHELL, "-c", _WAIT, sys.executable, _SWEEP, _PACKAGES, os.path.abspath(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",  # a folder that is to go can go
                start_new_session=True,  # what is sent to all processes of a terminal or a job is not for this one
            )

    def close(self) -> None:
        """All is well: the shell ends."""
        shell, self._shell = self._shell, None
        if shell is None or shell.stdin is None:
            return
        with suppress(OSError):
            shell.stdin.write(b"\n")
            shell.stdin.close()
        shell.wait()
