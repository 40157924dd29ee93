"""Runs the ways of a scenario in turns, whole processes, and looks at what each has written."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from fold_process import Cost, Miss, cost
from fold_scenarios import IMPORTING, IMPORTS, Scenario
from fold_targets import Measured, Way
from peer_programs import PEERS, command, interpreter

ROOT = Path(__file__).resolve().parent.parent
MODELS = Path(__file__).with_name("fold_models.py")
THEIRS = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
"""The environment of other tools. What is installed is compiled already, and so is this checkout after one run."""
OURS = {**THEIRS, "PYTHONPATH": str(ROOT)}
"""The environment of bnfold: this checkout, whatever is installed."""
SEED = 0
"""Of the order within a round."""


@dataclass(frozen=True)
class Place:
    """Where and how long things run.

    Attributes:
        folder: where the models are; what is there is taken as it is.
        venvs: the environments of other tools.
        limit: seconds that a process may take.
    """

    folder: Path
    venvs: Path
    limit: float

    @property
    def results(self) -> Path:
        """An empty folder for every run."""
        return self.folder / "results"

    def model(self, name: str) -> Path:
        """The file of a model."""
        return self.folder / f"{name}.onnx"


def measure(scenario: Scenario, place: Place, rounds: int) -> Measured:
    """Every way once, for the caches and to see what it writes, and then once per round.

    A way that fails or takes too long is not tried again.

    Raises:
        subprocess.CalledProcessError: A model could not be written.
    """
    for model in scenario.models:
        build(model, place)
    costs: dict[Way, list[Cost] | Miss] = {}
    left: dict[Way, int] = {}
    for way in scenario.ways:
        first = run(way, place)
        costs[way] = first if isinstance(first, Miss) else []
        written = sorted(place.results.glob("result.onnx"))
        if written and not isinstance(first, Miss):
            left[way] = count(written[0])
    _rounds(costs, place, rounds)
    shutil.rmtree(place.results, ignore_errors=True)
    sizes = {model: sum(path.stat().st_size for path in files(place.model(model))) for model in scenario.models}
    imports = imported() if Way("bnfold --help") in scenario.ways else frozenset[str]()
    return Measured(costs, sizes, left, imports)


def _rounds(costs: dict[Way, list[Cost] | Miss], place: Place, rounds: int) -> None:
    order = random.Random(SEED)
    for number in range(rounds):
        for way in order.sample(list(costs), len(costs)):
            taken = costs[way]
            if isinstance(taken, Miss):
                continue
            _progress(f"{number + 1}/{rounds} {way}")
            found = run(way, place)
            if isinstance(found, Miss):
                costs[way] = found
            else:
                taken.append(found)
    _progress("")


def _progress(text: str) -> None:
    """On a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def run(way: Way, place: Place) -> Cost | Miss:
    """One process, with an empty folder to write into, and a disk that has written all that came from the last one."""
    if way.tool in PEERS and not interpreter(way.tool, place.venvs).exists():
        return Miss("not installed")
    shutil.rmtree(place.results, ignore_errors=True)
    place.results.mkdir()
    os.sync()
    return cost(arguments(way, place), THEIRS if way.tool in PEERS else OURS, place.limit)


def arguments(way: Way, place: Place) -> Sequence[str | Path]:
    """The process of a way.

    Raises:
        KeyError: There is no tool of that name.
    """
    source, result = place.model(way.model), place.results / "result.onnx"
    if way.tool in PEERS:
        return command(way.tool, place.venvs, source, result)
    if way.tool == "cp":
        return ["cp", *files(source), place.results]
    if way.tool == IMPORTS:
        return [sys.executable, "-c", IMPORTING]
    ours: dict[str, list[str | Path]] = {
        "bnfold": ["fold", "--no-check", source, "-o", result],
        "bnfold --help": ["--help"],
    }
    if way.tool in ours:
        return [sys.executable, "-m", "bnfold", *ours[way.tool]]
    # It brings onnx and numpy into this process, whose memory counts for those that it starts: so check comes last.
    ways = import_module("check").ways(source, source.with_suffix(".after.onnx"), place.results, None)
    (only,) = ways[way.tool]
    found: Sequence[str | Path] = only
    return found


def files(model: Path) -> list[Path]:
    """A model and its data file."""
    data = model.with_name(f"{model.name}.data")
    return [model, data] if data.exists() else [model]


def build(model: str, place: Place) -> None:
    """Write a model where it is missing."""
    if not place.model(model).exists():
        subprocess.run([sys.executable, MODELS, model, place.model(model)], env=OURS, check=True)


def count(model: Path) -> int:
    """BatchNormalizations of a file."""
    ran = subprocess.run([sys.executable, MODELS, "--count", model], env=OURS, check=True, capture_output=True)
    return int(ran.stdout)


def imported() -> frozenset[str]:
    """Top-level packages that `bnfold --help` imports."""
    told = [sys.executable, "-X", "importtime", "-m", "bnfold", "--help"]
    ran = subprocess.run(told, env=OURS, check=True, capture_output=True, text=True)
    lines = [line for line in ran.stderr.splitlines() if line.startswith("import time:")]
    return frozenset(line.rpartition("|")[2].strip().partition(".")[0] for line in lines)
