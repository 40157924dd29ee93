"""Random networks of realistic shape: what bnfold makes of any of them, in any order, is right.

    python tests/random_models.py --count 10000 --seed 1            # a campaign
    python tests/random_models.py --count 10000 --seed 1 --record   # the same, and write down its figures
    python tests/random_models.py --seed 1 --only 17                # one network of it again

With `--state FILE` a campaign goes on where it was stopped, after another try of what had failed.

Each network takes one way of folds, insertions and calibrations (`random_networks.changes`), and after each step all
of `random_networks.properties` must hold. A failure is printed with the seed, the number and the fewest blocks that
make it again.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from campaigns import symptom, told
from onnx import TensorProto
from random_networks import Network, build
from random_networks.build import MOST_TRIES
from random_networks.properties import Report, examine

LEVELS = (("off", "basic"), ("off", "extended"), ("off", "all"))
"""Levels of onnxruntime's optimisation, a pair for each network in turn."""
PROGRESS = 250


@dataclass
class Tally:
    """What a campaign has seen."""

    counts: Counter[str] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)
    families: Counter[str] = field(default_factory=Counter)
    opsets: Counter[int] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)
    stayed: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    sizes: list[int] = field(default_factory=list)
    off: list[float] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    next: int = 0
    seconds: float = 0.0

    def note(self, network: Network, report: Report) -> None:
        """What was in a network, and what became of it."""
        self.sizes.append(sum(network.used.values()))
        self.families[network.family] += 1
        self.opsets[network.options.opset] += 1
        own = {function.name for function in network.model.functions}
        self.operators.update(dict.fromkeys(network.used.keys() - own, 1))
        self.counts.update(_traits(network))
        self.counts["BatchNormalizations in them"] += network.used["BatchNormalization"]
        self.counts["put in"] += report.put_in
        self.counts["calibrated"] += report.calibrated
        for name in ("gone", "stayed", "levels", "checked", "made", "refused"):
            getattr(self, name).update(getattr(report, name))
        self.off += [report.off] if report.levels else []


def _traits(network: Network) -> list[str]:
    """What is counted of a network beside its operators."""
    kind = TensorProto.DataType.Name(network.options.kind).lower()
    traits = [f"in {kind}", f"open: {network.options.open_axes}"]
    traits += ["in training mode"] if network.style.training else []
    traits += ["with bodies"] if network.used.keys() & {"If", "Loop", "Scan"} else []
    traits += ["with functions"] if len(network.model.functions) else []
    return traits


def levels_of(number: int) -> tuple[str, ...]:
    return LEVELS[number % len(LEVELS)]


def tried(seed: int, number: int, most: int | None = None) -> tuple[Network, Report] | str | None:
    """A network and what became of it, or what does not hold of it; `None` when nothing can be told."""
    return told(lambda: _examined(build(seed, number=number, most=most), number))


def _examined(network: Network, number: int) -> tuple[Network, Report]:
    return network, examine(network, number, levels=levels_of(number))


def fewest_blocks(seed: int, number: int, failure: str) -> int | None:
    """How many blocks the network needs to fail in that way; `None` where it needs all."""
    for most in range(MOST_TRIES):
        if symptom(tried(seed, number, most)) == symptom(failure):
            return most
    return None


def campaign(seed: int, tally: Tally, stop: int, minutes: float = float("inf"), state: Path | None = None) -> None:
    """Many networks, with failures and progress on stderr as they come.

    Args:
        seed: of all of them.
        tally: what was seen before; its failures are tried again.
        stop: the number behind the last one.
        minutes: when to stop before that.
        state: where to keep the tally.
    """
    started, before = time.perf_counter(), tally.seconds
    for number in (*tally.failures, *range(tally.next, stop)):
        _one(seed, number, tally)
        tally.next = max(tally.next, number + 1)
        tally.seconds = before + time.perf_counter() - started
        is_over = tally.seconds - before > 60 * minutes
        if is_over or tally.next % PROGRESS == 0 or tally.next == stop:
            print(f"{tally.next} networks, {len(tally.failures)} failures, {tally.seconds:.0f} s", file=sys.stderr)
            sys.stderr.flush()
            if state is not None:
                state.write_bytes(pickle.dumps(tally))
        if is_over:
            return


def _one(seed: int, number: int, tally: Tally) -> None:
    tally.failures.pop(number, None)
    outcome = tried(seed, number)
    if isinstance(outcome, str):
        most = fewest_blocks(seed, number, outcome)
        tally.failures[number] = f"{outcome}\n    tried({seed}, {number}, {most})"
        print(tally.failures[number], file=sys.stderr, flush=True)
    elif outcome is None:
        tally.counts["showed nothing"] += 1
    else:
        tally.note(*outcome)


def figures(tally: Tally) -> dict[str, int | str]:
    """What a reader wants to know of a campaign."""
    sizes, off = sorted(tally.sizes), sorted(tally.off)
    levels = ("off", "basic", "extended", "all")
    neither = sum(seen for name, seen in tally.levels.items() if name not in levels)
    return {
        "networks": tally.next,
        "in which something did not hold": len(tally.failures),
        "which showed nothing (constant, not finite, or rounding alone)": tally.counts["showed nothing"],
        "nodes: fewest, median, most": f"{sizes[0]}, {sizes[len(sizes) // 2]}, {sizes[-1]}",
        "kinds of network": _listed(tally.families),
        "operators": len(tally.operators),
        "opsets": f"{min(tally.opsets)} to {max(tally.opsets)}",
        "types": _listed(tally.counts, "in ", ("in training mode",)),
        "open sizes": _listed(tally.counts, "open: "),
        "in training mode": tally.counts["in training mode"],
        "with If, Loop or Scan": tally.counts["with bodies"],
        "with functions": tally.counts["with functions"],
        "BatchNormalizations in them": tally.counts["BatchNormalizations in them"],
        "folds, insertions and calibrations": tally.made.total(),
        "refused, too few or too large values": tally.refused.total(),
        "BatchNormalizations put in": tally.counts["put in"],
        "calibrated": tally.counts["calibrated"],
        "affines that went": tally.gone.total(),
        "affines that stayed, or a part of them": tally.stayed.total(),
        "run by onnxruntime": ", ".join(f"{name}: {tally.levels[name]}" for name in levels),
        "loaded neither before nor after, by a fault of its optimiser": neither,
        "every fifth also by `bnfold.check`": _listed(tally.checked),
        "off, of what the check tolerates: median, 99 %, most": ", ".join(f"{value:.2f}" for value in _spread(off)),
    }


def _listed(counts: Counter[str], start: str = "", without: tuple[str, ...] = ()) -> str:
    chosen = [(name[len(start) :], n) for name, n in counts.most_common() if name.startswith(start)]
    return ", ".join(f"{name} {n}" for name, n in chosen if start + name not in without)


def _spread(values: list[float]) -> list[float]:
    return [values[ceil(share * len(values)) - 1] for share in (0.5, 0.99, 1.0)] if values else []


def main() -> int:
    """Run, and print what was seen."""
    parser = argparse.ArgumentParser(description="Insert into, calibrate and fold many random networks, and compare.")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one network")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then, wherever it is")
    parser.add_argument("--state", type=Path, help="a file to go on from, where it is there, and to keep the counts in")
    parser.add_argument("--record", action="store_true", help="write the figures down, for docs/reliability.md")
    given = parser.parse_args()
    if given.only is not None:
        print(tried(given.seed, given.only))
        return 0
    tally = Tally()
    if given.state is not None and given.state.exists():
        tally = pickle.loads(given.state.read_bytes())
    campaign(given.seed, tally, given.count, given.minutes, given.state)
    _summary(tally)
    if given.record:
        import record

        command = f"python tests/random_models.py --count {tally.next} --seed {given.seed} --record"
        record.write("random-networks", command, tally.seconds, figures(tally))
    return 1 if tally.failures else 0


def _summary(tally: Tally) -> None:
    print(f"{tally.next} networks in {tally.seconds:.0f} s, {1000 * tally.seconds / tally.next:.0f} ms each")
    for what, value in figures(tally).items():
        print(f"{what}: {value}")
    for name in ("made", "refused", "checked", "gone", "stayed", "levels", "opsets", "operators"):
        print(f"{name}: {_listed(Counter({str(key): n for key, n in getattr(tally, name).items()}))}")


if __name__ == "__main__":
    sys.exit(main())
