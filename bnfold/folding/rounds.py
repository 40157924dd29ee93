"""One plan carried out, and what it says for people: which affines are gone, which stay and why."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from bnfold.folding.edits import make_patch
from bnfold.folding.options import Options
from bnfold.folding.plan import Outcome, Plan, Residual, Settled
from bnfold.folding.quantized import quantization_remarks
from bnfold.folding.search import make_plan
from bnfold.folding.sources import BATCH_NORMALIZATION, may_be_source
from bnfold.folding.specializing import Specialized, specialized
from bnfold.folding.turning import turned_back, without_turns
from bnfold.folding.wiring import Labels
from bnfold.model.constants import Constants
from bnfold.model.container import Container
from bnfold.model.graph import Graph
from bnfold.model.patch import Patch, apply
from bnfold.model.shapes import Shapes
from bnfold.ops.rule import Refusal
from bnfold.values import cached_property

ROOM, ROOM_PER_BYTE = 1 << 29, 4
"""How many bytes of constants a fold may bring: so many, and so many per byte of the model. A file of a few kilobytes
can share one weight among thousands of nodes, or have it made when it runs."""


@dataclass(frozen=True)
class Folded:
    """An affine that is gone.

    Attributes:
        node: its name, or operator and output where it has none.
        op_type: its operator.
        direction: "pull" (towards the inputs), "push" (towards the outputs, or into an operator beside it) or "remove".
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
        became: what each of them became: "Max", "Min", or "Conv, Add".
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
    became: tuple[str, ...]
    nodes: int
    elements: dict[str, int]
    bytes: int
    reason: str


@dataclass(frozen=True, eq=False)
class Round:
    """One plan, the edits that it comes to, and the model that they make.

    Attributes:
        plan: where each affine goes, or why it stays.
        patch: the edits that the plan comes to.
        labels: what the nodes of each residual are called.
        inlined: which calls of functions have their bodies in their places in the model that the plan speaks of.
        turned: outputs of Transposes that may have nothing left to undo.
    """

    plan: Plan
    patch: Patch
    labels: Labels
    inlined: tuple[str, ...] = ()
    turned: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.plan.removed)

    @property
    def leaves_nothing(self) -> bool:
        """Whether nothing can be found in what it made: none of its operators can be an affine.

        A sum or product that is no affine now may be one in what is made, as when its full constant has become uniform.
        Two Transposes may have nothing left to undo.
        """
        plan = self.plan
        came = any(change.taken.behind is not None or change.taken.op_type for change in plan.changes.values())
        if came or plan.residuals or plan.graph.model.functions:
            return False
        left = (node for node in plan.graph.nodes() if node.address not in plan.removed)
        return not any(node.op_type == "Transpose" or may_be_source(node) for node in left)

    @cached_property
    def model(self) -> ModelProto:
        """The folded model; weights that were external and are not folded still are, relative to the same folder.

        Of a model that was opened in place, large inline weights are references.
        """
        return without_turns(apply(self.patch, self.plan.graph), self.turned)

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
            became=settled.became,
            nodes=-settled.nodes_saved,
            elements={" x ".join(key): -count for key, count in settled.elements_saved.items()},
            bytes=settled.bytes_added,
            reason=settled.refusal.text if settled.refusal else "",
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know besides."""
        return (*self.inlined, *self.plan.remarks, *quantization_remarks(self.plan))


def _kept(label: str, refusal: Refusal | None) -> Kept:
    code, reason = ("", "") if refusal is None else (refusal.code, refusal.reason)
    return Kept(label, BATCH_NORMALIZATION, code, reason)


def make_round(container: Container, proto: ModelProto, options: Options) -> Round:
    """Plan, and turn the plan into edits.

    Raises:
        ExternalDataError, ModelError: a tensor that the decision needs can not be read.
        UsageError: an option names a node that is not there.
    """
    made = specialized_plan(container, proto, options)
    room = ROOM + ROOM_PER_BYTE * container.size
    in_files = container.is_in_files
    patch, labels = make_patch(made.plan, freeze=options.freeze_initializers, in_place=in_files, room=room)
    return Round(made.plan, patch, labels, made.remarks, turned_back(made.plan, options))


def specialized_plan(container: Container, proto: ModelProto, options: Options) -> Specialized:
    """The plan, of the model as it came or with the bodies of functions in the place of calls.

    Where the caller names nodes, the functions stay: in a body at another place, nodes have other names.
    """

    def planned(model: ModelProto) -> Plan:
        graph = Graph(model)
        shapes = Shapes(graph, freeze=options.freeze_initializers)
        constants = Constants(graph, container.base_dir, freeze=options.freeze_initializers, shapes=shapes)
        return make_plan(graph, constants, shapes, options)

    plan = planned(proto)
    return Specialized(plan) if options.only or options.skip else specialized(plan, planned)
