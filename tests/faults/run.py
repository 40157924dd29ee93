"""Kill and end bnfold at random moments, from tests/ by ``python -m faults.run --kills 210 --signals 40``.

Each run is a process of its own in a folder of its own, forked from this one, which has imported everything: so most
moments are moments of the work. What is left has to be the old model or the new one, to the byte and with its data;
and when bnfold has written into the folder once more, nothing besides.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import record

import bnfold
from bnfold import cli
from faults.cases import CASES, MANY, TRAIN, Case, copied, listing, parts, plain

ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NEXT = "next.onnx"


@dataclass
class Known:
    """A command that nothing befalls.

    Attributes:
        case: the command.
        start: the folder as it is before.
        before: the targets as they are before, each with its data.
        after: the same afterwards.
        files: all files before and after.
        seconds: how long it takes.
    """

    case: Case
    start: Path
    before: dict[str, dict[str, bytes]]
    after: dict[str, dict[str, bytes]]
    files: tuple[set[str], set[str]]
    seconds: float

    @classmethod
    def of(cls, case: Case, room: Path) -> Known:
        start = room / "start"
        start.mkdir(parents=True)
        case.prepare(start)
        begun, done = time.monotonic(), copied(start, room / "straight")
        status = wait(begin(case, done))
        seconds = time.monotonic() - begun
        assert status == 0, (case.name, status, (done.parent / "straight.err").read_text())
        before, after = ({target: parts(folder, target) for target in case.targets} for folder in (start, done))
        return cls(case, start, before, after, (set(listing(start)), set(listing(done))), seconds)


@dataclass
class Tally:
    """What a campaign has seen."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def begin(case: Case, folder: Path) -> int:
    """The command in a process of its own; what it says goes into files beside the folder."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        os.chdir(folder)
        for stream, ending in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}.{ending}", os.O_CREAT | os.O_WRONLY), stream)
        sys.argv = ["bnfold", *case.arguments]
        cli.main()
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    finally:
        os._exit(99)


def kill_all(child: int) -> None:
    """The process and those that it has begun; it may not have parted from this one yet."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child, signal.SIGKILL)


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def disturbed(known: Known, folder: Path, number: signal.Signals, moment: float, tally: Tally) -> None:
    """One run that gets a signal at one moment, and what is wrong with what it leaves."""
    copied(known.start, folder)
    child = begin(known.case, folder)
    time.sleep(moment)
    if number == signal.SIGKILL:
        kill_all(child)
    else:
        os.kill(child, number)
    status = wait(child)
    words = Path(f"{folder}.err")
    said = words.read_text(encoding="utf-8") if words.exists() else ""
    troubles = [] if status in {0, -number, 128 + number} else [f"exit status {status}"]
    troubles += ["a traceback"] if "Traceback" in said else []
    tally.counts["hit" if status else "missed"] += 1
    is_swept = number == signal.SIGKILL
    if is_swept:
        tally.counts["left a temporary file until the next write"] += bool(left_after(folder))
        for place in {(folder / target).parent for target in known.case.targets}:
            bnfold.fold(plain(9)).save(place / NEXT)
            (place / NEXT).unlink()
    troubles += verdict(known, folder, tally)
    if troubles:
        tally.failures.append(f"{known.case.name}, {number.name} after {moment:.4f} s: {'; '.join(troubles)}\n{said}")
        return
    shutil.rmtree(folder)


def left_after(folder: Path, patience: float = 10.0) -> list[Path]:
    """Temporary files that are still there when who guards a killed process has had time to remove them."""
    until = time.monotonic() + patience
    while (loose := list(folder.rglob("*.bnfold.tmp"))) and time.monotonic() < until:
        time.sleep(0.02)
    return loose


def verdict(known: Known, folder: Path, tally: Tally) -> list[str]:
    """What is wrong: a target that is neither what it was nor what it is to be, or a file that belongs to neither."""
    troubles = []
    expected = set(known.files[0]) | set(known.case.leaves)
    for name in (name for name in known.case.leaves if (folder / name).exists()):
        if not zipfile.is_zipfile(folder / name) or zipfile.ZipFile(folder / name).testzip() is not None:
            troubles.append(f"{name} is damaged")
    for target in known.case.targets:
        try:
            found = parts(folder, target)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what the campaign looks for)
            troubles.append(f"{target} can not be loaded: {error}")
            continue
        if found == known.after[target]:
            tally.counts["new"] += 1
            expected |= set(found)
        elif found == known.before[target]:
            tally.counts["old"] += 1
        else:
            troubles.append(f"{target} is neither the old one nor the new one")
    loose = set(listing(folder)) - expected
    return troubles + [f"{name} is left" for name in sorted(loose)]


def campaign(
    cases: Sequence[Case], runs: int, numbers: Sequence[signal.Signals], chance: random.Random, room: Path
) -> Tally:
    """So many runs over all cases that the signal has hit; one that was done before does not count."""
    tally = Tally()
    known = [Known.of(case, room / f"case {place}") for place, case in enumerate(cases)]
    run = 0
    while tally.counts["hit"] < runs:
        case, number, hit = known[run % len(known)], numbers[run % len(numbers)], tally.counts["hit"]
        moment = chance.uniform(0, case.seconds * 1.05)
        disturbed(case, room / f"run {run}", number, moment, tally)
        # A machine is busier at one time than at another: neither the last moments nor the first are to be missed.
        case.seconds = case.seconds * 1.02 if tally.counts["hit"] > hit else max(moment, case.seconds * 0.8)
        run += 1
    return tally


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=220, help="runs that are killed")
    parser.add_argument("--signals", type=int, default=220, help="runs that are ended by another signal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--long", action="store_true", help="of a training (needs torch) and several models at once")
    parser.add_argument("--record", action="store_true", help="write the figures for docs/reliability.md")
    asked = parser.parse_args(arguments)
    cases = (MANY, TRAIN) if asked.long else CASES
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as `bnfold.__main__` begins
    begun, chance = time.monotonic(), random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        kills = campaign(cases, asked.kills, (signal.SIGKILL,), chance, Path(folder, "kills"))
        signals = campaign(cases, asked.signals, ENDINGS, chance, Path(folder, "signals"))
    seconds, failures = time.monotonic() - begun, kills.failures + signals.failures
    figures: dict[str, int | str] = {
        "commands": len(cases),
        "runs killed (SIGKILL) at a random moment": kills.counts["hit"],
        "runs that were done before their moment": kills.counts["missed"] + signals.counts["missed"],
        "old models there after a kill or such a run, whole": kills.counts["old"],
        "new models there, whole": kills.counts["new"],
        "kills that left a temporary file until the next write": kills.counts[
            "left a temporary file until the next write"
        ],
        "runs ended by SIGTERM, SIGINT or SIGHUP": signals.counts["hit"],
        "files lost, halved, mixed, or left behind": len(failures),
    }
    for what, value in figures.items():
        print(f"{value:6}  {what}")
    print(*failures, sep="\n", file=sys.stderr)
    if asked.record:
        options = (
            f"--kills {asked.kills} --signals {asked.signals} --seed {asked.seed}{' --long' if asked.long else ''}"
        )
        command = f"cd tests && python -m faults.run {options} --record"
        record.write("kills_long" if asked.long else "kills", command, seconds, figures)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
