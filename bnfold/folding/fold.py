"""Plan, patch, result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onnx import ModelProto

import bnfold.ops  # noqa: F401 (fills the registry of rules)
from bnfold.errors import TargetError
from bnfold.folding.edits import make_patch
from bnfold.folding.plan import Outcome, Plan
from bnfold.folding.quantized import quantization_remarks
from bnfold.folding.search import make_plan
from bnfold.model.constants import Constants
from bnfold.model.container import Container, ModelLike, open_model
from bnfold.model.graph import Graph
from bnfold.model.patch import Patch, apply
from bnfold.model.shapes import Shapes
from bnfold.model.writing import Staged, staged


@dataclass(frozen=True)
class Folded:
    """An affine that is gone.

    Attributes:
        node: its name, or operator and output where it has none.
        op_type: its operator.
        direction: "pull" (towards the inputs), "push" (towards the outputs) or "remove".
        into: the operators that absorbed it.
    """

    node: str
    op_type: str
    direction: str
    into: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """A BatchNormalization that is still there.

    Attributes:
        node: its name, or operator and output where it has none.
        op_type: its operator.
        code: a stable word for why.
        reason: a sentence that names the node that blocks.
    """

    node: str
    op_type: str
    code: str
    reason: str


@dataclass(frozen=True, eq=False)
class FoldResult:
    """A folded model, and what was done to it. True where something was folded.

    Attributes:
        container: the model as it came in.
        plan: where each affine went, or why it stayed.
        patch: the edits that the plan came to.
    """

    container: Container
    plan: Plan
    patch: Patch

    def __bool__(self) -> bool:
        return bool(self.plan.removed)

    @cached_property
    def model(self) -> ModelProto:
        """The folded model; weights that were external and are not folded still are, relative to the same folder."""
        return apply(self.patch, self.plan.graph)

    @cached_property
    def folded(self) -> tuple[Folded, ...]:
        """Every affine that is gone, in the order of the file."""
        gone = (outcome for outcome in self.plan.outcomes if outcome.node.address in self.patch.removed)
        return tuple(
            Folded(o.node.label, o.node.op_type, self._direction(o), tuple(into.label for into in o.into)) for o in gone
        )

    def _direction(self, outcome: Outcome) -> str:
        if not outcome.into:
            return "remove"
        return "push" if outcome.node.address in self.plan.pushed else "pull"

    @cached_property
    def kept(self) -> tuple[Kept, ...]:
        """Every BatchNormalization that is still there, with the reason, in the order of the file."""
        return tuple(_kept(outcome) for outcome in self.plan.outcomes if outcome.is_normalization and outcome.refusal)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know besides."""
        return self.plan.remarks + quantization_remarks(self.plan)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model: lossless, and in one step. With nothing folded, the file is what came in, byte for byte.

        Raises:
            TargetError: the place can not be written to.
            ExternalDataError: a file of weights that has to be copied can not be read.
        """
        with self.staged(path) as work:
            work.commit()

    @contextmanager
    def staged(self, path: str | os.PathLike[str]) -> Iterator[Staged]:
        """As `save`, in two steps: the file is there to be looked at, and in its place only after ``commit()``."""
        if any(Path(path).exists() and file.samefile(path) for file in self.container.data_files):
            raise TargetError(f"'{path}' holds the weights of {self.container.name}; give another output")
        content = self.model if self else self._unchanged()
        with staged(content, path, self.container.base_dir, self.patch.fresh_names) as work:
            yield work

    def _unchanged(self) -> bytes:
        return self.container.raw or self.container.proto.SerializeToString()


def _kept(outcome: Outcome) -> Kept:
    refusal = outcome.refusal
    code, reason = ("", "") if refusal is None else (refusal.code, refusal.text)
    return Kept(outcome.node.label, outcome.node.op_type, code, reason)


def fold(
    model: ModelLike,
    *,
    freeze_initializers: bool = False,
    base_dir: str | os.PathLike[str] | None = None,
) -> FoldResult:
    """Fold every affine of the model that can be folded exactly.

    Args:
        model: a path, the bytes of a file, or an `onnx.ModelProto`, which is not changed.
        freeze_initializers: treat initializers that are graph inputs too as constants, and stop listing them.
        base_dir: the folder of external data, when the model is not given as a path.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read.
        UsageError: `model` is no model.
    """
    container = open_model(model, base_dir=base_dir)
    plan = plan_for(container, freeze_initializers=freeze_initializers)
    return FoldResult(container, plan, make_patch(plan, freeze=freeze_initializers))


def plan_for(container: Container, *, freeze_initializers: bool = False) -> Plan:
    """The plan alone, nothing carried out."""
    graph = Graph(container.proto)
    shapes = Shapes(graph, freeze=freeze_initializers)
    constants = Constants(graph, container.base_dir, freeze=freeze_initializers, shapes=shapes)
    return make_plan(graph, constants, shapes)
