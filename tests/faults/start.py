"""End bnfold while it starts, from tests/ by ``python -m faults.start --runs 600``.

Each run is a Python of its own, which gets a signal at a random moment from its first line on: most moments are those
of an import. It has to end by that signal or with the status that tells of it, without a traceback, and with its folder
as it was or with the result whole.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import record

from faults.cases import listing, parts, two_models
from faults.run import ENDINGS

PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
print(flush=True)
from bnfold.__main__ import program
program()
"""
FOLD = ("fold", "e.onnx", "-o", "out.onnx", "--no-check")
COMMANDS = (FOLD, ("fold", "e.onnx", "-o", "out.onnx"), ("check", "m.onnx", "m.onnx"), ("inspect", "m.onnx"))


def begin(command: tuple[str, ...], folder: Path) -> subprocess.Popen[str]:
    """The command, which has come to its first line."""
    arguments, pipe = [sys.executable, "-c", PROGRAM, *command], subprocess.PIPE
    process = subprocess.Popen(arguments, cwd=folder, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def ended(command: tuple[str, ...], folder: Path, number: signal.Signals, moment: float) -> tuple[int, str]:
    """The status of a command that gets a signal at that moment, and what it says."""
    with begin(command, folder) as process:
        time.sleep(moment)
        process.send_signal(number)
        _, said = process.communicate()
        return process.returncode, said


def trouble(folder: Path, before: dict[str, bytes], number: int, status: int, said: str) -> str:
    """What is wrong with an end; empty where nothing is."""
    if status not in {0, -number, 128 + number}:
        return f"exit status {status}\n{said}"
    if "Traceback" in said:
        return said
    left = set(listing(folder)) - set(before) - set(parts(folder, "out.onnx"))
    return f"{', '.join(sorted(left))} left" if left else ""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="write the figures for docs/reliability.md")
    asked = parser.parse_args(arguments)
    begun, chance, ends, failures = time.monotonic(), random.Random(asked.seed), Counter[str](), list[str]()
    for run in range(asked.runs):
        command, number = COMMANDS[run % len(COMMANDS)], ENDINGS[run % len(ENDINGS)]
        with tempfile.TemporaryDirectory() as place:
            folder = two_models(Path(place))
            before = listing(folder)
            status, said = ended(command, folder, number, chance.uniform(0, 0.6))
            ends["done before" if status == 0 else "ended"] += 1
            if wrong := trouble(folder, before, number, status, said):
                failures.append(f"{' '.join(command)}, {number.name}, run {run}: {wrong}")
    figures = {
        "commands": len(COMMANDS),
        "runs ended by SIGTERM, SIGINT or SIGHUP in their first 0.6 s": ends["ended"],
        "runs that were done before their moment": ends["done before"],
        "crashes, tracebacks, other statuses, files left behind": len(failures),
    }
    for what, value in figures.items():
        print(f"{value:6}  {what}")
    print(*failures, sep="\n", file=sys.stderr)
    if asked.record:
        command_line = f"cd tests && python -m faults.start --runs {asked.runs} --seed {asked.seed} --record"
        record.write("start", command_line, time.monotonic() - begun, figures)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
