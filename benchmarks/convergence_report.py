"""Write the tables and pictures of docs/training.md from results/convergence.jsonl.

    python benchmarks/convergence_report.py            # write them
    python benchmarks/convergence_report.py --check    # fail if the committed tables say something else

The text around the tables is kept as it is.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path

from convergence_plots import draw
from convergence_runs import TRAINED, Key, Run, read, seeds_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
PICTURES = PAGE.parent / "images"
BEGIN, END = "<!-- measured: written by benchmarks/convergence_report.py -->", "<!-- end of measured -->"
NONE = "none"

TITLES = {
    "digits": "The source's network on scikit-learn's digits, 800 steps",
    "sigmoids": "Six Gemm layers with sigmoid on the digits, 800 steps",
    "fashion": "The source's network on Fashion-MNIST, 400 steps",
}
LEVELS = {"digits": 0.95, "sigmoids": 0.95, "fashion": 0.85}
"""A validation accuracy that a network of each task has where it has learnt it well."""

HEAD = """| lr | BatchNormalization | ended | steps to the best without, same lr | any lr | to {} | test | gap |
|---:|---|---|---:|---:|---:|---:|---:|
"""
PROOFS = """| network | trainings | compared | examples | other class | other accuracy | off, of max abs(y) |
|---|---:|---:|---:|---:|---:|---:|
"""

Cell = Callable[[Run], str]


def section(runs: Sequence[Run]) -> str:
    """A table per task, and one of the folds."""
    present = [task for task in TITLES if any(run.key.task == task for run in runs)]
    tables = [f"### {TITLES[task]}\n\n{HEAD.format(LEVELS[task])}" + "".join(_rows(runs, task)) for task in present]
    proofs = "### The folds\n\n" + PROOFS + "".join(_proofs(runs, task) for task in present)
    return "\n".join([*tables, proofs])


def _rows(runs: Sequence[Run], task: str) -> Iterator[str]:
    mine = [run for run in runs if run.key.task == task]
    targets = Targets(mine)
    columns = (targets.same_rate, targets.any_rate, level, accuracy, gap)
    for rate in sorted({run.key.rate for run in mine}):
        for variant in dict.fromkeys(run.key.variant for run in mine):
            group = sorted(seeds_of(mine, task, variant, rate), key=lambda run: run.key.seed)
            if group:
                cells = [_cells(group, cell) for cell in columns]
                yield f"| {rate:g} | {variant} | {endings(group)} | {' | '.join(cells)} |\n"


def _cells(group: Sequence[Run], cell: Cell) -> str:
    """A cell for each seed, side by side."""
    return " ".join(map(cell, group))


class Targets:
    """How soon a training reached the best validation accuracy of the network without BatchNormalization.

    Args:
        runs: all trainings of a task.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._bare = {run.key: run for run in runs if run.key.variant == NONE and run.ended == TRAINED}

    def same_rate(self, run: Run) -> str:
        """The same seed at the same rate; empty where that one learnt nothing."""
        bare = self._bare.get(run.key._replace(variant=NONE))
        return "·" if bare is None else _steps(run, bare.best)

    def any_rate(self, run: Run) -> str:
        """The same seed at the rate that was best for it."""
        best = max((bare.best for key, bare in self._bare.items() if key.seed == run.key.seed), default=None)
        return "·" if best is None else _steps(run, best)


def _steps(run: Run, right: int) -> str:
    steps = run.steps_to(right)
    return "never" if steps is None else str(steps)


def level(run: Run) -> str:
    """After how many steps it was good."""
    return _steps(run, ceil(LEVELS[run.key.task] * run.validated))


def endings(group: Sequence[Run]) -> str:
    """How the trainings of a group ended, the number of each where they differ."""
    counted = Counter(run.ended for run in group)
    if len(counted) == 1:
        return group[0].ended
    return ", ".join(f"{number} {ended}" for ended, number in sorted(counted.items()))


def accuracy(run: Run) -> str:
    """On the test part, as .993."""
    return "-" if run.accuracy is None else _decimals(run.accuracy)


def gap(run: Run) -> str:
    """Training less test accuracy; only of what has learnt something."""
    return "-" if run.gap is None or run.ended != TRAINED else _decimals(run.gap)


def _decimals(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _proofs(runs: Sequence[Run], task: str) -> str:
    mine = [run for run in runs if run.key.task == task]
    proofs = [run.proof for run in mine if run.proof is not None]
    compared = sum(proof.tested for proof in proofs)
    apart = compared - sum(proof.agree for proof in proofs)
    other = sum(proof.right != proof.right_folded for proof in proofs)
    off = max((proof.off / proof.largest for proof in proofs), default=0.0)
    return f"| {task} | {len(mine)} | {len(proofs)} | {compared} | {apart} | {other} | {off:.1e} |\n"


def page(text: str, runs: Mapping[Key, Run]) -> str:
    """The page with the tables of these trainings."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{section(list(runs.values()))}\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Write or check."""
    runs = read()
    committed = PAGE.read_text(encoding="utf-8")
    made = page(committed, runs)
    if "--check" in sys.argv:
        if made != committed:
            print("docs/training.md is stale: run python benchmarks/convergence_report.py", file=sys.stderr)
        return int(made != committed)
    PAGE.write_text(made, encoding="utf-8")
    draw(list(runs.values()), PICTURES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
