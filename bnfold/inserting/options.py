"""What the caller of an insertion asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bnfold.errors import UsageError
from bnfold.model.graph import Node

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
BEFORE, AFTER = "before-activation", "after-activation"
POSITIONS = (BEFORE, AFTER)
KEEP, ABSORB = "keep", "absorb"
BIASES = (KEEP, ABSORB)
SYMBOLIC = "symbolic"
BATCHES = (KEEP, SYMBOLIC)

SMALLEST_EPSILON = 1e-7
"""Below it, the rounding of float32 next to 1 is larger, and variance + epsilon would be the variance."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `bnfold.insert`, where each is explained.

    Attributes:
        batch: "keep", or "symbolic" for a batch that was frozen and is to be opened (`batch_axis.symbolic_batch`).
        training_mode: the inserted nodes get ``training_mode = 1``, and their running statistics become outputs.
        convert_opset: the opset to convert the model to first; 0 for the oldest that does; `None` for none.

    Raises:
        UsageError: One of them makes no sense.
    """

    ops: tuple[str, ...] = LINEAR
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    position: str = BEFORE
    include_classifier: bool = False
    bias: str | None = None
    reset: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9
    batch: str = KEEP
    training_mode: bool = False
    convert_opset: int | None = None

    def __post_init__(self) -> None:
        for name, choices in (("position", POSITIONS), ("bias", BIASES), ("batch", BATCHES)):
            value = getattr(self, name)
            if value not in choices and (name, value) != ("bias", None):
                raise UsageError(f"{name} is one of {', '.join(choices)}, not '{value}'")
        unknown = [name for name in self.ops if name not in LINEAR]
        if unknown or not self.ops:
            raise UsageError(f"ops are among {', '.join(LINEAR)}, not {', '.join(map(repr, unknown)) or 'none at all'}")
        if not SMALLEST_EPSILON <= self.epsilon < 1:
            raise UsageError(f"epsilon has to be at least {SMALLEST_EPSILON:g} and less than 1, not {self.epsilon:g}")
        if not 0 <= self.momentum <= 1:
            raise UsageError(f"momentum has to be between 0 and 1, not {self.momentum:g}")

    def is_chosen(self, node: Node) -> bool:
        """Whether the caller wants a normalization behind the node."""
        return (not self.only or _matches(node, self.only)) and not _matches(node, self.skip)

    def refuse_unknown(self, nodes: Iterable[Node]) -> None:
        """Every name that the caller gives has to be that of an operator behind which one could go.

        Raises:
            UsageError: one of them is not.
        """
        waiting = {*self.only, *self.skip}
        for node in nodes:
            waiting -= {pattern for pattern in waiting if _matches(node, (pattern,))}
        if waiting:
            names = ", ".join(f"'{pattern}'" for pattern in sorted(waiting))
            raise UsageError(f"no linear operator of the model is called {names}; --dry-run lists them by name")


def _matches(node: Node, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(node.label, pattern) or node.label == pattern for pattern in patterns)
