"""The command line as tests call it: what came of a call."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias


class Outcome(NamedTuple):
    """Exit status, and what was written to the two streams."""

    status: int
    out: str
    err: str


Run: TypeAlias = Callable[..., Outcome]


def bnfold_process(*arguments: str | Path, **environment: str) -> Outcome:
    """The command line, in a process of its own."""
    return bnfold_in(Path.cwd(), *arguments, **environment)


def bnfold_in(place: Path, *arguments: str | Path, **environment: str) -> Outcome:
    """The same, in a folder."""
    command = [sys.executable, "-m", "bnfold", *map(str, arguments)]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=place, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)
