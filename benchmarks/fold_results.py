"""benchmarks/results/fold.json: an entry per scenario, each with its own date, machine and versions."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

from fold_process import Miss
from fold_scenarios import SCENARIOS, Scenario
from fold_targets import Measured, Quartiles, Verdict, Way, quartiles, verdict
from machine import processor
from peer_programs import PEERS, interpreter, version_of

import bnfold

PATH = Path(__file__).parent / "results" / "fold.json"


class Row(TypedDict):
    """One way: seconds, bytes, bnfold's time over its own in the same round, and BatchNormalizations left.

    Null is what there is not: `missed` says why there are no times, and what writes no model leaves none.
    """

    tool: str
    model: str
    wall: Quartiles | None
    cpu: Quartiles | None
    peak: Quartiles | None
    bnfold_wall: Quartiles | None
    bnfold_cpu: Quartiles | None
    left: int | None
    missed: str | None


class Entry(TypedDict):
    """One scenario. `load` is the average number of processes that wanted to run, before and after."""

    title: str
    date: str
    machine: str
    load: list[float]
    rounds: int
    versions: dict[str, str]
    bytes: dict[str, int]
    rows: list[Row]
    targets: list[Verdict]


def entry(scenario: Scenario, measured: Measured, rounds: int, venvs: Path, load: list[float]) -> Entry:
    """What goes to the file."""
    return {
        "title": scenario.title,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{processor()}, {platform.system()}",
        "load": [round(each, 2) for each in load],
        "rounds": rounds,
        "versions": dict(_versions(scenario, venvs)),
        "bytes": dict(measured.sizes),
        "rows": [row(way, measured) for way in scenario.ways],
        "targets": [verdict(target, measured) for target in scenario.targets],
    }


def row(way: Way, measured: Measured) -> Row:
    """One way of what was measured; the first way of the same model is what it is compared with."""
    costs = measured.costs[way]
    ours = next(costs for other, costs in measured.costs.items() if other.model == way.model)
    found: Row = {
        "tool": way.tool,
        "model": way.model,
        "wall": None,
        "cpu": None,
        "peak": None,
        "bnfold_wall": None,
        "bnfold_cpu": None,
        "left": measured.left.get(way),
        "missed": None,
    }
    if isinstance(costs, Miss):
        found["missed"] = costs.reason
        return found
    found["wall"] = quartiles([cost.wall for cost in costs])
    found["cpu"] = quartiles([cost.cpu for cost in costs])
    found["peak"] = quartiles([float(cost.peak) for cost in costs])
    if not isinstance(ours, Miss) and ours is not costs:
        turns = list(zip(ours, costs, strict=True))
        found["bnfold_wall"] = quartiles([our.wall / their.wall for our, their in turns])
        found["bnfold_cpu"] = quartiles([our.cpu / their.cpu for our, their in turns])
    return found


def _versions(scenario: Scenario, venvs: Path) -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    yield "bnfold", bnfold.__version__
    for package in ("onnx", "numpy", "onnxruntime"):
        yield package, version(package)
    for tool in dict.fromkeys(way.tool for way in scenario.ways):
        if tool in PEERS and interpreter(tool, venvs).exists():
            yield tool, version_of(tool, venvs)


def load() -> float:
    """How many processes want to run, on average over a minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def read(path: Path = PATH) -> dict[str, Entry]:
    """All entries by the name of the scenario; none where there is no file."""
    if not path.exists():
        return {}
    found: dict[str, Entry] = json.loads(path.read_text(encoding="utf-8"))
    return found


def put(name: str, made: Entry, path: Path) -> None:
    """Replace one entry, and leave the others as they are."""
    found = {**read(path), name: made}
    order = {name: number for number, name in enumerate(SCENARIOS)}
    ordered = dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))
    path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
