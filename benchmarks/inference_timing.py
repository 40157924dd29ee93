"""How long the forms of a model take to open and to run, in turns in one process, on one thread.

Each form is run once per round, in an order drawn for every round. Sessions are opened afresh several times, since
where their memory happens to lie makes some faster than others, and since opening is timed too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime

from bnfold.runtime import CPU

Array: TypeAlias = npt.NDArray[Any]
Times: TypeAlias = npt.NDArray[np.float64]
Feeds: TypeAlias = Mapping[str, Array]

OPENINGS, LEAST_OPENINGS = 12, 4
"""How often the sessions are opened afresh, and how often where that takes long."""
MOST_TIMES = 3
"""Of the seconds asked for: what opening, warming and running may take before no session is opened again."""
LEAST_ROUNDS = 2
"""Of every opening."""
LEAST_SAMPLE = 1e-3
"""Seconds that a sample takes at least: shorter runs are repeated within it."""
WARM = 2
"""Runs of a session before the first that counts."""


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        run: seconds per run, ``[rounds, forms]``.
        open: seconds to create a session, ``[openings, forms]``.
    """

    run: Times
    open: Times


def session(model: bytes, provider: str = CPU) -> Any:  # noqa: ANN401 (onnxruntime is untyped)
    """One thread, everything on that onnxruntime does by itself."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=[provider])


def interleaved(models: Sequence[bytes], feeds: Feeds, seconds: float, provider: str = CPU) -> Measured:
    """Open all forms and run them in turns, in about that much time of running.

    On the CPU the time is that of the one thread that computes, so that other processes count little; elsewhere it is
    the clock's.
    """
    clock = time.thread_time if provider == CPU else time.perf_counter
    order = np.random.default_rng(0)
    rounds: list[Times] = []
    opened: list[Times] = []
    start = clock()
    while len(opened) < OPENINGS and (len(opened) < LEAST_OPENINGS or clock() - start < MOST_TIMES * seconds):
        sessions: list[Any] = [None] * len(models)
        taken = np.zeros(len(models))
        for index in order.permutation(len(models)):
            begin = clock()
            sessions[index] = session(models[index], provider)
            taken[index] = clock() - begin
        opened.append(taken)
        rounds += _rounds(sessions, feeds, seconds / OPENINGS, order, clock)
    return Measured(np.stack(rounds), np.stack(opened))


def _rounds(
    sessions: Sequence[Any], feeds: Feeds, seconds: float, order: np.random.Generator, clock: Callable[[], float]
) -> Iterator[Times]:
    """Seconds per run of each session, round by round."""
    first = [_sample(each, feeds, 1, clock) for _ in range(WARM) for each in sessions]
    repeats = max(1, round(LEAST_SAMPLE / min(first)))
    begin, count = clock(), 0
    while count < LEAST_ROUNDS or clock() - begin < seconds:
        taken = np.zeros(len(sessions))
        for index in order.permutation(len(sessions)):
            taken[index] = _sample(sessions[index], feeds, repeats, clock)
        yield taken
        count += 1


def _sample(opened: Any, feeds: Feeds, repeats: int, clock: Callable[[], float]) -> float:  # noqa: ANN401
    begin = clock()
    for _ in range(repeats):
        opened.run(None, feeds)
    return (clock() - begin) / repeats
