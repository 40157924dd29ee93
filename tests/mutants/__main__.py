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
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import record

from mutants.places import Mutant, count_places, sample
from mutants.selection import Selection
from mutants.trial import Verdict, trial

FILES = [
    Path("bnfold/affine.py"),
    *sorted(Path("bnfold/ops").glob("*.py")),
    *sorted(Path("bnfold/folding").glob("*.py")),
]
KNOWN = Path(__file__).with_name("known.json")
"""Mutants of which it is known why they survive."""
MANY = 150
STAGES = (6, 44, 60)
"""A mutant is tried with so many tests at first, since most need few; then with so many more, and so many more."""


@dataclass(frozen=True)
class Manner:
    """How mutants are tried.

    Attributes:
        tests: those to try, by mutant. Chosen before any process parts: coverage empties its data in a fork.
        stages: how many tests are tried at a time; what none of these notices has survived.
        until: when no other mutant is begun.
    """

    tests: Mapping[Mutant, Sequence[str]]
    stages: Sequence[int]
    until: float


def tried(mutants: Sequence[Mutant], manner: Manner, jobs: int) -> dict[Mutant, Verdict]:
    """What came of the mutants that were tried; in processes that go on side by side."""
    numbered = list(enumerate(mutants))
    with TemporaryDirectory() as folder:
        notes = [Path(folder, str(job)) for job in range(jobs)]
        workers = [_beside(partial(_try_all, numbered[job::jobs], manner, note)) for job, note in enumerate(notes)]
        workers.append(_beside(partial(unchanged_survives, manner)))
        ended = [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers]
        assert not any(ended), "a process that tried mutants, or tests on what is unchanged, has failed"
        lines = [line.split(" ", 1) for note in notes for line in note.read_text(encoding="utf-8").splitlines()]
    said = {int(number): Verdict(verdict) for number, verdict in lines}
    return {mutant: said[number] for number, mutant in enumerate(mutants) if number in said}


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


def _try_all(mutants: Sequence[tuple[int, Mutant]], manner: Manner, note: Path) -> None:
    """Try the mutants, and note a line for each that says what has come of it."""
    with note.open("w", encoding="utf-8") as file:
        for number, mutant in mutants:
            start = time.monotonic()
            if start > manner.until:
                return
            verdict = _verdict(mutant, manner)
            print(number, verdict.value, file=file, flush=True)
            print(f"{number} {verdict.value} {_said(mutant)}, {time.monotonic() - start:.1f} s", flush=True)


def _verdict(mutant: Mutant, manner: Manner) -> Verdict:
    source, tests = mutant.source(), iter(manner.tests[mutant])
    parts = (list(islice(tests, count)) for count in manner.stages)
    verdicts = (trial(mutant.path, source, part) for part in parts if part)
    return next((verdict for verdict in verdicts if verdict is not Verdict.SURVIVED), Verdict.SURVIVED)


def unchanged_survives(manner: Manner) -> None:
    """See that all tests that may be needed pass where nothing is changed: else too many would seem to be killed."""
    tests = sorted(set(chain.from_iterable(islice(some, sum(STAGES)) for some in manner.tests.values())))
    path = next(iter(manner.tests)).path
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
    if given.again:
        entries = json.loads(given.again.read_text(encoding="utf-8"))
        mutants = [Mutant(**{key: entry[key] for key in Mutant._fields}) for entry in entries]
    else:
        mutants = sample(FILES, given.count, given.seed)
    start = time.monotonic()
    stages = (*STAGES, *[1000] * 20) if given.again else STAGES
    manner = Manner(chosen(mutants, given.coverage), stages, until=start + 60 * given.minutes)
    verdicts = tried(mutants, manner, given.jobs)
    left = [mutant for mutant, verdict in verdicts.items() if verdict is Verdict.SURVIVED]
    given.survivors.write_text(json.dumps(listed(left), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    found = figures(len(verdicts), len(left))
    print(*(f"{what}: {value}" for what, value in found.items()), sep="\n")
    if given.note and not given.again:
        command = f"PYTHONPATH=tests python -m mutants --seed {given.seed} --count {given.count} --jobs {given.jobs}"
        record.write("mutants", command, time.monotonic() - start, found)
    return int(len(left) > 0.15 * len(verdicts))


def chosen(mutants: Sequence[Mutant], coverage: Path) -> dict[Mutant, Sequence[str]]:
    """The tests for each mutant; what they were chosen from is let go, as every fork would carry it along."""
    selection = Selection(coverage)
    return {mutant: selection.of(mutant.path, mutant.line) for mutant in mutants}


def listed(left: Sequence[Mutant]) -> list[dict[str, Any]]:
    """The survivors as `docs/survivors.py` has them; of one that KNOWN has, with the reason for which it survives."""
    known = {(entry["path"], entry["before"], entry["after"]): entry for entry in json.loads(KNOWN.read_text("utf-8"))}
    found: list[dict[str, Any]] = []
    for mutant in left:
        before, after = mutant.change()
        reason = known.get((mutant.path, before, after), {"kind": "gap", "why": "a gap"})
        entry = {**mutant._asdict(), "before": before, "after": after}
        found.append({**entry, "kind": reason["kind"], "why": reason["why"]})
    return found


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def figures(tried: int, survived: int) -> dict[str, int | str]:
    """What is written down of a run."""
    killed = tried - survived
    low, high = interval(killed, tried)
    return {
        "places that can be changed": count_places(FILES),
        "commit": _commit(),
        "tests for each at most": sum(STAGES),
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
    parser.add_argument("--note", action=argparse.BooleanOptionalAction, default=True, help="write the record down")
    parser.add_argument("--survivors", type=Path, default=record.RECORDS / "survivors.json")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
