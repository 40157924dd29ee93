"""The page of a training: how good the model became, epoch by epoch, and the fold of what was trained."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from bnfold.report.clock import Clock
from bnfold.report.html.charts import curves
from bnfold.report.html.checks import check_sections, check_verdict, worst
from bnfold.report.html.folding import fold_sections
from bnfold.report.html.insertion import inserted_section
from bnfold.report.html.machine import timings_section, versions_section
from bnfold.report.html.markup import Markup, joined
from bnfold.report.html.page import Section, Verdict, page, paragraphs
from bnfold.report.html.tables import Cell, Number, number, table
from bnfold.report.training import stages

if TYPE_CHECKING:
    from bnfold.checking import CheckReport
    from bnfold.torch.history import Epoch
    from bnfold.training.result import TrainResult


def train_page(result: TrainResult, *, name: str, report: CheckReport | None = None, clock: Clock | None = None) -> str:
    """The whole outcome of a training as a page.

    Args:
        result: what was made.
        name: the model's.
        report: the proof, where it says more than the result's own.
        clock: how long the steps took; None where nobody has measured.

    Raises:
        ExternalDataError, ModelError: a weight can not be read.
    """
    proof = report or result.report
    inserted = () if result.inserted is None else result.inserted.inserted
    agreement = {} if result.agreement is None else {"same class after the fold": f"{100 * result.agreement:.4g} %"}
    facts = {
        "inserted": str(len(inserted)),
        "epochs": str(len(result.history.epochs)),
        "best epoch": str(result.history.best_epoch or "the start"),
        **agreement,
        "largest error": worst(proof),
    }
    sections = [
        Section("scores", "How good it became", _scores(result)),
        inserted_section(inserted, None),
        *fold_sections(result.folded),
        *check_sections(proof),
        timings_section(clock),
        versions_section(proof.versions, result.remarks),
    ]
    verdict = check_verdict(proof)
    if result.history.diverged is not None:
        verdict = Verdict(f"{verdict.text} The training diverged: see the notes.", "tight")
    return page(f"bnfold train: {name}", verdict, facts, sections)


def _scores(result: TrainResult) -> Markup:
    rows: list[list[Cell]] = [
        [words, number(score.loss, ".4f"), number(score.accuracy, ".4f")] for words, score in stages(result)
    ]
    epochs = result.history.epochs
    if not epochs:
        drawn = paragraphs("No epoch was trained to its end.")
    else:
        drawn = joined(
            _curves(epochs), table("Epochs; a star is the best so far", _HEADINGS, list(map(_epoch, epochs)))
        )
    return joined(table("On the validation data", ("state", "loss", "accuracy"), rows), drawn)


_HEADINGS = ("epoch", "best", "learning rate", "loss", "accuracy", "validation loss", "validation accuracy", "seconds")


def _epoch(epoch: Epoch) -> list[Cell]:
    validation = epoch.validation.loss
    return [
        Number(epoch.number, str(epoch.number)),
        "*" if epoch.is_best else "",
        number(epoch.lr, ".3g"),
        number(epoch.training.loss, ".4f"),
        number(epoch.training.accuracy, ".4f"),
        number(validation if isfinite(validation) else None, ".4f"),
        number(epoch.validation.accuracy, ".4f"),
        number(epoch.seconds, ".2f"),
    ]


def _curves(epochs: Sequence[Epoch]) -> Markup:
    names = ("training", "validation")
    scores = [[epoch.training for epoch in epochs], [epoch.validation for epoch in epochs]]
    drawn = [curves("Loss", names, [[score.loss for score in some] for some in scores])]
    if epochs[0].training.accuracy is not None:
        drawn.append(curves("Accuracy", names, [[score.accuracy for score in some] for some in scores]))
    return joined(drawn)
