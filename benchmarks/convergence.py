"""Does BatchNormalization do what is claimed of it? Small networks, trained by `bnfold.train` with and without.

    python benchmarks/convergence.py                 # what is not in results/convergence.jsonl yet: an hour on one core
    python benchmarks/convergence.py --only digits   # one task of: digits, sigmoids, fashion
    python benchmarks/convergence_report.py          # the tables and pictures of docs/training.md, from that file

Every network comes from torch without BatchNormalization, is exported to ONNX, and then trained from scratch as it is
(`insert=False`) or with BatchNormalizations inserted (`reset=True`): by SGD without momentum or weight decay, in
batches of 64, the learning rate going to 0 along bnfold's cosine. It is scored on the validation part every few
steps; the best state there is kept, its statistics are measured anew, it is folded, and both graphs are run over the
test part. What is in the file is not trained again: several processes may share the work by task, variant, rate, seed.
Fashion-MNIST comes with `apt-get install dataset-fashion-mnist`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from convergence_data import Drawn, Part, Split, digits, fashion
from convergence_networks import INPUT, exported, six_sigmoids, source_cnn
from convergence_runs import CHANCE, DEAD, NOT_FINITE, RESULTS, TRAINED, Key, Proof, Run, append, read
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

import bnfold
from bnfold.runtime import open_session
from bnfold.torch.history import Epoch
from bnfold.training.result import TrainResult

RATES = (0.01, 0.1, 1.0, 3.0)
SEEDS = (0, 1, 2)
BATCH = 64
AT_CHANCE = 0.2
"""Ten classes: what names fewer of the validation examples rightly in the end has learnt nothing that stayed."""
SEEN = 5000
"""How many training examples are scored at most."""
ROWS = 500

VARIANTS: dict[str, dict[str, Any]] = {
    "none": {"insert": False},
    "before": {"reset": True},
    "before, classifier": {"reset": True, "include_classifier": True},
    "after": {"reset": True, "position": "after-activation"},
    "after, classifier": {"reset": True, "position": "after-activation", "include_classifier": True},
}
"""Options of `bnfold.train`."""


@dataclass(frozen=True)
class Task:
    """A network and what it is to learn.

    Attributes:
        build: the network for images of a height and width.
        side: that height and width.
        split: the data for a seed.
        steps: of a training.
        every: steps from one validation to the next.
        variants: names of those that are trained, and at which learning rates.
    """

    build: Callable[[int], nn.Module]
    side: int
    split: Callable[[int], Split]
    steps: int
    every: int
    variants: Mapping[str, tuple[float, ...]]


TASKS = {
    "digits": Task(source_cnn, 8, digits, 800, 10, dict.fromkeys(VARIANTS, RATES)),
    "sigmoids": Task(six_sigmoids, 8, digits, 800, 10, dict.fromkeys(tuple(VARIANTS)[:3], RATES)),
    "fashion": Task(
        source_cnn, 28, fashion, 400, 20, {**dict.fromkeys(tuple(VARIANTS)[:3], RATES), "after": RATES[:2]}
    ),
}
"""Fashion-MNIST's images are large for one core: the source's own order is trained at the useful rates alone there."""


@cache
def network(task: str, seed: int) -> bytes:
    """The exported graph of a task; the same one for all variants and rates."""
    return exported(TASKS[task].build, TASKS[task].side, seed).SerializeToString()


def planned(tasks: Iterable[str] = TASKS, variants: Iterable[str] = VARIANTS) -> Iterator[Key]:
    """The trainings, those of one learning rate and seed together."""
    for name, rate, seed, variant in product(tasks, RATES, SEEDS, variants):
        if rate in TASKS[name].variants.get(variant, ()):
            yield Key(name, variant, rate, seed)


def trained(key: Key, task: Task) -> Run:
    """Train one network."""
    begun = time.perf_counter()
    split = task.split(key.seed)
    drawn = Drawn(split.train, INPUT, size=BATCH, steps=task.every, seed=key.seed)
    right: list[int] = []

    def note(epoch: Epoch) -> None:
        assert epoch.validation.accuracy is not None  # cross-entropy has one
        right.append(round(epoch.validation.accuracy * len(split.validation)))

    proof, told = None, ""
    try:
        result = bnfold.train(
            network(key.task, key.seed),
            drawn,
            {INPUT: split.validation.images, "target": split.validation.labels},
            lr=key.rate,
            momentum=0.0,
            weight_decay=0.0,
            epochs=task.steps // task.every,
            seed=key.seed,
            after_epoch=note,
            **VARIANTS[key.variant],
        )
        told = result.history.diverged or ""  # the best state from before is of no interest here
        if not told:
            proof = proved(result, split.test, split.train.rows(drawn.seen(task.steps)[:SEEN]))
    except (bnfold.UsageError, bnfold.DifferenceFound) as error:
        told = str(error)
    ended = ending(right[-1] / len(split.validation) if right else 0.0, told)
    seconds = round(time.perf_counter() - begun, 1)
    return Run(key, ended, told, task.every, len(split.validation), tuple(right), proof, seconds)


def ending(last: float, told: str) -> str:
    """How a training ended.

    Args:
        last: the validation accuracy at the end.
        told: what bnfold said where it refused the result.
    """
    if "diverged" in told:
        return NOT_FINITE
    if "does not depend on the inputs" in told:
        return DEAD
    return CHANCE if last < AT_CHANCE else TRAINED


def proved(result: TrainResult, test: Part, seen: Part) -> Proof:
    """Trained and folded graph, side by side over the whole test part."""
    one, other = (logits(model, test) for model in (result.model, result.folded.model))
    of_seen = logits(result.model, seen)
    return Proof(
        tested=len(test),
        right=count(one, test),
        right_folded=count(other, test),
        agree=int((one.argmax(axis=1) == other.argmax(axis=1)).sum()),
        off=float(np.abs(one - other).max()),
        largest=float(np.abs(one).max()),
        seen=len(seen),
        right_seen=count(of_seen, seen),
    )


def logits(model: ModelProto, part: Part) -> NDArray[np.float64]:
    """[N, 10], on onnxruntime with graph optimisation off."""
    session = open_session(model.SerializeToString())
    pieces = [session.run({INPUT: part.images[start : start + ROWS]}) for start in range(0, len(part), ROWS)]
    return np.concatenate([next(iter(piece.values())) for piece in pieces]).astype(np.float64)


def count(scores: NDArray[np.float64], part: Part) -> int:
    """How many are named rightly."""
    return int((scores.argmax(axis=1) == part.labels).sum())


def main() -> None:
    """Train what is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", default=list(TASKS), choices=list(TASKS), help="some tasks")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), help="some variants")
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="some learning rates")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="some seeds")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to add to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for key in planned(given.only, given.variants):
        if key.rate not in given.rates or key.seed not in given.seeds:
            continue
        if key not in read(given.results):  # another process may have added it meanwhile
            run = trained(key, TASKS[key.task])
            append(run, given.results)
            print(f"{', '.join(map(str, key))}: {run.ended}, test {run.accuracy}, {run.seconds} s", flush=True)


if __name__ == "__main__":
    main()
