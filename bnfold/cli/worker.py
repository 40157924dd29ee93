"""A process that folds one model after the other, so that what kills it kills nothing else."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

from bnfold.cli.blas import let_blas_take
from bnfold.cli.fold import fold
from bnfold.cli.main import RARELY, judged
from bnfold.cli.signals import ask, insisting, interrupt

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


MANY = 150_000
"""How many objects have to be left before Python looks for cycles among them: that takes as long as a small fold."""


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


def work(link: Connection, threads: int) -> None:
    """Fold what comes over the link until it is closed, and send an `Outcome` for each.

    Args:
        link: gives the arguments of `bnfold.cli.fold.fold`.
        threads: how many onnxruntime may take, and numpy.
    """
    from bnfold.runtime.threads import THREADS_VARIABLE

    os.environ.setdefault(THREADS_VARIABLE, str(threads))
    let_blas_take(threads)
    gc.set_threshold(RARELY)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal sends it to all, and the first process decides
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        with insisting():
            while True:
                signal.signal(signal.SIGTERM, _interrupt)
                link.send(_folded(link.recv()))
                forget()
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _folded(arguments: dict[str, Any]) -> Outcome:
    document, log = StringIO(), StringIO()
    with redirect_stdout(document), redirect_stderr(log):
        status, sentence = judged(lambda: fold(**arguments))
    return Outcome(status, sentence, document.getvalue(), log.getvalue())


def forget() -> None:
    """Let the graph of a large model be gone before there is that of the next one."""
    if gc.get_count()[0] > MANY:
        gc.collect()


def _interrupt(*_: object) -> None:
    """End what is being done as Ctrl-C would, once: a second time would end the cleaning up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ask(KeyboardInterrupt())
