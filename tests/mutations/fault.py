"""What a fault is, and the table of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from onnx import ModelProto

_Site = TypeVar("_Site")


class Pair(NamedTuple):
    """Two models that a check compares; a right fold before the fault is planted."""

    before: ModelProto
    after: ModelProto


Plant: TypeAlias = Callable[[Pair, float], Pair | None]
"""Plants a fault into copies of a right pair, at a place from 0 (first of those there are) to 1 (last of them).

`None` where the models have no such place.
"""


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: What is wrong, in words.
        plant: Makes it.
    """

    name: str
    plant: Plant


FAULTS: list[Fault] = []
"""Every kind, in the order in which the modules of this package name them."""


def fault(name: str) -> Callable[[Plant], Plant]:
    """Enter a function into the table."""

    def entered(plant: Plant) -> Plant:
        FAULTS.append(Fault(name, plant))
        return plant

    return entered


def chosen(sites: Sequence[_Site], place: float) -> _Site | None:
    """The site at a place from 0 to 1; none of none."""
    return sites[round(place * (len(sites) - 1))] if sites else None


def copied(model: ModelProto) -> ModelProto:
    """A copy to plant a fault into."""
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy
