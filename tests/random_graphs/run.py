"""A campaign: many random graphs, from tests/ by ``python -m random_graphs.run --count 20000 --seed 1 --jobs 2``.

Failures are printed with the steps and the seed that make them again, in the fewest steps that still fail.
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
from typing import Any

import numpy as np
from campaigns import fewest, parts, told

from random_graphs import STEPS, Built, build
from random_graphs.check import Report, examine

MOST_STEPS = 9
BETWEEN = 0.35
"""How many graphs are one step between a linear operator and an affine: what a map needs to get through to it."""
AFFINES = ("scalar constant", "constant along an axis", "BatchNormalization", "BatchNormalization, of nothing special")
LINEAR = ("Conv", "Conv, same", "ConvTranspose", "Gemm", "MatMul", "MatMul, constant left", "twins")
FAVOURED = (
    "Conv or Gemm, then BatchNormalization",
    "BatchNormalization",
    "BatchNormalization, a positive scale alone",
    "BatchNormalization, of nothing special",
    "constant along an axis",
    "Conv",
    "Gemm",
    "MatMul",
)


@dataclass
class Tally:
    """What a campaign has seen."""

    graphs: int = 0
    vacuous: int = 0
    operators: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)
    stayed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.graphs += other.graphs
        self.vacuous += other.vacuous
        for name in ("operators", "kinds", "gone", "stayed"):
            getattr(self, name).update(getattr(other, name))
        self.failures += other.failures


def drawn(seed: int, number: int) -> tuple[list[str], int]:
    """(steps, seed) of one graph of a campaign."""
    rng = np.random.default_rng([seed, number])
    names = sorted(STEPS)
    if rng.random() < BETWEEN:
        around = [str(rng.choice(choices)) for choices in (LINEAR, names, AFFINES)]
        return around, int(rng.integers(10**9))
    count = int(rng.integers(1, MOST_STEPS + 1))
    steps = [str(rng.choice(LINEAR))] if rng.random() < 0.6 else []
    steps += [str(rng.choice(FAVOURED)) if rng.random() < 0.35 else str(rng.choice(names)) for _ in range(count)]
    return steps, int(rng.integers(10**9))


def failure(steps: Sequence[str], seed: int, **options: Any) -> str | None:
    """What does not hold of that graph; None when all does, or nothing can be told."""
    outcome = tried(steps, seed, **options)
    return outcome if isinstance(outcome, str) else None


def tried(steps: Sequence[str], seed: int, **options: Any) -> tuple[Built, Report] | str | None:
    """A graph and what became of it, or what does not hold of it; None when nothing can be told."""
    return told(lambda: _examined(build(steps, seed), **options))


def _examined(built: Built, **options: Any) -> tuple[Built, Report]:
    return built, examine(built, **options)


def campaign(numbers: range, seed: int, own_type_every: int, options: dict[str, Any]) -> Tally:
    """One worker's part."""
    tally = Tally()
    for number in numbers:
        steps, own = drawn(seed, number)
        kwargs = {**options, "in_own_type": number % own_type_every == 0}
        tally.graphs += 1
        outcome = tried(steps, own, **kwargs)
        if outcome is None:
            tally.vacuous += 1
        elif isinstance(outcome, str):
            few = fewest(steps, partial(tried, seed=own, **kwargs))
            tally.failures.append(f"{failure(few, own, **kwargs)}\n    failure({few}, {own}, **{kwargs})")
        else:
            built, report = outcome
            _note(tally, built.used, f"opset {built.options.opset}", report)
    return tally


def _note(tally: Tally, used: Counter[str], kind: str, report: Report) -> None:
    tally.operators.update(dict.fromkeys(used, 1))
    tally.kinds[kind] += 1
    tally.gone.update(report.gone)
    tally.stayed.update(report.stayed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fold many random graphs and compare.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--own-type-every", type=int, default=10, help="how seldom onnxruntime is asked as well")
    parser.add_argument("--no-again", action="store_true", help="let a second fold find something")
    parser.add_argument("--prefer", help="passed on to bnfold.fold; a fold may add nodes then")
    given = parser.parse_args()
    options: dict[str, Any] = {} if given.prefer is None else {"prefer": given.prefer}
    options |= {"smaller": given.prefer in (None, "speed"), "again": not given.no_again}
    total, started = Tally(), time.perf_counter()
    work = partial(campaign, seed=given.seed, own_type_every=given.own_type_every, options=options)
    with ProcessPoolExecutor(given.jobs) as pool:
        for part in pool.map(work, parts(given.start, given.count)):
            total.add(part)
            print(*part.failures, sep="\n", end="\n" if part.failures else "", flush=True)
            _progress(total, started)
    _summary(total, time.perf_counter() - started, given.seed)
    return 1 if total.failures else 0


def _progress(total: Tally, started: float) -> None:
    if total.graphs % 1000 == 0:
        spent = time.perf_counter() - started
        print(f"{total.graphs} graphs, {len(total.failures)} failures, {spent:.0f} s", file=sys.stderr, flush=True)


def _summary(total: Tally, seconds: float, seed: int) -> None:
    print(f"seed {seed}: {total.graphs} graphs in {seconds:.0f} s, {1000 * seconds / total.graphs:.1f} ms each")
    print(f"{len(total.failures)} failures; {total.vacuous} graphs were vacuous")
    for name in ("gone", "stayed", "kinds", "operators"):
        counts = getattr(total, name)
        print(f"{name} ({sum(counts.values())}):", ", ".join(f"{k} {n}" for k, n in counts.most_common()))


if __name__ == "__main__":
    sys.exit(main())
