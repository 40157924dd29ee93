"""What came of the trainings of benchmarks/convergence.py: a line of JSON each, in results/convergence.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).resolve().parent / "results" / "convergence.jsonl"

TRAINED, CHANCE, NOT_FINITE, DEAD = "trained", "chance", "not finite", "dead"
"""How a training ends: well; at chance; at a loss of NaN or infinity; with outputs that no input changes."""


class Key(NamedTuple):
    """Which training it is."""

    task: str
    variant: str
    rate: float
    seed: int


@dataclass(frozen=True)
class Proof:
    """The kept state on the whole test part, before and after its fold, on onnxruntime with optimisation off.

    Attributes:
        tested: how many examples.
        right: how many of them the trained graph names rightly.
        right_folded: how many its fold does.
        agree: for how many the two name the same class.
        off: the largest difference of any output.
        largest: the largest output.
        seen: how many of the examples that it was trained on were scored as well.
        right_seen: how many of those it names rightly.
    """

    tested: int
    right: int
    right_folded: int
    agree: int
    off: float
    largest: float
    seen: int
    right_seen: int


@dataclass(frozen=True)
class Run:
    """A training.

    Attributes:
        key: which one.
        ended: how.
        told: what bnfold said where it refused the result; else empty.
        every: steps from one validation to the next.
        validated: how many examples validate.
        right: how many of them were named rightly, at each validation.
        proof: of the state that was best there; None where bnfold refused the result.
        seconds: how long it took.
    """

    key: Key
    ended: str
    told: str
    every: int
    validated: int
    right: tuple[int, ...]
    proof: Proof | None
    seconds: float

    @property
    def best(self) -> int:
        """The most that were named rightly at any validation."""
        return max(self.right, default=0)

    def steps_to(self, right: int) -> int | None:
        """After how many steps so many were first named rightly; None for never."""
        return next((self.every * (index + 1) for index, found in enumerate(self.right) if found >= right), None)

    @property
    def accuracy(self) -> float | None:
        """Of the kept state's fold on the test part."""
        return None if self.proof is None else self.proof.right_folded / self.proof.tested

    @property
    def gap(self) -> float | None:
        """How much better it is on what it was trained on than on the test part."""
        if self.proof is None:
            return None
        return self.proof.right_seen / self.proof.seen - self.proof.right / self.proof.tested


def read(path: Path = RESULTS) -> dict[Key, Run]:
    """All trainings of a file; none where there is no file."""
    if not path.exists():
        return {}
    runs = [_run(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return {run.key: run for run in runs}


def append(run: Run, path: Path = RESULTS) -> None:
    """Add a training at once, so that one that is cut off loses none before it."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line(run) + "\n")


def line(run: Run) -> str:
    """A training as JSON."""
    return json.dumps({**run.key._asdict(), **{name: value for name, value in asdict(run).items() if name != "key"}})


def seeds_of(runs: Iterable[Run], task: str, variant: str, rate: float) -> list[Run]:
    """The trainings that differ in their seed alone."""
    return [run for run in runs if run.key[:3] == (task, variant, rate)]


def _run(document: dict[str, Any]) -> Run:
    key = Key(*(document.pop(name) for name in Key._fields))
    proof, right = document.pop("proof"), document.pop("right")
    return Run(key=key, proof=None if proof is None else Proof(**proof), right=tuple(right), **document)
