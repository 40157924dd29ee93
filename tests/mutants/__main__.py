"""Change `affine.py`, `ops/` and `folding/` in many places, one at a time, and see whether the tests notice.

    PYTHONPATH=tests python -m mutants --count 640     # a sample; writes the record and the list of survivors
    PYTHONPATH=tests python -m mutants --again FILE    # those of such a list, with all tests that run their lines

From the root of the repository, with cosmic-ray and pytest-cov, and OPENBLAS_NUM_THREADS=1. A place is drawn from all
that can be changed, and one of the changes that cosmic-ray's operators know for it. Left out are annotations, which are
never run, and `==` into `is`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, takewhile, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import record

from mutants.places import Mutant, count_places, sample
from mutants.selection import Selection
from mutants.trial import Verdict, trial

FILES = [
    Path("bnfold/affine.py"),
    *sorted(Path("bnfold/ops").glob("*.py")),
    *sorted(Path("bnfold/folding").glob("*.py")),
]
MANY = 150
STAGES = (6, 34, 110)
"""So many tests are tried at first, since most mutants need few, then so many more; `--again` goes on with all."""


@dataclass(frozen=True)
class Manner:
    """How mutants are tried.

    Attributes:
        selection: the tests of each line.
        stages: how many tests are tried at a time; what none of these notices has survived.
        until: when no other mutant is begun.
    """

    selection: Selection
    stages: Sequence[int]
    until: float = math.inf

    def verdict(self, mutant: Mutant, source: str) -> Verdict:
        """What comes of the source in the place of that of the mutant's file."""
        tests = iter(self.selection.of(mutant.path, mutant.line))
        parts = (list(islice(tests, count)) for count in self.stages)
        verdicts = (trial(mutant.path, source, part) for part in parts if part)
        return next((verdict for verdict in verdicts if verdict is not Verdict.SURVIVED), Verdict.SURVIVED)


def tried(mutants: Sequence[Mutant], manner: Manner, jobs: int) -> list[Verdict]:
    """What came of the mutants, as far as they were tried by then; in processes that go on side by side."""
    with TemporaryDirectory() as folder:
        notes = [Path(folder, str(job)) for job in range(jobs)]
        workers = [_beside(partial(_try_all, mutants[job::jobs], manner, note)) for job, note in enumerate(notes)]
        workers.append(_beside(partial(unchanged_survives, mutants, manner.selection)))
        ended = [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers]
        assert not any(ended), "a process that tried mutants, or tests on what is unchanged, has failed"
        lines = [note.read_text(encoding="utf-8").splitlines() for note in notes]
    turns = chain.from_iterable(zip_longest(*lines))
    return [Verdict(line) for line in takewhile(lambda line: line is not None, turns)]


def _beside(work: Callable[[], None]) -> int:
    """A process that does that, and its number."""
    worker = os.fork()
    if worker:
        return worker
    status = 1
    try:
        work()
        status = 0
    except AssertionError:
        traceback.print_exc()
    finally:
        os._exit(status)


def _try_all(mutants: Sequence[Mutant], manner: Manner, note: Path) -> None:
    """Try the mutants, and note a line for each."""
    with note.open("w", encoding="utf-8") as file:
        for mutant in mutants:
            _try(mutant, manner, file)


def _try(mutant: Mutant, manner: Manner, file: TextIO) -> None:
    start = time.monotonic()
    if start > manner.until:
        return
    verdict = manner.verdict(mutant, mutant.source())
    print(verdict.value, file=file, flush=True)
    print(f"{verdict.value} {_said(mutant)}, {time.monotonic() - start:.1f} s", flush=True)


def unchanged_survives(mutants: Sequence[Mutant], selection: Selection) -> None:
    """See that all tests that may be needed pass where nothing is changed: else too many would seem to be killed."""
    chosen = (islice(selection.of(mutant.path, mutant.line), sum(STAGES)) for mutant in mutants)
    tests = sorted(set(chain.from_iterable(chosen)))
    path = mutants[0].path
    for start in range(0, len(tests), MANY):
        some = tests[start : start + MANY]
        assert trial(path, Path(path).read_text(encoding="utf-8"), some) is Verdict.SURVIVED, some
    print(f"{len(tests)} tests pass where nothing is changed", flush=True)


def _said(mutant: Mutant) -> str:
    return f"{mutant.path}:{mutant.line}:{mutant.column} {mutant.operator.removeprefix('core/')}"


def interval(killed: int, count: int) -> tuple[float, float]:
    """Wilson's interval of a share, 95 % sure."""
    z = 1.96
    share, wide = killed / count, z * z / count
    middle = (share + wide / 2) / (1 + wide)
    half = z * math.sqrt(share * (1 - share) / count + wide / (4 * count)) / (1 + wide)
    return middle - half, middle + half


def main() -> int:
    """Draw, try, tell; 1 where less than 85 % were killed."""
    given = _given()
    selection = Selection(given.coverage)
    if given.again:
        mutants = [Mutant(*entry) for entry in json.loads(given.again.read_text(encoding="utf-8"))]
    else:
        mutants = sample(FILES, given.count, given.seed)
    start = time.monotonic()
    stages = (*STAGES, *[1000] * 20) if given.again else STAGES
    verdicts = tried(mutants, Manner(selection, stages, until=start + 60 * given.minutes), given.jobs)
    left = [mutant for mutant, verdict in zip(mutants, verdicts, strict=False) if verdict is Verdict.SURVIVED]
    given.survivors.write_text(json.dumps(left, indent=1) + "\n", encoding="utf-8")
    found = figures(len(verdicts), len(left))
    print(*(f"{what}: {value}" for what, value in found.items()), sep="\n")
    if not given.again:
        command = f"PYTHONPATH=tests python -m mutants --seed {given.seed} --count {given.count} --jobs {given.jobs}"
        record.write("mutants", command, time.monotonic() - start, found)
    return int(len(left) > 0.15 * len(verdicts))


def figures(tried: int, survived: int) -> dict[str, int | str]:
    """What is written down of a run."""
    killed = tried - survived
    low, high = interval(killed, tried)
    return {
        "places that can be changed": count_places(FILES),
        "mutants tried, one for each of so many places": tried,
        "killed": killed,
        "share that is killed": f"{killed / tried:.1%}, 95 % sure between {low:.1%} and {high:.1%}",
    }


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=640)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--again", type=Path)
    parser.add_argument("--coverage", type=Path, default=Path("build/mutants"))
    parser.add_argument("--survivors", type=Path, default=Path("build/survivors.json"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
