"""The steps that a random graph is made of, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from random_graphs.builder import Builder, Unfit, Wire

Step: TypeAlias = Callable[[Builder, Wire], Wire]

STEPS: dict[str, Step] = {}
KEEPING: list[str] = []
"""Steps behind which a wire has the shape and type that it had: those that branches and bodies are made of."""


def step(name: str, *, keeps: bool = False) -> Callable[[Step], Step]:
    """Register a step; `keeps` if the wire keeps its shape and type."""

    def register(make: Step) -> Step:
        if name in STEPS:
            raise ValueError(f"two steps '{name}'")
        STEPS[name] = make
        if keeps:
            KEEPING.append(name)
        return make

    return register


def taken(b: Builder, name: str, wire: Wire) -> Wire:
    """The wire behind a step; itself where the step does not fit."""
    undo = b.mark()
    try:
        return STEPS[name](b, wire)
    except Unfit:
        undo()
        return wire


def some(b: Builder, wire: Wire, most: int = 3) -> Wire:
    """A few steps that keep the shape."""
    for _ in range(b.number(1, most)):
        wire = taken(b, str(b.pick(*KEEPING)), wire)
    return wire
