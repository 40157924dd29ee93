"""Change `affine.py`, `ops/` and `folding/` in many places, one at a time, and see whether the tests notice.

    PYTHONPATH=tests python -m mutants --count 700     # a sample; writes the record and the list of survivors
    PYTHONPATH=tests python -m mutants --again FILE    # those of such a list, with all tests that run their lines

From the root of the repository, with cosmic-ray and pytest-cov, and OPENBLAS_NUM_THREADS=1. A place is drawn from all
that can be changed, and one of the changes that cosmic-ray's operators know for it. Left out are annotations, which are
never run, and `==` into `is`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import record

from mutants.places import Mutant, count_places, sample
from mutants.selection import Selection
from mutants.trial import Verdict, trial

FILES = [
    Path("bnfold/affine.py"),
    *sorted(Path("bnfold/ops").glob("*.py")),
    *sorted(Path("bnfold/folding").glob("*.py")),
]
FIRST, MOST = 100, 400
"""So many tests are tried at first, since most mutants need few, and so many in all: `--again` has no such bound."""


def survivors_of(
    mutants: Sequence[Mutant], selection: Selection, *, most: int | None, until: float
) -> tuple[list[Mutant], int]:
    """Those that no test noticed, and how many were tried until that time."""
    left: list[Mutant] = []
    for number, mutant in enumerate(mutants, 1):
        start = time.monotonic()
        if start > until:
            return left, number - 1
        tests = selection.of(mutant.path, mutant.line)[:most]
        verdict = _verdict(mutant.path, mutant.source(), tests)
        left += [mutant] if verdict is Verdict.SURVIVED else []
        took = f"{len(tests)} tests, {time.monotonic() - start:.1f} s"
        print(f"{number}/{len(mutants)} {verdict.value} {_said(mutant)}, {took}; {len(left)} survived", flush=True)
    return left, len(mutants)


def unchanged_survives(mutants: Sequence[Mutant], selection: Selection) -> None:
    """See that the tests pass where nothing is changed, once for each file: else all would seem to be killed."""
    for mutant in {mutant.path: mutant for mutant in mutants}.values():
        tests = selection.of(mutant.path, mutant.line)
        source = Path(mutant.path).read_text(encoding="utf-8")
        assert _verdict(mutant.path, source, tests[:FIRST]) is Verdict.SURVIVED, mutant


def _verdict(path: str, source: str, tests: Sequence[str]) -> Verdict:
    verdicts = (trial(path, source, some) for some in _parts(tests))
    return next((verdict for verdict in verdicts if verdict is not Verdict.SURVIVED), Verdict.SURVIVED)


def _parts(tests: Sequence[str]) -> Iterable[Sequence[str]]:
    starts = range(FIRST, len(tests), 10 * FIRST)
    yield from filter(None, [tests[:FIRST], *(tests[start : start + 10 * FIRST] for start in starts)])


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--again", type=Path)
    parser.add_argument("--coverage", type=Path, default=Path("build/mutants.coverage"))
    parser.add_argument("--survivors", type=Path, default=Path("build/survivors.json"))
    given = parser.parse_args()
    given.coverage.parent.mkdir(exist_ok=True)
    selection = Selection(given.coverage)
    if given.again:
        mutants = [Mutant(*entry) for entry in json.loads(given.again.read_text(encoding="utf-8"))]
    else:
        mutants = sample(FILES, given.count, given.seed)
    start = time.monotonic()
    unchanged_survives(mutants, selection)
    most = None if given.again else MOST
    left, tried = survivors_of(mutants, selection, most=most, until=start + 60 * given.minutes)
    given.survivors.write_text(json.dumps(left, indent=1) + "\n", encoding="utf-8")
    low, high = interval(tried - len(left), tried)
    figures: dict[str, int | str] = {
        "places that can be changed": count_places(FILES),
        "mutants tried, one for each of so many places": tried,
        "killed": tried - len(left),
        "share that is killed": f"{(tried - len(left)) / tried:.1%}, 95 % sure between {low:.1%} and {high:.1%}",
    }
    print(*(f"{what}: {value}" for what, value in figures.items()), sep="\n")
    if not given.again:
        command = f"PYTHONPATH=tests python -m mutants --seed {given.seed} --minutes {given.minutes:.0f}"
        record.write("mutants", command, time.monotonic() - start, figures)
    return int(len(left) > 0.15 * tried)


if __name__ == "__main__":
    sys.exit(main())
