"""Several processes that fold; one that dies is the failure of the model that it was folding, and of no other."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from bnfold.cli.main import BAD_INPUT, INTERRUPTED
from bnfold.cli.worker import Outcome, work
from bnfold.model.sweeping import sweep
from bnfold.model.undisturbed import undisturbed

GRACE = 10.0
"""Seconds that a process gets to clean up after itself when all is stopped."""

TICK = 0.2
"""Seconds between two looks at the clock."""


def fold_all(
    requests: Sequence[dict[str, Any]],
    processes: int,
    threads: int,
    *,
    done: Callable[[int, Outcome], None],
    tick: Callable[[], None],
) -> None:
    """Fold every model; no failure stops the others.

    Args:
        requests: for each the arguments of `bnfold.cli.fold.fold`.
        processes: how many are folded at a time.
        threads: how many threads onnxruntime may take in each.
        done: is told the number of a model and what came of it.
        tick: is called several times a second.

    Raises:
        KeyboardInterrupt: Ctrl-C; every process has ended, and no temporary file is left.
    """
    waiting = deque(range(len(requests)))
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.is_busy for worker in workers):
            workers = [worker for worker in workers if worker.is_busy or worker.is_alive]
            while waiting and len(workers) < processes:
                workers.append(_Worker(threads))
            for worker in workers:
                if waiting and not worker.is_busy:
                    worker.begin(waiting[0], requests[waiting.popleft()])
            _hear(workers, done, TICK)
            tick()
    finally:
        with _without_interrupts():
            _stop(workers, done)


def _hear(workers: Sequence[_Worker], done: Callable[[int, Outcome], None], patience: float) -> None:
    """Take what the processes have sent, or wait a moment for it."""
    busy = [worker for worker in workers if worker.is_busy]
    told = wait([worker.link for worker in busy], patience)
    for worker in (worker for worker in busy if worker.link in told):
        done(worker.number, worker.hear())


def _stop(workers: Sequence[_Worker], done: Callable[[int, Outcome], None]) -> None:
    """End all processes; what one was folding ends as it does when Ctrl-C ends it alone."""
    for worker in workers:
        worker.stop()
    deadline = time.monotonic() + GRACE
    while any(worker.is_busy for worker in workers) and time.monotonic() < deadline:
        _hear(workers, done, TICK)
    for worker in workers:
        worker.kill()


class _Worker:
    """One process, from this side.

    Attributes:
        link: the connection to it.
        number: the model that it is folding, or was.
        is_busy: whether it is folding, or has died of it without being asked.
    """

    def __init__(self, threads: int) -> None:
        context = get_context("spawn")  # the one way that is the same on every system
        self.link, far = context.Pipe()
        self.number, self.is_busy = -1, False
        self._folder = Path()
        self._process = context.Process(target=work, args=(far, threads), daemon=True)
        with undisturbed(), _without_interrupts():  # one that is told only half of what it is to do traces that
            self._process.start()
        far.close()

    @property
    def is_alive(self) -> bool:
        """Whether there is such a process."""
        return self._process.is_alive()

    def begin(self, number: int, request: dict[str, Any]) -> None:
        """Give it a model."""
        self.number, self.is_busy = number, True
        self._folder = Path(os.path.realpath(request["output"])).parent
        with suppress(OSError):  # it has died: the next look at the link tells
            self.link.send(request)

    def hear(self) -> Outcome:
        """What came of the model, which it has sent, if it has not died."""
        try:
            outcome: Outcome = self.link.recv()
        except (EOFError, OSError):
            return self._buried()
        self.is_busy = False
        return outcome

    def _buried(self) -> Outcome:
        self._process.join()
        self.link.close()
        self.is_busy = False
        sweep(self._folder)
        code = self._process.exitcode
        return interrupted() if code == -signal.SIGTERM else Outcome(BAD_INPUT, _cause_of_death(code))

    def stop(self) -> None:
        """Ask it to end; it cleans up first."""
        if self.is_busy:
            self._process.terminate()
        else:
            self.link.close()

    def kill(self) -> None:
        """End it, if it has not ended by itself, and clean up after it."""
        if self.is_busy:
            self._process.kill()
            self._buried()
        self._process.join(GRACE)


def _cause_of_death(code: int | None) -> str:
    """Why there is no result, and what to do, in one sentence."""
    if code is None or code >= 0:
        return f"the process that folded it ended by itself, with exit status {code}; fold it alone to see why"
    name = signal.Signals(-code).name
    if name == "SIGKILL":
        return (
            "the process that folded it was killed (SIGKILL), as the system does when memory runs out; "
            "give fewer --jobs, or --no-check, which needs a fraction of the memory"
        )
    return (
        f"the process that folded it crashed ({name}), most likely in onnxruntime, which runs it for the check; "
        "--no-check folds without"
    )


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process that begins in here ignores Ctrl-C, which a terminal sends to all: this one decides, and stops them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted() -> Outcome:
    """What is said of a model that was not begun, or not done."""
    return Outcome(INTERRUPTED, "not done when all was interrupted")
