"""What a training tells of itself: of every step, of every epoch, and of the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bnfold.torch.scores import Score


@dataclass(frozen=True)
class Step:
    """Where a training is.

    Attributes:
        epoch: counted from 1.
        epochs: how many there will be.
        number: of the step in its epoch, counted from 1; that many are done.
        steps: how many an epoch has.
        score: over the epoch's batches so far, each before its step, in training mode.
        best: the best validation score so far.
        best_epoch: after which epoch that was; 0 for the start.
    """

    epoch: int
    epochs: int
    number: int
    steps: int
    score: Score
    best: Score
    best_epoch: int

    def __str__(self) -> str:
        accuracy = "" if self.score.accuracy is None else f", accuracy {self.score.accuracy:.3f}"
        place = f"epoch {self.epoch}/{self.epochs}, step {self.number}/{self.steps}"
        return f"{place}: loss {self.score.loss:.4f}{accuracy} (best validation: epoch {self.best_epoch})"


@dataclass(frozen=True)
class Epoch:
    """What came of an epoch.

    Attributes:
        number: counted from 1.
        lr: the learning rate at its start.
        training: the score over its batches, each before its step, in training mode.
        validation: the score after it.
        is_best: whether it is the best state so far.
        seconds: how long it took, validation included.
    """

    number: int
    lr: float
    training: Score
    validation: Score
    is_best: bool
    seconds: float


@dataclass(frozen=True)
class History:
    """What came of a training.

    Attributes:
        start: the validation score before the first step.
        epochs: one after the other.
        best: the validation score of the state that was kept.
        best_epoch: after which epoch that was; 0 for the start, where no epoch was better.
        is_interrupted: whether it was stopped by hand, and is shorter than was asked for.
        diverged: where and how it diverged and what to try, in a sentence; None where it did not.
    """

    start: Score
    epochs: tuple[Epoch, ...]
    best: Score
    best_epoch: int
    is_interrupted: bool = False
    diverged: str | None = None


@dataclass(frozen=True)
class Watch:
    """Whom a training tells what.

    Attributes:
        step: told of every step.
        epoch: told of every epoch when it is done; where a training goes on, of those before it first.
    """

    step: Callable[[Step], None] = lambda step: None
    epoch: Callable[[Epoch], None] = lambda epoch: None
