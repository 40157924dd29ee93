"""Every affine of a graph, and what would become of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bnfold.folding.plan import Outcome, Plan


@dataclass(frozen=True)
class AffineInfo:
    """One affine of a graph.

    Attributes:
        node: its name, or operator and output where it has none.
        op_type: its operator.
        channels: how many channels it has; 1 for a scalar, 0 where no map is known.
        folds: whether `fold` would take it out of the graph.
        into: the operators that would absorb it.
        code: a stable word for why it stays, empty when it folds.
        reason: a sentence that names the node that blocks and says what would unblock it, empty when it folds.
    """

    node: str
    op_type: str
    channels: int
    folds: bool
    into: tuple[str, ...]
    code: str
    reason: str


@dataclass(frozen=True)
class Inspection:
    """Every affine of a graph, in the order of the file. True where there is one.

    Attributes:
        affines: BatchNormalizations and the constant Mul, Add, Sub, Div that are affines too.
    """

    affines: tuple[AffineInfo, ...]

    def __bool__(self) -> bool:
        return bool(self.affines)

    def __iter__(self) -> Iterator[AffineInfo]:
        return iter(self.affines)

    def __len__(self) -> int:
        return len(self.affines)


def inspection_of(plan: Plan) -> Inspection:
    """What a plan says of each affine."""
    return Inspection(tuple(_info(outcome) for outcome in plan.outcomes))


def _info(outcome: Outcome) -> AffineInfo:
    refusal = None if outcome.folds else outcome.refusal
    return AffineInfo(
        node=outcome.node.label,
        op_type=outcome.node.op_type,
        channels=outcome.channels,
        folds=outcome.folds,
        into=tuple(node.label for node in outcome.into),
        code=refusal.code if refusal else "",
        reason=refusal.reason if refusal else "",
    )
