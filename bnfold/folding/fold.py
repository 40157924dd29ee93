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
from bnfold.folding.options import Options
from bnfold.folding.plan import Outcome, Plan, Residual, Settled
from bnfold.folding.quantized import quantization_remarks
from bnfold.folding.search import make_plan
from bnfold.folding.sources import BATCH_NORMALIZATION
from bnfold.folding.specializing import Specialized, specialized
from bnfold.folding.wiring import Labels
from bnfold.model.constants import Constants
from bnfold.model.container import Container, ModelLike, open_model
from bnfold.model.graph import Graph
from bnfold.model.patch import Patch, apply
from bnfold.model.shapes import Shapes
from bnfold.model.writing import Staged, staged
from bnfold.ops.rule import Refusal


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
        reason: a sentence that names the node that blocks, and says what would unblock it.
    """

    node: str
    op_type: str
    code: str
    reason: str


@dataclass(frozen=True)
class Settlement:
    """Affines that could not go altogether, and what was done instead.

    Attributes:
        affines: their names.
        left: the names of the nodes that stand for what stays of them.
        op_types: the operators of those nodes.
        replaced: operators that became another one, or got a constant map added behind them.
        nodes: how many nodes more the graph has; below 0 how many less.
        elements: how many elements more it writes at run time, by the sizes that they are to be multiplied with:
            ``{"N": -4096}`` is 4096 less for each unit of N, ``{"": 8}`` 8 more in all.
        bytes: how many bytes of constants came.
        reason: why the affines could not go.
    """

    affines: tuple[str, ...]
    left: tuple[str, ...]
    op_types: tuple[str, ...]
    replaced: tuple[str, ...]
    nodes: int
    elements: dict[str, int]
    bytes: int
    reason: str


@dataclass(frozen=True, eq=False)
class FoldResult:
    """A folded model, and what was done to it. True where something was folded.

    Attributes:
        container: the model as it came in.
        plan: where each affine went, or why it stayed.
        patch: the edits that the plan came to.
        labels: what the nodes of each residual are called.
        inlined: which calls of functions have their bodies in their places in the model that the plan speaks of.
    """

    container: Container
    plan: Plan
    patch: Patch
    labels: Labels
    inlined: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.plan.removed)

    @cached_property
    def model(self) -> ModelProto:
        """The folded model; weights that were external and are not folded still are, relative to the same folder."""
        return apply(self.patch, self.plan.graph)

    @cached_property
    def folded(self) -> tuple[Folded, ...]:
        """Every affine that is gone, in the order of the file."""
        return tuple(self._folded(outcome) for outcome in self.plan.outcomes if self._is_gone(outcome))

    def _is_gone(self, outcome: Outcome) -> bool:
        """Whether an affine is gone, and does not stay as the Add that an operator needs behind it."""
        return outcome.folds and outcome.node.address in self.patch.removed

    def _folded(self, outcome: Outcome) -> Folded:
        left = (label for residual in outcome.residuals for label in self.labels[residual.wire])
        into = (*(node.label for node in outcome.into), *left)
        pushed = outcome.node.address in self.plan.pushed
        direction = "remove" if not into else "push" if pushed else "pull"
        return Folded(outcome.node.label, outcome.node.op_type, direction, into)

    @cached_property
    def kept(self) -> tuple[Kept, ...]:
        """Every BatchNormalization that is still there, with the reason, in the order of the file."""
        found: list[Kept] = []
        seen: set[Residual] = set()
        for outcome in self.plan.outcomes:
            if outcome.is_normalization and outcome.refusal and not outcome.gone:
                found.append(_kept(outcome.node.label, outcome.refusal))
            for residual in outcome.residuals:
                if residual.is_normalization and residual not in seen:
                    seen.add(residual)
                    found.append(_kept(self.labels[residual.wire][0], outcome.refusal))
        return tuple(found)

    @cached_property
    def settled(self) -> tuple[Settlement, ...]:
        """What was done with affines that could not go altogether, and what it costs."""
        return tuple(self._settlement(settled) for settled in self.plan.settled)

    def _settlement(self, settled: Settled) -> Settlement:
        return Settlement(
            affines=tuple(node.label for node in settled.nodes),
            left=tuple(label for wire in settled.wires for label in self.labels[wire]),
            op_types=tuple(form for wire in settled.wires for form in self.plan.residuals[wire].forms),
            replaced=tuple(node.label for node in settled.replaced),
            nodes=-settled.nodes_saved,
            elements={" x ".join(key): -count for key, count in settled.elements_saved.items()},
            bytes=settled.bytes_added,
            reason=settled.refusal.text if settled.refusal else "",
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know besides."""
        return (*self.inlined, *self.plan.remarks, *quantization_remarks(self.plan))

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


def _kept(label: str, refusal: Refusal | None) -> Kept:
    code, reason = ("", "") if refusal is None else (refusal.code, refusal.reason)
    return Kept(label, BATCH_NORMALIZATION, code, reason)


def fold(
    model: ModelLike, options: Options | None = None, *, base_dir: str | os.PathLike[str] | None = None
) -> FoldResult:
    """Fold every affine of the model that can be folded exactly.

    Args:
        model: a path, the bytes of a file, or an `onnx.ModelProto`, which is not changed.
        options: what the caller asks for besides.
        base_dir: the folder of external data, when the model is not given as a path.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read.
        UsageError: `model` is no model, or an option names a node that is not there.
    """
    options = options or Options()
    container = open_model(model, base_dir=base_dir)
    made = _specialized(container, options)
    return FoldResult(
        container, made.plan, *make_patch(made.plan, freeze=options.freeze_initializers), inlined=made.remarks
    )


def plan_for(container: Container, options: Options) -> Plan:
    """The plan alone, nothing carried out."""
    return _specialized(container, options).plan


def _specialized(container: Container, options: Options) -> Specialized:
    """The plan, of the model as it came or with the bodies of functions in the place of calls.

    Where the caller names nodes, the functions stay: in a body at another place, nodes have other names.
    """

    def planned(proto: ModelProto) -> Plan:
        graph = Graph(proto)
        shapes = Shapes(graph, freeze=options.freeze_initializers)
        constants = Constants(graph, container.base_dir, freeze=options.freeze_initializers, shapes=shapes)
        return make_plan(graph, constants, shapes, options)

    plan = planned(container.proto)
    return Specialized(plan) if options.only or options.skip else specialized(plan, planned)
