"""A plan: where each affine of a graph goes, or why it stays. A value; `bnfold.folding.search` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from bnfold.folding.sources import Source, is_normalization
from bnfold.model.graph import Address, Graph, Node, Value
from bnfold.ops.registry import Maps
from bnfold.ops.rule import Operator, Placed, Refusal, Taken
from bnfold.values import frozen

Edge: TypeAlias = tuple[Node, int]
"""A node, and the index of the input at which it reads."""


@frozen
class Change:
    """What becomes of one operator that stays.

    Attributes:
        op: the operator.
        pulled: output index to the map that the output is to get.
        pushed: input index to the map that the input comes without.
        taken: the edits that its rules answered with.
        wanted: input index to the map that has to appear there.
        owed: output index to the map that is owed there.
    """

    op: Operator
    pulled: Maps = field(default_factory=dict)
    pushed: Maps = field(default_factory=dict)
    taken: Taken = field(default_factory=Taken)
    wanted: Maps = field(default_factory=dict)
    owed: Maps = field(default_factory=dict)


@frozen
class Residual:
    """A map that stays as nodes, on a wire.

    Attributes:
        wire: the value that it maps.
        placed: the map.
        forms: the operators that it is written as, in their order.
        edges: who reads the mapped value; all other readers read the wire as it is.
        shown: whether the mapped value is a graph output.
        elem_type: the type of the wire.
        rank: how many axes the wire has; 0 where that does not matter.
        channels: how many channels axis 1 of the wire has; 0 where that does not matter.
        origin: the source that came to this.
        moved: the BatchNormalization whose map it is, unchanged: the node itself goes there, parameters and all.
    """

    wire: Value
    placed: Placed
    forms: tuple[str, ...] = ()
    edges: frozenset[Edge] = frozenset()
    shown: bool = False
    elem_type: int = 0
    rank: int = 0
    channels: int = 0
    origin: Source | None = None
    moved: Source | None = None

    @property
    def trailing(self) -> int:
        """How many axes the map's own axis and those behind it are."""
        return self.rank - self.placed.axis

    @property
    def is_normalization(self) -> bool:
        """Whether it is written as a BatchNormalization."""
        return "BatchNormalization" in self.forms


@frozen
class Settled:
    """Affines that could not go altogether, and what was done instead.

    Attributes:
        nodes: the affines.
        wires: the wires on which something of them stays.
        replaced: operators that became another one, or got a constant map behind them, for it.
        became: what each of them became.
        nodes_saved: how many nodes the graph has less; below 0 how many more.
        elements_saved: how many elements less are written at run time, per unit of the sizes that are not known.
        bytes_added: how many bytes of constants came.
        refusal: why they could not go.
    """

    nodes: tuple[Node, ...]
    wires: tuple[Value, ...]
    replaced: tuple[Node, ...]
    became: tuple[str, ...]
    nodes_saved: int
    elements_saved: Mapping[tuple[str, ...], int]
    bytes_added: int
    refusal: Refusal | None


@frozen
class Outcome:
    """What the plan does with one affine of the graph, or why it is none.

    Attributes:
        node: the node.
        channels: how many channels the node states; 1 for a scalar, 0 where there is no map.
        into: the operators that absorb it, empty when it stays.
        gone: whether it is taken out of its place.
        residuals: what stays of it then, on other wires or in another form.
        refusal: why it does not go altogether, None when it does.
    """

    node: Node
    channels: int
    into: tuple[Node, ...] = ()
    gone: bool = False
    residuals: tuple[Residual, ...] = ()
    refusal: Refusal | None = None

    @property
    def is_normalization(self) -> bool:
        """Whether the node is a BatchNormalization."""
        return is_normalization(self.node)

    @property
    def folds(self) -> bool:
        """Whether it is gone: a BatchNormalization of which another one stays is not."""
        stays = self.is_normalization and any(residual.is_normalization for residual in self.residuals)
        return self.gone and not stays


@frozen
class Plan:
    """Where each affine goes; a value, made by `bnfold.folding.search.make_plan` and carried out by a patch.

    Attributes:
        graph: the view that it speaks of.
        removed: the sources that go, by address.
        pushed: those of them whose readers read what stands in front.
        changes: what becomes of operators that stay, by address.
        residuals: maps that stay as nodes, by wire.
        outcomes: every affine of the graph, in the order of the file.
        settled: what was done with those that could not go altogether, in the order of the search.
        folds: how many steps the search has taken.
        dropped: inputs that go, of sums that stay.
    """

    graph: Graph
    removed: Mapping[Address, Source]
    pushed: frozenset[Address]
    changes: Mapping[Address, Change]
    residuals: Mapping[Value, Residual]
    outcomes: tuple[Outcome, ...]
    settled: tuple[Settled, ...] = ()
    folds: int = 0
    dropped: frozenset[Edge] = frozenset()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know, each once, in the order of the file."""
        changes = (self.changes[address] for address in sorted(self.changes))
        return tuple(dict.fromkeys(remark for change in changes for remark in change.taken.remarks))
