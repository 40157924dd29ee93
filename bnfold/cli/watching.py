"""How a training is watched: a bar over its steps on a terminal, and a line per epoch there and elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from bnfold.torch.history import Epoch, Step

BAR = 20
"""Columns of the bar; the scores take the rest of a narrow terminal."""


class Display(Protocol):
    """What is told of a training."""

    def tell(self, doing: str) -> None:
        """Show what is being done."""

    def step(self, step: Step) -> None:
        """Show where the training is."""

    def epoch(self, epoch: Epoch) -> None:
        """Show what came of an epoch, to stay."""


@contextmanager
def watching(epochs: int, *, quiet: bool = False) -> Iterator[Display]:
    """A display on stderr for a training of so many epochs.

    Args:
        epochs: how many there will be.
        quiet: no lines where nobody looks.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not sys.stderr.isatty() or console.is_dumb_terminal:
        yield _Lines(epochs, quiet=quiet)
        return
    with _bar(console) as progress:
        yield _Bar(progress, epochs)


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    words = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[scores]}", markup=False)
    return Progress(words[0], BarColumn(BAR), words[1], TimeRemainingColumn(), console=console, transient=True)


class _Lines:
    def __init__(self, epochs: int, *, quiet: bool) -> None:
        self._epochs, self._quiet = epochs, quiet

    def tell(self, doing: str) -> None:
        pass

    def step(self, step: Step) -> None:
        pass

    def epoch(self, epoch: Epoch) -> None:
        from bnfold.report import epoch_line

        if not self._quiet:
            print(epoch_line(epoch, self._epochs), file=sys.stderr, flush=True)


class _Bar:
    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress, self._epochs = progress, epochs
        self._task = progress.add_task("", total=None, scores="")
        self._is_begun = False

    def tell(self, doing: str) -> None:
        self._progress.update(self._task, description=doing, scores="")

    def step(self, step: Step) -> None:
        from bnfold.report import step_words

        done = (step.epoch - 1) * step.steps + step.number
        if not self._is_begun:  # where a training goes on, what was done before says nothing about the time left
            self._progress.reset(self._task, total=step.epochs * step.steps, completed=done - 1)
            self._is_begun = True
        place = f"epoch {step.epoch}/{step.epochs}"
        self._progress.update(self._task, completed=done, description=place, scores=step_words(step))

    def epoch(self, epoch: Epoch) -> None:
        from bnfold.report import epoch_line

        self._progress.console.print(epoch_line(epoch, self._epochs), markup=False)
