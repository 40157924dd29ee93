"""A plan: where each affine of a graph goes, or why it stays. A value; `bnfold.folding.search` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bnfold.folding.sources import Source, is_normalization
from bnfold.model.graph import Address, Graph, Node
from bnfold.ops.registry import Maps
from bnfold.ops.rule import Operator, Refusal, Taken


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the plan does with one affine of the graph, or why it is none.

    Attributes:
        node: the node.
        channels: how many channels the node states; 1 for a scalar, 0 where there is no map.
        into: the operators that absorb it, empty when it stays.
        refusal: why it stays, None when it goes.
    """

    node: Node
    channels: int
    into: tuple[Node, ...] = ()
    refusal: Refusal | None = None

    @property
    def is_normalization(self) -> bool:
        """Whether the node is a BatchNormalization."""
        return is_normalization(self.node)


@dataclass(frozen=True, eq=False)
class Plan:
    """Where each affine goes; a value, made by `bnfold.folding.search.make_plan` and carried out by a patch.

    Attributes:
        graph: the view that it speaks of.
        removed: the sources that go, by address.
        pushed: those of them whose readers read what stands in front.
        changes: what becomes of operators that stay, by address.
        outcomes: every affine of the graph, in the order of the file.
    """

    graph: Graph
    removed: Mapping[Address, Source]
    pushed: frozenset[Address]
    changes: Mapping[Address, Change]
    outcomes: tuple[Outcome, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know, each once, in the order of the file."""
        changes = (self.changes[address] for address in sorted(self.changes))
        return tuple(dict.fromkeys(remark for change in changes for remark in change.taken.remarks))
