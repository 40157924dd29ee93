"""One mutant on trial: a fork of this process, which has imported all but bnfold, runs tests on it."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from enum import Enum
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

import hypothesis
import ml_dtypes
import numpy
import onnx
import onnx.reference
import pytest

PRELOADED = (hypothesis, ml_dtypes, numpy, onnx, onnx.reference)
"""Not onnxruntime: it starts a thread, and what that holds at the fork no one ever lets go. Nor may numpy have any."""
SECONDS = 60
"""Of CPU time; the tests of a line that is not mutated need less. What runs into it is a loop without an end."""
MEMORY = 12 << 30
_BROKEN = 99
_NO_VERDICT = (_BROKEN, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
_OPTIONS = [
    *("-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", "--hypothesis-seed=0"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # what was imported before the fork is not rewritten
]


class _Loader(SourceFileLoader):
    """Of one module, whose source is another than that of its file."""

    source = ""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, path: str, source: str) -> None:
        self._path, self._source = path, source
        self._name = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _Loader(fullname, str(Path(self._path).resolve()))
        loader.source = self._source
        return spec_from_file_location(fullname, self._path, loader=loader)


class Verdict(Enum):
    """What came of a trial."""

    SURVIVED = "survived"
    KILLED = "killed"
    ENDLESS = "killed by the clock"


def trial(path: str, source: str, tests: Sequence[str]) -> Verdict:
    """Whether one of the tests fails, or no end of them comes, with that source in the place of the file."""
    assert len(os.listdir("/proc/self/task")) == 1, "a fork of a process with threads may hang: OPENBLAS_NUM_THREADS=1"
    child = os.fork()
    if child == 0:
        status = _BROKEN
        try:
            status = _run(path, source, tests)
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    status = os.waitstatus_to_exitcode(waited)
    assert status not in _NO_VERDICT, (path, status, tests[:3])
    if status in (-signal.SIGXCPU, -signal.SIGALRM, -signal.SIGKILL):
        return Verdict.ENDLESS
    return Verdict.KILLED if status else Verdict.SURVIVED


def _run(path: str, source: str, tests: Sequence[str]) -> int:
    """The exit status of pytest; in a process that does nothing else."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.alarm(10 * SECONDS)
    if "MUTANTS_SHOW" not in os.environ:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
    sys.meta_path.insert(0, _Finder(path, source))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        return int(pytest.main([*_OPTIONS, f"--basetemp={folder}/pytest", *tests]))
