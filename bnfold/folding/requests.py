"""What an attempt works off: maps on wires, what it may do with them, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from bnfold.folding.plan import Edge
from bnfold.folding.sources import Source
from bnfold.folding.state import State
from bnfold.model.graph import Address, Node, Value
from bnfold.ops.rule import Operator, Placed, Refusal
from bnfold.values import frozen

Part: TypeAlias = Literal["", "shift", "scale"]
"""A part of a map; none for the empty string."""


@dataclass(frozen=True)
class Manner:
    """What an attempt may do besides passing maps on.

    Attributes:
        merging: an affine on the way may stay and take the source in.
        leaving: what is refused stays on its wire, as a residual.
        splitting: the part of a refused map that stays while the other one goes on: "shift" or "scale"; "" for none.
        replacing: an operator may become another one that takes the map.
        depth: how many operators a map may pass before it stays; None for any number.
    """

    merging: bool = False
    leaving: bool = False
    splitting: Part = ""
    replacing: bool = False
    depth: int | None = None


class Context(Protocol):
    """What attempts need to know of the search that makes them."""

    sources: dict[Address, Source]
    rank: dict[Address, int]
    state: State

    def operator(self, node: Node) -> Operator:
        """The node with its constants and shapes."""

    def remembered(self, wire: Value) -> Refusal | None:
        """Why no map at all can be pulled up that wire, if an earlier attempt found out."""

    def seen_by_others(self, wire: Value) -> Refusal | None:
        """Why no map can be pulled up that wire, as the graph stands: see `bnfold.folding.pulling.refuse_wire`."""

    def protected(self, node: Node) -> Refusal | None:
        """Why the caller wants the node left as it is, if that is so."""


@frozen
class Request:
    """A map on a wire: to appear there (pull), or owed there (push).

    Attributes:
        wire: the wire.
        placed: the map.
        cause: the request that it came from.
        edges: who is to see the map, where that is not every reader (pull).
        depth: how many operators it has passed.
        beyond: it has passed a source that was gone before, and so says a total of which a part is decided already.
        row: how many sources it has passed since the last operator.
    """

    wire: Value
    placed: Placed
    cause: Request | None = None
    edges: frozenset[Edge] = frozenset()
    depth: int = 0
    beyond: bool = False
    row: int = 0


class Blocked(Exception):
    """An attempt came to a refusal; the search turns it into data."""

    def __init__(self, refusal: Refusal, request: Request, *, always: bool = False, final: bool = False) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal
        self.request = request
        self.always = always  # no map at all passes here
        self.final = final  # nor can it stay here


class Pending(NamedTuple):
    """A queued request: in the order of the node that is to be asked, then of its inputs or outputs, then of coming."""

    order: int
    port: int
    number: int
    request: Request
    node: Node


@dataclass
class Detour:
    """A state to come back to, and another way to go from there."""

    state: State
    pending: list[Pending]
    resume: Callable[[], None]
    for_shifts_only: bool


def named(node: Node) -> str:
    """A node in a sentence."""
    return f"{node.op_type} '{node.label}'"


def readers_named(wire: Value, most: int = 3) -> str:
    """The readers of a wire in a sentence, the first few by name."""
    names = list(dict.fromkeys(named(reader) for reader, _ in wire.value_readers))
    if len(names) == 1:
        return f"{names[0]} {len(wire.value_readers)} times"
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
