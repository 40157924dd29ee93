"""Where the time of `bnfold fold --no-check` goes: start of Python, imports by package, planning, writing.

    python benchmarks/fold_profile.py                # ResNet-50; prints the parts
    python benchmarks/fold_profile.py --write        # and puts them into results/fold_profile.json
    python benchmarks/fold_profile.py MODEL --calls  # and the functions that take most, by cProfile

Every round is three processes: an empty one, one that tells what it imports (-X importtime), and one that says when it
has imported, planned and written. Parts are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from fold_run import OURS
from machine import processor

RESULTS = Path(__file__).parent / "results" / "fold_profile.json"
MODEL = Path(__file__).resolve().parent.parent / "build" / "architectures" / "resnet50.onnx"
PACKAGES = {
    "numpy": "numpy",
    "onnx": "onnx and protobuf",
    "google": "onnx and protobuf",
    "ml_dtypes": "onnx and protobuf",
    "typer": "typer and rich",
    "rich": "typer and rich",
    "bnfold": "bnfold's own modules",
}
OTHERS = "the standard library and the rest"
PHASES = """
import json, sys, time
begin = time.perf_counter()
import bnfold.cli.fold, bnfold.report, rich.console
from bnfold.folding.fold import fold
imported = time.perf_counter()
result = fold(sys.argv[1])
planned = time.perf_counter()
result.save(sys.argv[2])
written = time.perf_counter()
print(json.dumps({"imports": imported - begin, "opening and planning": planned - imported,
    "computing and writing": written - planned}))
"""
CALLS = """
import cProfile, pstats, sys
import bnfold.report
from bnfold.folding.fold import fold
with cProfile.Profile() as profile:
    fold(sys.argv[1]).save(sys.argv[2])
pstats.Stats(profile).sort_stats("tottime").print_stats(25)
"""


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--calls", action="store_true")
    options = parser.parse_args()
    if not options.model.exists():
        parser.error(f"{options.model} is missing: python benchmarks/architectures.py {options.model.parent}")
    parts = measured(options.model, options.rounds)
    print("\n".join(f"{1e3 * seconds:7.1f} ms  {name}" for name, seconds in parts.items()))
    if options.write:
        head = {"date": time.strftime("%Y-%m-%d"), "machine": processor(), "load": round(os.getloadavg()[0], 1)}
        found = {**head, "model": options.model.stem, "rounds": options.rounds, "seconds": parts}
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.calls:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-c", CALLS, options.model, Path(folder, "o.onnx")], env=OURS, check=True)


def measured(model: Path, rounds: int) -> dict[str, float]:
    """Seconds per part, the medians of several rounds after one that is not counted."""
    found = [_round(model) for _ in range(rounds + 1)][1:]
    return {name: median(parts[name] for parts in found) for name in found[0]}


def _round(model: Path) -> dict[str, float]:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], env=OURS, check=True)
    start = time.perf_counter() - begin
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        os.sync()
        phases = json.loads(_told([sys.executable, "-c", PHASES, model, Path(folder, "o.onnx")]))
        shares = _imports(model, Path(folder, "p.onnx"))
    imports = phases.pop("imports")
    whole = sum(shares.values())
    return {
        "start and end of Python": start,
        **{f"imports: {name}": imports * seconds / whole for name, seconds in sorted(shares.items())},
        **phases,
    }


def _imports(model: Path, result: Path) -> dict[str, float]:
    """Seconds per package, by what -X importtime says of each module itself; it slows down what it measures."""
    program: list[str | Path] = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "bnfold",
        "fold",
        "--no-check",
        model,
        "-o",
        result,
    ]
    ran = subprocess.run(program, env=OURS, check=True, capture_output=True, text=True)
    found = dict.fromkeys([*PACKAGES.values(), OTHERS], 0.0)
    for name, seconds in _lines(ran.stderr):
        found[PACKAGES.get(name.partition(".")[0], OTHERS)] += seconds
    return found


def _lines(told: str) -> Iterator[tuple[str, float]]:
    for line in told.splitlines():
        head, _, name = line.rpartition("|")
        own = head.removeprefix("import time:").partition("|")[0].strip()
        if line.startswith("import time:") and own.isdecimal():
            yield name.strip(), int(own) * 1e-6


def _told(program: list[str | Path]) -> str:
    return subprocess.run(program, env=OURS, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
