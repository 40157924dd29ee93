"""Fold a model: round after round until nothing more is gained, and the result."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Generic, cast

import bnfold.ops  # noqa: F401 (fills the registry of rules)
from bnfold.folding.growth import growth_remark
from bnfold.folding.options import Options
from bnfold.folding.overriding import overriding_remark
from bnfold.folding.plan import Plan
from bnfold.folding.rounds import Folded, Kept, Round, Settlement, make_round, specialized_plan
from bnfold.model.container import Container, M, ModelLike, open_model
from bnfold.model.forms import Form, has_form
from bnfold.model.references import materialized
from bnfold.model.savable import Savable, staged_from
from bnfold.model.writing import Staged
from bnfold.values import cached_property

MAX_ROUNDS = 8
"""How often a model is folded at most: a second round rarely finds anything. More find something where several affines
stand beside operators (`bnfold.folding.parallel`) whose own shifts stay as nodes for a while."""


@dataclass(frozen=True, eq=False)
class FoldResult(Savable, Generic[M]):
    """A folded model, and what was done to it. True where something was folded.

    It is generic in the kind of its model: that of the model which came in, `onnx.ModelProto` for a path or bytes.

    Attributes:
        container: the model as it came in.
        rounds: what was done, one round on what the one before it had made; at least one.
        last: the round that found nothing more to do, and so says of everything that is left why.
    """

    container: Container
    rounds: tuple[Round, ...]
    last: Round

    def __bool__(self) -> bool:
        return bool(self.rounds[0])

    @property
    def plan(self) -> Plan:
        """Where each affine of the model as it came in went, or why it stayed."""
        return self.rounds[0].plan

    @cached_property
    def model(self) -> M:
        """The folded model; weights that were external and are not folded still are, relative to the same folder.

        Of an `onnx_ir.Model` or a `torch.onnx.ONNXProgram` it is another of the same kind, which shares the weights
        that are not folded with the one that came in.

        Raises:
            ModelError: the file that it was made of has changed meanwhile, or a model of onnx_ir can not be copied.
        """
        made: Any = self.rounds[-1].model
        if self.container.foreign is not None:
            made = self.container.foreign.with_changes(made)
        elif self.container.origin is not None:
            made = materialized(made)
        return cast(M, made)

    @cached_property
    def folded(self) -> tuple[Folded, ...]:
        """Every affine that is gone, in the order of the file; what later rounds took out comes last."""
        found: list[Folded] = []
        made: set[str] = set()
        for done in self.rounds:
            later = {entry.node: entry for entry in done.folded}
            found = [_resolved(entry, later) for entry in found]
            found += [entry for entry in done.folded if entry.node not in made]
            made |= {label for labels in done.labels.values() for label in labels}
        return tuple(found)

    @property
    def kept(self) -> tuple[Kept, ...]:
        """Every BatchNormalization that is still there, with the reason, in the order of the file."""
        return self.last.kept

    @cached_property
    def settled(self) -> tuple[Settlement, ...]:
        """What was done with affines that could not go altogether, and what it costs."""
        return tuple(entry for done in self.rounds for entry in done.settled)

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know besides."""
        found = [remark for done in self.rounds for remark in done.remarks]
        found += [growth_remark(self.container, self.rounds), overriding_remark(self.last.plan, self.kept)]
        return tuple(dict.fromkeys(filter(None, found)))

    def is_as_it_came(self, form: str = Form.AS_IT_CAME) -> bool:
        """Whether what is written in this form is the file that came in, byte for byte.

        Raises:
            UsageError: there is no such form.
        """
        return not self and has_form(self.container.proto, Form.called(form))

    def _staged(self, path: str | os.PathLike[str], form: str) -> AbstractContextManager[Staged]:
        fresh = frozenset[str]().union(*(done.patch.fresh_names for done in self.rounds))
        model = self.rounds[-1].model if self else self.container.proto
        model = self.container.finished(model)
        return staged_from(self.container, model, path, form, fresh, is_changed=bool(self))


def _resolved(entry: Folded, later: dict[str, Folded]) -> Folded:
    """An entry whose absorbers were affines that a later round took out: what absorbed those, in their place."""
    if later.keys().isdisjoint(entry.into):
        return entry
    into = (name for label in entry.into for name in (later[label].into if label in later else (label,)))
    return replace(entry, into=tuple(dict.fromkeys(into)))


def fold(
    model: ModelLike, options: Options | None = None, *, base_dir: str | os.PathLike[str] | None = None
) -> FoldResult:
    """Fold every affine of the model that can be folded exactly.

    Args:
        model: a path, the bytes of a file, an `onnx.ModelProto`, an `onnx_ir.Model` or a `torch.onnx.ONNXProgram`; it
            is not changed.
        options: what the caller asks for besides.
        base_dir: the folder of external data, when the model is not given as a path.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read.
        UsageError: `model` is no model, or an option names a node that is not there.
    """
    options = options or Options()
    container = open_model(model, base_dir=base_dir, in_place=True)
    rounds = [make_round(container, container.start, options)]
    while rounds[-1] and not rounds[-1].leaves_nothing and len(rounds) < MAX_ROUNDS:
        last = make_round(container, rounds[-1].model, options.after(sum(done.plan.folds for done in rounds)))
        if not last:
            container.verify()
            return FoldResult(container, tuple(rounds), last)
        rounds.append(last)
    container.verify()
    return FoldResult(container, tuple(rounds), rounds[-1])


def plan_for(container: Container, options: Options) -> Plan:
    """The plan alone, nothing carried out."""
    return specialized_plan(container, container.proto, options).plan
