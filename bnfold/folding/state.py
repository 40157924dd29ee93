"""What a search has decided so far: sources that go, what operators get, and what of a map stays on a wire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from bnfold.folding.plan import Change, Edge, Residual
from bnfold.folding.sources import Source
from bnfold.model.graph import Address, Node, Value

Edges: TypeAlias = Iterable[Edge]


@dataclass
class State:
    """What has been decided: sources that go, what operators get, and what stays on a wire.

    Attributes:
        removed: sources that go, by address.
        pushed: those of them whose readers read what stands in front.
        changes: what becomes of operators that stay, by address.
        residuals: maps that stay as nodes, by the wire that they stand on.
        parallel: sources that went into an operator beside them, by address, with that operator.
        dropped: inputs that go, of sums that stay.
        fixed: nodes that no attempt may ask any more, since something is decided of them that is no map.
    """

    removed: dict[Address, Source] = field(default_factory=dict)
    pushed: set[Address] = field(default_factory=set)
    changes: dict[Address, Change] = field(default_factory=dict)
    residuals: dict[Value, Residual] = field(default_factory=dict)
    parallel: dict[Address, Node] = field(default_factory=dict)
    dropped: set[Edge] = field(default_factory=set)
    fixed: set[Address] = field(default_factory=set)

    def copy(self) -> State:
        """A state of its own, of an attempt: which decides of maps alone."""
        return State(dict(self.removed), set(self.pushed), dict(self.changes), dict(self.residuals))

    def adopt(self, other: State) -> None:
        """Take over what an attempt has decided."""
        self.removed.update(other.removed)
        self.pushed |= other.pushed
        self.changes.update(other.changes)
        self.residuals.update(other.residuals)
        self.parallel.update(other.parallel)
        self.dropped |= other.dropped
        self.fixed |= other.fixed

    def leave(self, residual: Residual) -> bool:
        """Leave a map on a wire; where the wire has one already, the two have to be the same map. Whether they are.

        Whether it is shown depends on the wire alone, so that they agree about that.
        """
        present = self.residuals.get(residual.wire)
        if present is None:
            self.residuals[residual.wire] = residual
            return True
        if not present.placed.same_as(residual.placed):
            return False
        self.residuals[residual.wire] = replace(present, edges=present.edges | residual.edges)
        return True
