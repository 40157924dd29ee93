"""A training as text for people, and as a document for machines."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

from bnfold._version import __version__
from bnfold.report.documents import SCHEMA, check_json

if TYPE_CHECKING:
    from bnfold.report.console import Console
    from bnfold.torch.history import Epoch, Step
    from bnfold.torch.scores import Score
    from bnfold.training.result import TrainResult


def train_text(console: Console, result: TrainResult, *, name: str) -> None:
    """What was put in, how good the model was along the way, and the proof of its fold."""
    from rich.markup import escape

    from bnfold.report.checks import check_text
    from bnfold.report.tables import Column, number, print_table

    count = 0 if result.inserted is None else len(result.inserted.inserted)
    console.print(escape(f"{name}: {count} BatchNormalizations inserted, {len(result.history.epochs)} epochs trained"))
    rows = [
        (words, f"{score.loss:.4f}", "" if score.accuracy is None else f"{score.accuracy:.4f}")
        for words, score in stages(result)
    ]
    print_table(console, [Column("on the validation data"), number("loss"), number("accuracy")], rows)
    check_text(console, result.report)
    if result.agreement is not None:
        console.print(f"trained and folded model name the same class in {100 * result.agreement:.4g} % of the examples")
    for entry in result.folded.kept:
        console.print(f"  [yellow]stays[/] {escape(entry.node)}: {escape(entry.reason)} \\[{entry.code}]")
    for remark in result.remarks:
        if remark == result.history.diverged:
            continue  # a complaint, which the command makes on stderr
        console.print(f"  [cyan]note[/] {escape(remark)}")


def stages(result: TrainResult) -> list[tuple[str, Score]]:
    """The states of a model along its training, in words, with their scores on the validation data."""
    scores, epoch = result.scores, result.history.best_epoch
    return [
        ("before", scores.before),
        (f"best, after epoch {epoch}" if epoch else "best: before the first epoch", scores.best),
        ("trained, on onnxruntime", scores.trained),
        ("folded, on onnxruntime", scores.folded),
    ]


def train_json(result: TrainResult, *, model: str, output: str, folded: str) -> dict[str, Any]:
    """The whole outcome of a training.

    Args:
        result: what was made.
        model: the path that was read.
        output: the path of the trained model.
        folded: the path of its fold.
    """
    inserted = () if result.inserted is None else result.inserted.inserted
    return {
        "schema": SCHEMA,
        "bnfold": __version__,
        "model": model,
        "output": output,
        "folded_output": folded,
        "inserted": [asdict(entry) for entry in inserted],
        "frozen": list(result.frozen),
        "epochs": [epoch_json(epoch) for epoch in result.history.epochs],
        "best_epoch": result.history.best_epoch,
        "interrupted": result.history.is_interrupted,
        "diverged": result.history.diverged,
        "scores": asdict(result.scores),
        "agreement": result.agreement,
        "folded": [asdict(entry) for entry in result.folded.folded],
        "kept": [asdict(entry) for entry in result.folded.kept],
        "remarks": list(result.remarks),
        "check": check_json(result.report),
    }


def epoch_json(epoch: Epoch) -> dict[str, Any]:
    """One epoch, as a line of a log has it; JSON has no NaN and no infinity."""
    return {
        "epoch": epoch.number,
        "lr": epoch.lr,
        "loss": epoch.training.loss,
        "accuracy": epoch.training.accuracy,
        "validation_loss": epoch.validation.loss if isfinite(epoch.validation.loss) else None,
        "validation_accuracy": epoch.validation.accuracy,
        "best": epoch.is_best,
        "seconds": round(epoch.seconds, 3),
    }


def epoch_line(epoch: Epoch, epochs: int) -> str:
    """One epoch of so many for a person, with a star where it is the best so far."""
    mark = " *" if epoch.is_best else ""
    return f"epoch {epoch.number}/{epochs}: {_words(epoch.training)}; validation {_words(epoch.validation)}{mark}"


def step_words(step: Step) -> str:
    """The scores of an epoch under way, and the best validation so far: by what states are compared on first."""
    best = step.best.loss if step.best.accuracy is None else step.best.accuracy
    return f"{_words(step.score)}, best {best:.4f}"


def _words(score: Score) -> str:
    return f"loss {score.loss:.4f}" + ("" if score.accuracy is None else f", accuracy {score.accuracy:.4f}")
