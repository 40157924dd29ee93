"""Several processes that fold; one that dies is the failure of the model that it was folding, and of no other."""

from __future__ import annotations

import os
import shutil
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
from bnfold.cli.worker import Made, Outcome, work

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
        number, outcome = worker.number, worker.hear()
        if outcome is not None:
            done(number, outcome)


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
        self._target = ""
        self._made: set[str] = set()
        self._process = context.Process(target=work, args=(far, threads), daemon=True)
        with _without_interrupts():
            self._process.start()
        far.close()

    @property
    def is_alive(self) -> bool:
        """Whether there is such a process."""
        return self._process.is_alive()

    def begin(self, number: int, request: dict[str, Any]) -> None:
        """Give it a model."""
        self.number, self.is_busy = number, True
        self._target = os.path.realpath(request["output"])
        with suppress(OSError):  # it has died: the next look at the link tells
            self.link.send(request)

    def hear(self) -> Outcome | None:
        """What came of the model, if that is what it has sent, or if it has died."""
        try:
            message = self.link.recv()
        except (EOFError, OSError):
            return self._buried()
        if isinstance(message, Outcome):
            self.is_busy = False
            self._made.clear()
            return message
        self._note(message)
        return None

    def _note(self, made: Made) -> None:
        """Remember what has to go if the process dies; a file that got another name goes under that one."""
        if made.old is None:
            self._made.add(made.path)
        elif made.path == self._target:  # the model is put in its place, and needs its data
            self._made.clear()
        elif made.old in self._made:
            self._made.remove(made.old)
            self._made.add(made.path)

    def _buried(self) -> Outcome:
        self._process.join()
        self.link.close()
        self.is_busy = False
        _remove(self._made)
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


def _remove(paths: set[str]) -> None:
    for path in map(Path, paths):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


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
