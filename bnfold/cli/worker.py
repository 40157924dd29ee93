"""A process that folds one model after the other, so that what kills it kills nothing else."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

from bnfold.cli.fold import fold
from bnfold.cli.main import judged

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class Outcome(NamedTuple):
    """What came of one model.

    Attributes:
        status: the exit status that a call for this model alone has.
        sentence: what was wrong; empty where nothing was.
        document: its JSON, empty where there is none.
        log: what else went to stderr.
    """

    status: int
    sentence: str
    document: str = ""
    log: str = ""


class Made(NamedTuple):
    """A temporary file or folder that is about to be made, or with `old` to get another name."""

    path: str
    old: str | None = None


def work(link: Connection, threads: int) -> None:
    """Fold what comes over the link until it is closed, and send an `Outcome` for each.

    Args:
        link: gives the arguments of `bnfold.cli.fold.fold`; takes a `Made` for every temporary file besides.
        threads: how many onnxruntime may take.
    """
    from bnfold.runtime.threads import THREADS_VARIABLE

    os.environ.setdefault(THREADS_VARIABLE, str(threads))
    _tell_of_files(link)
    try:
        while True:
            signal.signal(signal.SIGTERM, _interrupt)
            link.send(_folded(link.recv()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _folded(arguments: dict[str, Any]) -> Outcome:
    document, log = StringIO(), StringIO()
    with redirect_stdout(document), redirect_stderr(log):
        status, sentence = judged(lambda: fold(**arguments))
    return Outcome(status, sentence, document.getvalue(), log.getvalue())


def _interrupt(*_: object) -> None:
    """End what is being done as Ctrl-C would, once: a second time would end the cleaning up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _tell_of_files(link: Connection) -> None:
    """Tell of temporary files by Python's own events, before they are there: a killed process tells nothing."""

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("tempfile.mkstemp", "tempfile.mkdtemp"):
            link.send(Made(os.path.abspath(arguments[0])))
        if event == "os.rename":
            link.send(Made(os.path.abspath(arguments[1]), os.path.abspath(arguments[0])))

    sys.addaudithook(hear)
