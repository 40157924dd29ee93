"""What a training has made."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import ModelProto

from bnfold.checking import CheckReport
from bnfold.folding.fold import FoldResult
from bnfold.inserting.insert import InsertResult
from bnfold.model.container import Container
from bnfold.model.savable import Savable, staged_from
from bnfold.model.writing import Staged

if TYPE_CHECKING:
    from bnfold.torch.history import History
    from bnfold.torch.scores import Score


@dataclass(frozen=True)
class Scores:
    """How good the model was along the way, on the validation data.

    Attributes:
        before: as it came in, on torch, before the first step.
        best: in the best epoch, on torch, with the running statistics.
        trained: with the statistics of the whole training data, as written, on onnxruntime.
        folded: folded, as written, on onnxruntime.
    """

    before: Score
    best: Score
    trained: Score
    folded: Score


@dataclass(frozen=True, eq=False)
class TrainResult(Savable):
    """A trained model and its fold. True where the two are proved equal.

    Attributes:
        container: the model as it came in.
        model: the trained model; weights that were external still are, relative to the same folder.
        folded: the fold of the trained model.
        history: what came of each epoch.
        scores: before, best, trained and folded.
        agreement: the share of validation examples for which trained and folded model name the same class; None where
            the loss knows no classes.
        report: the proof that the folded model computes what the trained one does.
        inserted: what was inserted; None where nothing was to be.
        frozen: the names of the initializers that were not trained.
        remarks: what a person should know besides.
        fresh: the names of the initializers with new numbers.
    """

    container: Container
    model: ModelProto
    folded: FoldResult
    history: History
    scores: Scores
    agreement: float | None
    report: CheckReport
    inserted: InsertResult | None
    frozen: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    fresh: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.report)

    def _staged(self, path: str | os.PathLike[str], form: str) -> AbstractContextManager[Staged]:
        return staged_from(self.container, self.model, path, form, self.fresh)
