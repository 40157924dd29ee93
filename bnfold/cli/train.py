"""`bnfold train`."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnfold.cli import options as shared
from bnfold.cli.console import open_console, protect, showing_progress
from bnfold.cli.writing import beside
from bnfold.errors import TargetError

if TYPE_CHECKING:
    from bnfold.torch.training import Epoch
    from bnfold.training.result import TrainResult

_INSERTION: dict[str, Any] = {"position": "before-activation", "include_classifier": False, "reset": False}
"""The defaults; what is none of them was asked for, and is refused beside --no-insert."""


def train(
    model: shared.Model,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="TRAIN.npz",
            help="What to train on: arrays by input name, and 'target'; a .npz file, a folder of them, or "
            "module:function, which yields batches.",
        ),
    ],
    validation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VAL.npz", help="What states are compared on, alike; by default a tenth of the data, held out."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Where to write; by default <name>.trained.onnx, and its fold beside."
        ),
    ] = None,
    loss: Annotated[
        str, typer.Option(metavar="cross-entropy|mse|bce", help="What to make small; the first and last take logits.")
    ] = "cross-entropy",
    optimizer: Annotated[str, typer.Option(metavar="sgd|adam|adamw", help="How.")] = "sgd",
    lr: Annotated[
        float | None, typer.Option(help="The learning rate at the start; by default .05 for sgd, .001 for the others.")
    ] = None,
    momentum: Annotated[float, typer.Option(help="Of sgd, and the first beta of the others.")] = 0.9,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of weights; by default .0001 for sgd, 0 for adam, .01 for adamw.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="How often to go through the training data.")] = 10,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Rows of a batch; a partial last one is left out.")] = 32,
    freeze: Annotated[
        list[str] | None, typer.Option("--freeze", metavar="GLOB", help="Leave these initializers as they are.")
    ] = None,
    insert: Annotated[
        bool, typer.Option("--insert/--no-insert", help="Put BatchNormalizations in first, where there are none.")
    ] = True,
    position: shared.Position = "before-activation",
    include_classifier: shared.IncludeClassifier = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Begin with scale 1 and bias 0 there: for training from scratch.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all random numbers; the same one, the same result on the CPU.")] = 0,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="What to train on.")] = "cpu",
    log: Annotated[
        str | None, typer.Option("--log", metavar="METRICS.jsonl", help="Write a line of JSON per epoch.")
    ] = None,
    json: shared.Json = None,
) -> None:
    """Insert, train, calibrate and fold; write the trained model and its fold, proved equal. Needs torch."""
    from bnfold import report as reports
    from bnfold.api import train as train_model

    target = Path(output) if output else beside(model, "trained")
    target_folded = beside(str(target), "folded")
    protect((Path(model), *map(Path, (*data, *(validation or ())))), target, target_folded, log, json)
    insertion = {"position": position, "include_classifier": include_classifier, "reset": reset}
    asked: dict[str, Any] = {name: value for name, value in insertion.items() if value != _INSERTION[name]}
    with showing_progress() as progress, _logging(log) as after_epoch:
        result = train_model(
            model,
            data,
            validation,
            loss=loss,
            optimizer=optimizer,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            epochs=epochs,
            batch_size=batch_size,
            freeze=freeze or (),
            insert=insert,
            seed=seed,
            device=device,
            progress=progress,
            after_epoch=after_epoch,
            **asked,
        )
    protect(result.container.files, target, target_folded, log, json)
    console = open_console(quiet=json == "-")
    reports.train_text(console, result, name=Path(model).name)
    _write(result, target, target_folded)
    for path in (target, target_folded):
        console.print(f"wrote {path}", markup=False)
    if json:
        document = reports.train_json(result, model=model, output=str(target), folded=str(target_folded))
        reports.write_json(document, json)


def _write(result: TrainResult, target: Path, target_folded: Path) -> None:
    """Put both in their places only when both are written."""
    with result.staged(target) as work, result.folded.staged(target_folded) as folded:
        work.commit()
        folded.commit()


@contextmanager
def _logging(log: str | None) -> Iterator[Callable[[Epoch], None]]:
    """A function that writes a line per epoch at once, so that a training can be watched.

    Raises:
        TargetError: the file can not be written.
    """
    if log is None:
        yield lambda epoch: None
        return
    from bnfold.report import epoch_json

    try:
        file = open(log, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed below; only opening is guarded)
    except OSError as error:
        raise TargetError(f"'{log}' can not be written: {error.strerror}") from error
    with file:
        yield lambda epoch: print(documents.dumps(epoch_json(epoch)), file=file)
