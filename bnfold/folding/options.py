"""What the caller of a fold asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from bnfold.errors import UsageError
from bnfold.folding.cost import Preference
from bnfold.model.graph import Node
from bnfold.ops.rule import Refusal

PREFERENCES = ("speed", "no-batchnorm")


@dataclass(frozen=True)
class Options:
    """The options of `bnfold.fold`, where each is explained.

    Raises:
        UsageError: One of them makes no sense.
    """

    freeze_initializers: bool = False
    prefer: str = "speed"
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    max_folds: int | None = None
    residuals: bool = True
    is_first_round: bool = True
    folds_before: int = 0

    def __post_init__(self) -> None:
        if self.prefer not in PREFERENCES:
            raise UsageError(f"there is no preference '{self.prefer}': it is one of {', '.join(PREFERENCES)}")
        if self.max_folds is not None and self.max_folds < 0:
            raise UsageError(f"the largest number of folds has to be 0 or more, not {self.max_folds}")
        if self.prefer != "speed" and not self.residuals:
            raise UsageError("no-batchnorm asks for residuals in other forms, and no-residuals forbids them")

    @property
    def preference(self) -> Preference:
        """What the fold is to come to."""
        return Preference(self.prefer)

    def after(self, folds: int) -> Options:
        """The options of another round, when there have been so many folds."""
        return replace(self, is_first_round=False, folds_before=folds)

    def is_enough(self, folds: int) -> bool:
        """Whether so many folds in this round are all that the caller has asked for."""
        return self.max_folds is not None and self.folds_before + folds >= self.max_folds

    def refuse_source(self, node: Node) -> Refusal | None:
        """Why an affine is to stay, as the caller has chosen."""
        if self.only and not _matches(node, self.only):
            return Refusal("skipped", node.label, f"{node.op_type} '{node.label}' is none that was asked for")
        return self.refuse_change(node)

    def refuse_change(self, node: Node) -> Refusal | None:
        """Why a node is to stay as it is, as the caller has chosen."""
        if not _matches(node, self.skip):
            return None
        return Refusal("skipped", node.label, f"{node.op_type} '{node.label}' is to be left as it is")

    def refuse_unknown(self, nodes: Iterable[Node]) -> None:
        """Every name that the caller gives has to be that of a node.

        Raises:
            UsageError: one of them is not.
        """
        waiting = {*self.only, *self.skip} if self.is_first_round else set()
        for node in nodes:
            waiting -= {pattern for pattern in waiting if _matches(node, (pattern,))}
            if not waiting:
                return
        if waiting:
            names = ", ".join(f"'{pattern}'" for pattern in sorted(waiting))
            raise UsageError(f"no node of the model is called {names}; bnfold inspect lists the affines by name")


def _matches(node: Node, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(node.label, pattern) or node.label == pattern for pattern in patterns)
