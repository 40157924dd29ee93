"""A campaign: many random graphs, from tests/ by ``python -m insertions.run --count 5000 --seed 1 --jobs 2``.

Failures are printed with the steps, the seed and the options that make them again, in the fewest steps that still fail.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from campaigns import fewest, parts, told
from random_graphs import build
from random_graphs.run import drawn

from bnfold.inserting.options import BIASES, POSITIONS, Options
from insertions.properties import Report, examine


@dataclass
class Tally:
    """What a campaign has seen."""

    counts: Counter[str] = field(default_factory=Counter)
    off: list[float] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.counts.update(other.counts)
        self.off += other.off
        self.training += other.training
        self.failures += other.failures

    def note(self, report: Report) -> None:
        self.counts["put in"] += report.inserted
        self.counts["graphs with one"] += bool(report.inserted)
        self.counts["run on onnxruntime"] += report.exact
        self.off += [] if report.off is None else [report.off]
        self.training += [] if report.training is None else [report.training]


def options_of(seed: int) -> Options:
    """What is asked for in the graph of a seed."""
    rng = np.random.default_rng([seed, 7])
    return Options(
        position=str(rng.choice(POSITIONS)),
        include_classifier=bool(rng.random() < 0.8),  # most random graphs end in their linear operator
        bias=None if rng.random() < 0.3 else str(rng.choice(BIASES)),
    )


def tried(steps: Sequence[str], seed: int) -> Report | str | None:
    """What became of a graph, or what does not hold of it; None when nothing can be told."""
    return told(lambda: examine(build(steps, seed), options_of(seed)))


def failure(steps: Sequence[str], seed: int) -> str | None:
    """What does not hold of that graph; None when all does, or nothing can be told."""
    outcome = tried(steps, seed)
    return outcome if isinstance(outcome, str) else None


def campaign(numbers: range, seed: int) -> Tally:
    """One worker's part."""
    tally = Tally()
    for number in numbers:
        steps, own = drawn(seed, number)
        tally.counts["graphs"] += 1
        outcome = tried(steps, own)
        if outcome is None:
            tally.counts["vacuous"] += 1
        elif isinstance(outcome, str):
            few = fewest(steps, partial(tried, seed=own))
            tally.failures.append(f"{failure(few, own)}\n    failure({few}, {own})")
        else:
            tally.note(outcome)
    return tally


def main() -> int:
    """Run, and print what was seen."""
    parser = argparse.ArgumentParser(description="Put BatchNormalizations into many random graphs.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    total, started = Tally(), time.perf_counter()
    with ProcessPoolExecutor(given.jobs) as pool:
        for part in pool.map(partial(campaign, seed=given.seed), parts(given.start, given.count)):
            total.add(part)
            print(*part.failures, sep="\n", end="\n" if part.failures else "", flush=True)
    _summary(total, time.perf_counter() - started, given.seed)
    return 1 if total.failures else 0


def _summary(total: Tally, seconds: float, seed: int) -> None:
    print(f"seed {seed}: {seconds:.0f} s; {len(total.failures)} failures")
    print(", ".join(f"{name} {count}" for name, count in total.counts.items()))
    for name in ("off", "training"):
        values = getattr(total, name)
        if values:
            median, most, worst = np.quantile(values, [0.5, 0.99, 1.0])
            print(f"{name}, in epsilon of max|y|, of {len(values)}: {median:.2g} {most:.2g} {worst:.2g}")


if __name__ == "__main__":
    sys.exit(main())
