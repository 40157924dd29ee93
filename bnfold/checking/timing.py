"""How long a run of two models takes, as they are deployed: a figure to look at, which no check rests on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bnfold.checking.feeding import feed
from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.runtime import describe

if TYPE_CHECKING:
    from bnfold.checking.subject import Model
    from bnfold.checking.trials import Feeds
    from bnfold.runtime import Session

PATIENCE = 1.0
"""Seconds that are spent on all runs together, more or less."""

MOST_RUNS, FEWEST_RUNS = 100, 3


@dataclass(frozen=True)
class RunTimes:
    """How long one run takes, onnxruntime's own rewriting on.

    Attributes:
        before: seconds of the original, the median.
        after: seconds of the other model.
        runs: how often each was run.
        provider: where, by onnxruntime's name.
        inputs: the inputs in words, such as ``("x float32[2, 3, 32, 32]",)``.
    """

    before: float
    after: float
    runs: int
    provider: str
    inputs: tuple[str, ...]


def time_runs(before: Model, after: Model, provider: str, settings: Settings) -> RunTimes:
    """Run two models in turn on the first inputs of a check, and take the medians.

    Args:
        before: the original.
        after: the other model.
        provider: where, by onnxruntime's name.
        settings: those of the check, which say what the inputs are.

    Raises:
        ModelError: a model can not be loaded or run.
        RuntimeUnavailable: the provider can not run it.
    """
    subjects = [Subject(model, label, tf32=settings.tf32) for model, label in ((before, "before"), (after, "after"))]
    sessions = [subject.session(provider, optimized=True) for subject in subjects]
    given = feed(subjects[0], sessions[0], settings).feeds[0]
    times = _alternating(sessions, given)
    return RunTimes(median(times[0]), median(times[1]), len(times[0]), provider, describe(given))


def _alternating(sessions: Sequence[Session], given: Feeds) -> list[list[float]]:
    """The seconds of each run; in turn, so that what else the machine does meets both. The first ones do not count."""
    found: list[list[float]] = [[] for _ in sessions]
    for session in sessions:
        session.run(given)
    begun = time.perf_counter()
    while len(found[0]) < MOST_RUNS and (len(found[0]) < FEWEST_RUNS or time.perf_counter() - begun < PATIENCE):
        for session, times in zip(sessions, found, strict=True):
            start = time.perf_counter()
            session.run(given)
            times.append(time.perf_counter() - start)
    return found
