"""Times of several sessions, taken in turns, so that what else the machine does falls on all of them alike.

With one thread it is the processor's time that is taken, which a busy machine disturbs less; with two the clock's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, helper

Times: TypeAlias = npt.NDArray[np.float64]
Clock: TypeAlias = Callable[[], float]
Feeds: TypeAlias = dict[str, npt.NDArray[Any]]

LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
LEAST_SAMPLE = 2e-4
"""Seconds that a sample takes at least: shorter runs are repeated within it."""
LEAST_ROUNDS = 7


@dataclass(frozen=True)
class Setting:
    """How the sessions run: graph optimisation `all` or `off`, and the number of threads."""

    level: str
    threads: int

    def __str__(self) -> str:
        return f"optimisation {self.level}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class Session(Protocol):
    """What is used of onnxruntime's, which has no types."""

    def run(self, names: None, feeds: Feeds) -> object:
        """All outputs."""


def session(model: ModelProto, setting: Setting) -> Session:
    """A session on the CPU provider, whose idle threads do not spin: they would slow down the next session's turn."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[setting.level]
    options.intra_op_num_threads = setting.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made: Session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return made


def input_for(model: ModelProto) -> Feeds:
    """Standard normal values for the one input."""
    (entry,) = model.graph.input
    tensor = entry.type.tensor_type
    values = np.random.default_rng(0).standard_normal([dim.dim_value for dim in tensor.shape.dim])
    return {entry.name: values.astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))}


def interleaved(models: Mapping[str, ModelProto], setting: Setting, seconds: float) -> dict[str, Times]:
    """Seconds per run of every model in every round, in about that much time."""
    sessions = [session(model, setting) for model in models.values()]
    feeds = input_for(next(iter(models.values())))
    clock = time.thread_time if setting.threads == 1 else time.perf_counter
    first = [_sample(each, feeds, 1, clock) for each in sessions for _ in range(2)]
    repeats = max(1, int(LEAST_SAMPLE / min(first)))
    rounds: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < LEAST_ROUNDS or time.perf_counter() < end:
        rounds.append(_round(sessions, feeds, repeats, clock, start=len(rounds)))
    return dict(zip(models, np.array(rounds).T, strict=True))


def _round(sessions: list[Session], feeds: Feeds, repeats: int, clock: Clock, *, start: int) -> list[float]:
    """Every session once; each round begins with another, so that none always follows the same."""
    taken = [0.0] * len(sessions)
    for turn in range(len(sessions)):
        index = (start + turn) % len(sessions)
        taken[index] = _sample(sessions[index], feeds, repeats, clock)
    return taken


def _sample(each: Session, feeds: Feeds, repeats: int, clock: Clock) -> float:
    begin = clock()
    for _ in range(repeats):
        each.run(None, feeds)
    return (clock() - begin) / repeats


@dataclass(frozen=True)
class Ratio:
    """One form over another: quartiles of the ratio within a round, and the ratio of the best times."""

    low: float
    median: float
    high: float
    best: float

    @property
    def verdict(self) -> str:
        """`pays`, `costs` or `even`: the median and the best times have to agree, by more than 2 %."""
        if self.median < 0.98 and self.best < 0.98:
            return "pays"
        return "costs" if self.median > 1.02 and self.best > 1.02 else "even"


def ratio(times: Times, base: Times) -> Ratio:
    """How long a form takes over a base that was measured in the same rounds."""
    low, median, high = np.quantile(times / base, [0.25, 0.5, 0.75])
    return Ratio(float(low), float(median), float(high), float(times.min() / base.min()))
