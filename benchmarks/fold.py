"""What `bnfold fold --no-check` costs: time and memory of the whole process, beside other tools and a copy of the file.

    python benchmarks/fold.py --make-peers build/peers                # all but 8 GB; the environments are made once
    python benchmarks/fold.py --venvs build/peers --only resnet50 chain_2000
    python benchmarks/fold.py --only external_8gb --folder DIR        # 25 GB of disk
    python benchmarks/fold.py --quick                                 # does everything run? one round, nothing written

Every tool is a process of its own: start, imports, load, optimise, save. All of a scenario run in turns, in an order
drawn for every round, after a first time that is not counted: it fills the caches, and what it has written is looked
at, since a tool that folds nothing is not faster. Ratios are taken within a round; median and quartiles. Results go to
benchmarks/results/fold.json, each scenario by itself, and benchmarks/performance_report.py makes docs/performance.md of
them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fold_results import PATH, Entry, Row, entry, load, put
from fold_run import Place, measure
from fold_scenarios import SCENARIOS
from fold_targets import Quartiles
from peer_programs import PEERS, make_environments

ROOT = Path(__file__).resolve().parent.parent
LIMIT, QUICK_LIMIT = 150.0, 20.0
"""Seconds that a process may take."""


def main() -> None:
    """Measure, print, and write."""
    options = _options()
    if options.make_peers is not None:
        make_environments(PEERS, options.make_peers)
    with tempfile.TemporaryDirectory(prefix="bnfold-fold-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        place = Place(folder, options.make_peers or options.venvs, QUICK_LIMIT if options.quick else options.limit)
        for name in options.only:
            made = measured_entry(name, place, 1 if options.quick else options.rounds)
            print("\n".join(lines(name, made)), flush=True)
            if not options.quick:
                put(name, made, options.write)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--quick", action="store_true", help=f"one round, {QUICK_LIMIT:g} s at most, nothing is written"
    )
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds that a process may take")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the models there, or find them there")
    parser.add_argument("--venvs", type=Path, default=ROOT / "build" / "peers", help="environments of other tools")
    parser.add_argument("--make-peers", type=Path, metavar="DIR", help="make them there")
    parser.add_argument("--write", type=Path, default=PATH, metavar="FILE", help="where the results go")
    options = parser.parse_args()
    asked = options.only or [name for name, scenario in SCENARIOS.items() if scenario.by_default]
    options.only = [name for name in SCENARIOS if name in asked]
    return options


def measured_entry(name: str, place: Place, rounds: int) -> Entry:
    """Measure a scenario, with the load before and after."""
    before = load()
    measured = measure(SCENARIOS[name], place, rounds)
    return entry(SCENARIOS[name], measured, rounds, place.venvs, [before, load()])


def lines(name: str, made: Entry) -> Iterator[str]:
    """A scenario as text."""
    yield f"\n{name}: {made['title']}; {made['rounds']} rounds, load {made['load'][0]} to {made['load'][1]}"
    yield f"{'':32}{'seconds':>20}{'processor':>20}{'MB':>8}{'bnfold over it':>22}{'left':>7}"
    yield from (_line(row) for row in made["rows"])
    for target in made["targets"]:
        word = {True: "met", False: "NOT MET", None: "not shown"}[target["met"]]
        value = "-" if target["value"] is None else spread(target["value"])
        yield f"  {target['text']}: {'at most ' if target['bound'] else ''}{value}, limit {target['limit']:g}: {word}"


def _line(row: Row) -> str:
    label = f"{row['tool']} {row['model']}"
    if row["wall"] is None or row["cpu"] is None or row["peak"] is None:
        return f"{label:32}  {row['missed']}"
    ratio = "" if row["bnfold_wall"] is None else spread(row["bnfold_wall"])
    left = "" if row["left"] is None else row["left"]
    times = f"{spread(row['wall']):>20}{spread(row['cpu']):>20}"
    return f"{label:32}{times}{row['peak'][1] / 1e6:>8.0f}{ratio:>22}{left:>7}"


def spread(values: Quartiles) -> str:
    """Median and quartiles."""
    low, middle, high = values
    return f"{middle:.3g} ({low:.3g}-{high:.3g})"


if __name__ == "__main__":
    main()
