"""A campaign: many graphs, by ``PYTHONPATH=tests python -m random_quantized.run --count 6000 --seed 1``."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import campaigns
import record

from random_quantized.check import Unfit, examine, told
from random_quantized.layers import draw

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass
class Tally:
    """What a campaign has seen."""

    graphs: int = 0
    folded: int = 0
    affines: int = 0
    rounded: int = 0
    unfit: Counter[str] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, list[int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def tallied(seed: int, numbers: range) -> Tally:
    """All graphs of those numbers, examined."""
    tally = Tally()
    for number in numbers:
        failure = campaigns.told(partial(_add, tally, seed, number))
        if failure is not None:
            tally.failures.append(f"draw({seed}, {number}): {failure}")
    return tally


def _add(tally: Tally, seed: int, number: int) -> None:
    drawn = draw(seed, number)
    try:
        result = examine(drawn)
    except Unfit as error:
        tally.unfit[_general(str(error))] += 1
        return
    tally.graphs += 1
    tally.folded += bool(result.folded)
    tally.affines += len(result.folded)
    tally.rounded += told(result) > 0
    tally.operators.update({n.op_type for n in drawn.model.graph.node if n.op_type in LINEAR and result.folded})
    for outcome in result.plan.outcomes:
        if outcome.refusal is not None:
            tally.codes[outcome.refusal.code] += 1
            reason = f"{outcome.refusal.code}: {_general(outcome.refusal.text.partition('; the other way')[0])}"
            tally.reasons.setdefault(reason, []).append(number)


def _general(text: str) -> str:
    return re.sub(r"'\w+'|\d+", "#", text)[:160].replace("\n", " ")


def figures(tally: Tally) -> dict[str, int | str]:
    """The rows of the record."""
    return {
        "graphs": tally.graphs,
        "in which something did not hold": len(tally.failures),
        "which onnxruntime does not run, or in which nothing can be told": sum(tally.unfit.values()),
        "in which something folded": tally.folded,
        "affines that folded": tally.affines,
        "in which a bias was rounded": tally.rounded,
        "refusals": ", ".join(f"{code} {count}" for code, count in tally.codes.most_common()),
    }


def main() -> None:
    """Run it, and print what there was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write the figures of docs/reliability.md")
    given = parser.parse_args()
    start = time.monotonic()
    tally = tallied(given.seed, range(given.start, given.start + given.count))
    if given.record:
        command = " ".join(["PYTHONPATH=tests python -m random_quantized.run", *sys.argv[1:]])
        record.write("random-quantized", command, time.monotonic() - start, figures(tally))
    print(f"{tally.graphs} graphs, {tally.folded} with {tally.affines} affines folded, {tally.rounded} rounded a shift")
    print("folded around:", dict(tally.operators.most_common()))
    print("refused:", dict(tally.codes.most_common()))
    for reason, numbers in sorted(tally.reasons.items(), key=lambda item: -len(item[1])):
        print(f"  {len(numbers):5} {reason} {numbers[:4]}")
    print("unfit:", sum(tally.unfit.values()))
    for reason, count in tally.unfit.most_common(8):
        print(f"  {count:5} {reason}")
    print("failures:", len(tally.failures), *tally.failures, sep="\n  ")


if __name__ == "__main__":
    main()
