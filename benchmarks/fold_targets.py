"""What folding may cost, and whether it does: every target is a number per round that may be at most so much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import NamedTuple, Protocol, TypeAlias, TypedDict

from fold_process import Cost, Miss

Quartiles: TypeAlias = list[float]
"""Lower quartile, median, upper quartile."""


class Way(NamedTuple):
    """One tool on one model, by its name in benchmarks/fold_models.py; empty where there is none."""

    tool: str
    model: str = ""

    def __str__(self) -> str:
        return f"{self.tool} {self.model}".strip()


@dataclass(frozen=True)
class Measured:
    """What a scenario has come to.

    Attributes:
        costs: one per round, in the order of the rounds, or why there are none.
        sizes: bytes of every model, with its data file.
        left: how many BatchNormalizations each way has left.
        imports: top-level packages that `bnfold --help` imports.
    """

    costs: Mapping[Way, Sequence[Cost] | Miss]
    sizes: Mapping[str, int]
    left: Mapping[Way, int]
    imports: frozenset[str] = frozenset()


class Verdict(TypedDict):
    """A target and what was measured, as it goes to the results.

    `value` is null where something was not measured, and `met` too unless bnfold did not end in its time. With `bound`,
    the other tool did not end in its time, and the value is at most that.
    """

    text: str
    value: Quartiles | None
    bound: bool
    limit: float
    met: bool | None


class Target(Protocol):
    """Something that may be at most `limit`."""

    @property
    def limit(self) -> float:
        """Of the median."""

    @property
    def own(self) -> tuple[Way, ...]:
        """Those of bnfold that it is about."""

    def __str__(self) -> str: ...

    def values(self, measured: Measured) -> Sequence[float] | None:
        """One per round; None where it was not measured."""

    def is_bound(self, measured: Measured) -> bool:
        """Whether they are only upper bounds."""


def quartiles(values: Sequence[float]) -> Quartiles:
    """As numpy has them; one value is all three."""
    return [values[0]] * 3 if len(values) == 1 else quantiles(values, n=4, method="inclusive")


def verdict(target: Target, measured: Measured) -> Verdict:
    """Whether a target is met: by the median, or by a bound of it; not by a bnfold that took longer than it may."""
    values = target.values(measured)
    value = None if values is None else quartiles(values)
    bound = value is not None and target.is_bound(measured)
    met = None if value is None or (bound and value[1] > target.limit) else value[1] <= target.limit
    if any(isinstance(missed := measured.costs[way], Miss) and missed.over for way in target.own):
        met = False
    return {"text": str(target), "value": value, "bound": bound, "limit": target.limit, "met": met}


class _OneWay:
    """What is about one way of bnfold."""

    way: Way

    @property
    def own(self) -> tuple[Way, ...]:
        """The one."""
        return (self.way,)


class _Exact:
    """What is measured itself."""

    def is_bound(self, _: Measured) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class Over(_OneWay):
    """The clock's time of one way over that of another in the same round, after `free` seconds that do not count."""

    way: Way
    base: Way
    limit: float
    free: float = 0.0

    def __str__(self) -> str:
        free = f", plus {self.free:g} s" if self.free else ""
        return f"{self.way}: time over {self.base.tool}{free}"

    def values(self, measured: Measured) -> Sequence[float] | None:
        """Times above `free` over the other's; over its time limit where it did not end."""
        costs, base = measured.costs[self.way], measured.costs[self.base]
        if isinstance(costs, Miss) or (isinstance(base, Miss) and base.over is None):
            return None
        walls = [base.over or 0.0] * len(costs) if isinstance(base, Miss) else [cost.wall for cost in base]
        return [max(0.0, cost.wall - self.free) / wall for cost, wall in zip(costs, walls, strict=True)]

    def is_bound(self, measured: Measured) -> bool:
        """The other did not end."""
        return isinstance(measured.costs[self.base], Miss)


@dataclass(frozen=True)
class PeakOver(_OneWay, _Exact):
    """Resident memory at most, over the bytes of the model."""

    way: Way
    limit: float

    def __str__(self) -> str:
        return f"{self.way}: peak memory over the model's size"

    def values(self, measured: Measured) -> Sequence[float] | None:
        """One per round."""
        costs = measured.costs[self.way]
        return None if isinstance(costs, Miss) else [cost.peak / measured.sizes[self.way.model] for cost in costs]


@dataclass(frozen=True)
class Peak(_OneWay, _Exact):
    """Resident memory at most, in MB."""

    way: Way
    limit: float

    def __str__(self) -> str:
        return f"{self.way}: peak memory, MB"

    def values(self, measured: Measured) -> Sequence[float] | None:
        """One per round."""
        costs = measured.costs[self.way]
        return None if isinstance(costs, Miss) else [cost.peak / 1e6 for cost in costs]


@dataclass(frozen=True)
class Processor(_OneWay, _Exact):
    """Processor time in milliseconds."""

    way: Way
    limit: float

    def __str__(self) -> str:
        return f"{self.way}: processor time, ms"

    def values(self, measured: Measured) -> Sequence[float] | None:
        """One per round."""
        costs = measured.costs[self.way]
        return None if isinstance(costs, Miss) else [cost.cpu * 1e3 for cost in costs]


@dataclass(frozen=True)
class Imported(_Exact):
    """How many of these packages `bnfold --help` imports."""

    packages: tuple[str, ...]
    limit: float = 0.0
    own: tuple[Way, ...] = ()

    def __str__(self) -> str:
        return f"bnfold --help: how many it imports of {', '.join(self.packages)}"

    def values(self, measured: Measured) -> Sequence[float] | None:
        """The same in every round."""
        return [float(len(measured.imports.intersection(self.packages)))] if measured.imports else None


@dataclass(frozen=True)
class Growth(_Exact):
    """The most processor time per pair over the least, of models of several sizes in the same round.

    Args:
        start: the smallest model: what it costs is taken off the others, or the start of Python would be the most of
            what a pair of a small model costs.
        ways: the others.
    """

    start: Way
    ways: tuple[Way, ...]
    limit: float

    @property
    def own(self) -> tuple[Way, ...]:
        """All."""
        return (self.start, *self.ways)

    def __str__(self) -> str:
        kind, sizes = self.start.model.partition("-")[0], ", ".join(str(pairs(way.model)) for way in self.ways)
        return f"{self.start.tool} {kind}: processor time per pair at {sizes}, most over least"

    def values(self, measured: Measured) -> Sequence[float] | None:
        """One per round."""
        rows = [per_pair(way, self.start, measured) for way in self.ways]
        found = [row for row in rows if row is not None]
        if len(found) < len(rows):
            return None
        return [max(each) / min(each) for each in zip(*found, strict=True)]


def pairs(model: str) -> int:
    """How many Conv-BatchNormalization there are, or readers: 56 of `chain-56x512`."""
    return int(model.partition("-")[2].partition("x")[0])


def per_pair(way: Way, start: Way, measured: Measured) -> list[float] | None:
    """Seconds of processor time for every pair that a model has more than the smallest."""
    costs, base = measured.costs[way], measured.costs[start]
    if isinstance(costs, Miss) or isinstance(base, Miss):
        return None
    more = pairs(way.model) - pairs(start.model)
    return [(cost.cpu - least.cpu) / more for cost, least in zip(costs, base, strict=True)]
