"""One case of the corpus, and the family that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import numpy.typing as npt
from onnx import ModelProto
from support import Feeds, Runner, run_ort

from corpus.network import network

Direction: TypeAlias = Literal["pull", "push", "either", "split", "none"]


@dataclass(frozen=True)
class Case:
    """A small graph, and what the mathematics leaves of its affines.

    Attributes:
        name: unique within the family.
        family: the kind of pattern.
        build: makes the model, the same every time.
        left: how many affine nodes are left when all that is exact is folded, either way, by the default preference.
        direction: "pull" when going towards the inputs alone comes to `left`, "push" when going towards the outputs is
            needed, "either" when each alone would do, "split" when the scale goes one way and the shift the other,
            "none" when nothing goes.
        why: the reason for `left`, from the law.
        untouched: the model has to come out as it went in.
        pitfalls: the lines of pitfalls.md that it is an example of.
        run: what can run it.
        feeds: inputs that are not standard normal.
        exact_reference: whether onnx.reference has a float64 truth for it.
        freeze: fold with `freeze_initializers`.
        note: a doubt, or what else there is to say.
    """

    name: str
    family: str
    build: Callable[[], ModelProto]
    left: int
    direction: Direction
    why: str
    untouched: bool = False
    pitfalls: tuple[int, ...] = ()
    run: Runner = run_ort
    feeds: Feeds | None = None
    exact_reference: bool = True
    freeze: bool = False
    note: str = ""

    @property
    def label(self) -> str:
        return f"{self.family}: {self.name}"


class How(TypedDict, total=False):
    """What a case may say besides: the header of its graph, how it runs, what it is an example of."""

    x: str
    y: str
    opset: int
    ir: int
    kind: str
    statistics_kind: str
    functions: str
    constants: Mapping[str, npt.ArrayLike]
    edit: Callable[[ModelProto], None]
    pitfalls: tuple[int, ...]
    run: Runner
    feeds: Feeds
    exact_reference: bool
    freeze: bool
    note: str


OF_THE_NETWORK = {"y", "opset", "ir", "kind", "statistics_kind", "functions", "constants", "edit"}


@dataclass
class Family:
    """Cases of one kind; `x` is the input that they have by default."""

    name: str
    x: str = "float[2,3,6,6] x"
    cases: list[Case] = field(default_factory=list)

    def pull(self, name: str, nodes: str, why: str, *, left: int = 0, **how: Unpack[How]) -> None:
        self._add(name, nodes, why, left, "pull", how)

    def push(self, name: str, nodes: str, why: str, *, left: int = 0, **how: Unpack[How]) -> None:
        self._add(name, nodes, why, left, "push", how)

    def either(self, name: str, nodes: str, why: str, *, left: int = 0, **how: Unpack[How]) -> None:
        self._add(name, nodes, why, left, "either", how)

    def split(self, name: str, nodes: str, why: str, *, left: int = 0, **how: Unpack[How]) -> None:
        self._add(name, nodes, why, left, "split", how)

    def stays(self, name: str, nodes: str, why: str, *, left: int = 1, **how: Unpack[How]) -> None:
        """Nothing goes altogether; the affine may take a cheaper form or place."""
        self._add(name, nodes, why, left, "none", how)

    def trap(self, name: str, nodes: str, why: str, *, left: int = 1, **how: Unpack[How]) -> None:
        """The graph must come out as it went in."""
        self._add(name, nodes, why, left, "none", how, untouched=True)

    def _add(
        self, name: str, nodes: str, why: str, left: int, direction: Direction, how: How, *, untouched: bool = False
    ) -> None:
        given: dict[str, Any] = dict(how)
        header = {key: given.pop(key) for key in OF_THE_NETWORK & given.keys()}
        x = given.pop("x", self.x)

        def build() -> ModelProto:
            return network(nodes, x, **header)

        self.cases.append(Case(name, self.name, build, left, direction, why, untouched, **given))
