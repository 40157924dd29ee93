"""Kill and end bnfold at random moments, from tests/ by ``python -m faults.run --kills 210 --signals 40``.

With ``--each 1``, end it behind each step of its work in turn (`faults.steps`) in place of random moments, and with
``--named`` as on a system on which files have names from the beginning.

Each run is a process of its own in a folder of its own, forked from this one, which has imported everything: so most
moments are moments of the work. What is left has to be the old model or the new one, to the byte and with its data;
and when bnfold has written into the folder once more, nothing besides.
"""

from __future__ import annotations

import argparse
import atexit
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import record

import bnfold
from bnfold import cli
from bnfold.cli.leaving import leave
from bnfold.model import temporary
from bnfold.model.temporary import SUFFIX
from faults.cases import CASES, MANY, TRAIN, Case, copied, listing, parts, plain
from faults.steps import ended_behind, written_to

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
    left: list[str] = field(default_factory=list)


def begin(case: Case, folder: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """The command in a process of its own, prepared for it; what it says goes into files beside the folder."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        atexit._clear()  # what the process that this is forked from has to do at its end
        os.chdir(folder)
        tempfile.tempdir = str(made_beside(folder))
        for stream, ending in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}.{ending}", os.O_CREAT | os.O_WRONLY), stream)
        sys.argv = ["bnfold", *case.arguments]
        prepare()
        cli.main()
    except SystemExit as ended:
        leave(ended.code if isinstance(ended.code, int) else 1)
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
    judge(known, folder, number, wait(child), tally)


def judge(known: Known, folder: Path, number: signal.Signals, status: int, tally: Tally) -> None:
    """What is wrong with what a run has left that got a signal."""
    words = Path(f"{folder}.err")
    said = words.read_text(encoding="utf-8") if words.exists() else ""
    troubles = [] if status in {0, -number, 128 + number} else [f"exit status {status}"]
    troubles += ["a traceback"] if "Traceback" in said else []
    tally.counts["hit" if status else "missed"] += 1
    if number == signal.SIGKILL:
        left = left_after(folder) or left_after(made_beside(folder))
        tally.counts["left a temporary file until the next write"] += bool(left)
        tally.left += [f"{known.case.name}, {folder.name}: {', '.join(path.name for path in left)}"] if left else []
        for place in {(folder / target).parent for target in known.case.targets}:
            bnfold.fold(plain(9)).save(place / NEXT)
            (place / NEXT).unlink()
    troubles += verdict(known, folder, tally)
    if troubles:
        tally.failures.append(f"{known.case.name}, {number.name}, {folder.name}: {'; '.join(troubles)}\n{said}")
        return
    shutil.rmtree(folder)


def made_beside(folder: Path) -> Path:
    """The folder for temporary folders of a run in `folder`."""
    place = folder.with_name(f"{folder.name}.tmp")
    place.mkdir(exist_ok=True)
    return place


def left_after(folder: Path, patience: float = 10.0) -> list[Path]:
    """Temporary files and folders that are there still when who guards a killed process has had time to remove them."""
    until = time.monotonic() + patience
    while (loose := temporary_in(folder)) and time.monotonic() < until:
        time.sleep(0.02)
    return loose


def temporary_in(folder: Path) -> list[Path]:
    """The temporary files and folders below a folder, some of which may be going."""
    found = ((place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files))
    return [Path(place, name) for place, name in found if name.endswith(SUFFIX)]


def verdict(known: Known, folder: Path, tally: Tally) -> list[str]:
    """What is wrong: a target that is neither what it was nor what it is to be, or a file that belongs to neither."""
    expected = set(known.files[0]) | set(known.case.leaves)
    left = (folder / name for name in known.case.leaves if (folder / name).exists())
    troubles = [f"{path.name} is damaged" for path in left if not is_whole(path)]
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


def is_whole(path: Path) -> bool:
    """Whether an archive or a report ends as it should."""
    if path.suffix == ".json":
        return path.read_text(encoding="utf-8").endswith("}\n")
    if path.suffix == ".html":
        return path.read_text(encoding="utf-8").endswith("</html>\n")
    return zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip() is None


def campaign(
    cases: Sequence[Case], runs: int, numbers: Sequence[signal.Signals], chance: random.Random, room: Path
) -> Tally:
    """So many runs over all cases that the signal has hit; one that was done before does not count."""
    tally = Tally()
    known = [Known.of(case, room / f"case {place}") for place, case in enumerate(cases)]
    run = 0
    while tally.counts["hit"] < runs:
        case, hit = known[run % len(known)], tally.counts["hit"]
        ends = case.case.ended_by(numbers)
        number = ends[run // len(known) % len(ends)]
        moment = chance.uniform(0, case.seconds * 1.05)
        disturbed(case, room / f"run {run}", number, moment, tally)
        # A machine is busier at one time than at another: neither the last moments nor the first are to be missed.
        case.seconds = case.seconds * 1.02 if tally.counts["hit"] > hit else max(moment, case.seconds * 0.8)
        run += 1
    return tally


def stepwise(cases: Sequence[Case], stride: int, numbers: Sequence[signal.Signals], room: Path) -> Tally:
    """Each case once for each of its steps, or for one of so many, with a signal behind it."""
    tally = Tally()
    for place, case in enumerate(cases):
        known = Known.of(case, room / f"case {place}")
        count = steps_of(case, copied(known.start, room / f"count {place}"))
        for step in range(1 + place % stride, count + 1, stride):
            folder, ends = copied(known.start, room / f"run {place}.{step}"), case.ended_by(numbers)
            number = ends[step // stride % len(ends)]
            judge(known, folder, number, wait(begin(case, folder, ended_behind(step, number))), tally)
    return tally


def steps_of(case: Case, folder: Path) -> int:
    """How many steps a case makes that nothing befalls."""
    told = folder.with_name(f"{folder.name}.steps")
    assert wait(begin(case, folder, written_to(told))) == 0
    return int(told.read_text())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=220, help="runs that are killed")
    parser.add_argument("--signals", type=int, default=220, help="runs that are ended by another signal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, metavar="N", help="behind one of N steps in turn, not at random moments")
    parser.add_argument("--named", action="store_true", help="as on a system that has no files without a name")
    parser.add_argument("--long", action="store_true", help="of a training (needs torch) and several models at once")
    parser.add_argument("--record", action="store_true", help="write the figures for docs/reliability.md")
    asked = parser.parse_args(arguments)
    cases = (MANY, TRAIN) if asked.long else CASES
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as `bnfold.__main__` begins
    if asked.named:
        temporary._unnamed = lambda *_: None
    begun, chance = time.monotonic(), random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        tallies = [
            stepwise(cases, asked.each, numbers, Path(folder, name))
            if asked.each
            else campaign(cases, runs, numbers, chance, Path(folder, name))
            for name, runs, numbers in (("kills", asked.kills, (signal.SIGKILL,)), ("signals", asked.signals, ENDINGS))
        ]
    seconds, failures = time.monotonic() - begun, [failure for tally in tallies for failure in tally.failures]
    figures = figures_of(len(cases), *tallies, moment="behind a step" if asked.each else "at a random moment")
    for what, value in figures.items():
        print(f"{value:6}  {what}")
    print(*tallies[0].left, *failures, sep="\n", file=sys.stderr)
    if asked.record:
        moments = f"--kills {asked.kills} --signals {asked.signals} --seed {asked.seed}"
        options = [f"--each {asked.each}" if asked.each else moments]
        options += [f"--{name}" for name in ("named", "long") if getattr(asked, name)]
        name = f"{'steps' if asked.each else 'kills'}{'_named' if asked.named else ''}{'_long' if asked.long else ''}"
        command = f"cd tests && python -m faults.run {' '.join(options)} --record"
        record.write(name, command, seconds, figures)
    return int(bool(failures or tallies[0].left))


def figures_of(cases: int, kills: Tally, signals: Tally, *, moment: str) -> dict[str, int | str]:
    """What the record says."""
    left = "left a temporary file until the next write"
    return {
        "commands": cases,
        f"runs killed (SIGKILL) {moment}": kills.counts["hit"],
        "runs that were done before their moment": kills.counts["missed"] + signals.counts["missed"],
        "old models there after a kill or such a run, whole": kills.counts["old"],
        "new models there, whole": kills.counts["new"],
        f"kills that {left}": kills.counts[left],
        f"runs ended by SIGTERM, SIGINT or SIGHUP {moment}": signals.counts["hit"],
        "files lost, halved, mixed, or left behind": len(kills.failures) + len(signals.failures),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
