"""`bnfold train`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from bnfold.cli import options as shared
from bnfold.cli.console import open_console, protect
from bnfold.cli.main import complain
from bnfold.cli.places import Places
from bnfold.cli.recording import recording
from bnfold.cli.watching import watching
from bnfold.errors import BnfoldError
from bnfold.report.clock import Clock

if TYPE_CHECKING:
    from bnfold.checking import CheckReport
    from bnfold.torch.history import Epoch
    from bnfold.training.result import TrainResult

Tell: TypeAlias = "Callable[[Epoch], None]"

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
    synchronize: Annotated[
        bool,
        typer.Option(
            "--synchronize/--no-synchronize",
            help="Under torchrun, normalize by the batch of all processes, or by each one's own part.",
        ),
    ] = True,
    checkpoint: Annotated[
        bool,
        typer.Option(
            "--checkpoint/--no-checkpoint",
            help="Write <output>.checkpoint after every epoch; it is removed when the models are written.",
        ),
    ] = True,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from there with a training that was stopped; same data, same options."),
    ] = False,
    log: Annotated[
        str | None, typer.Option("--log", metavar="METRICS.jsonl", help="Write a line of JSON per epoch.")
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot", metavar="CURVES.png", help="Draw loss and accuracy; .png, .svg or .pdf. Needs matplotlib."
        ),
    ] = None,
    json: shared.Json = None,
    html: shared.Html = None,
) -> None:
    """Insert, train, calibrate and fold; write the trained model and its fold, proved equal. Needs torch.

    Ctrl-C keeps the best state so far. So does a training that diverges, with exit status 1. Several processes share
    each batch: torchrun --nproc-per-node 2 -m -- bnfold train ...
    """
    from bnfold.api import train as train_model

    is_first = os.environ.get("RANK", "0") == "0"  # of several processes, which all end with the same models
    places = Places.of(model, output, checkpoint=checkpoint, log=log, plot=plot, json=json, html=html)
    if is_first:
        places.refuse(model, (*data, *(validation or ())))
        places.look_for_checkpoint(resume=resume)
    insertion = {"position": position, "include_classifier": include_classifier, "reset": reset}
    asked: dict[str, Any] = {name: value for name, value in insertion.items() if value != _INSERTION[name]}
    clock = Clock()
    with recording(log, plot, Path(model).name) as record:
        with clock.timing("train, fold and prove"), watching(epochs, quiet="-" in (json, html)) as display:
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
                synchronize=synchronize,
                checkpoint=places.checkpoint,
                resume=resume,
                progress=display.tell,
                after_step=display.step,
                after_epoch=_both(record, display.epoch),
                **asked,
            )
        if is_first:
            _deliver(result, places, model, clock)


def _both(one: Tell, other: Tell) -> Tell:
    def tell(epoch: Epoch) -> None:
        one(epoch)
        other(epoch)

    return tell


def _deliver(result: TrainResult, places: Places, model: str, clock: Clock) -> None:
    """Report what came of the training, and write it; what diverged is good for something, and no success."""
    from bnfold import report as reports

    protect(result.container.files, *places.files)
    console = open_console(quiet="-" in (places.json, places.html))
    reports.train_text(console, result, name=Path(model).name)
    _write(result, places)
    for path in (places.trained, places.folded):
        console.print(f"wrote {path}", markup=False)
    if places.checkpoint is not None and result.history.is_interrupted:
        console.print(f"kept {places.checkpoint}, from which --resume goes on", markup=False)
    if places.json:
        document = reports.train_json(result, model=model, output=str(places.trained), folded=str(places.folded))
        reports.write_json(document, places.json)
    if places.html:
        _write_page(result, places, model, clock)
    if result.history.diverged is not None:
        complain(result.history.diverged)
        raise typer.Exit(1)


def _write_page(result: TrainResult, places: Places, model: str, clock: Clock) -> None:
    from bnfold import report as reports

    with clock.timing("look inside"):
        report = _looked_into(result.report, places)
    page = reports.train_page(result, name=Path(model).name, report=report, clock=clock)
    reports.write_page(page, str(places.html))


def _looked_into(report: CheckReport, places: Places) -> CheckReport:
    """The proof with the error along the graph: both models as they were written, on inputs that are drawn."""
    from bnfold.checking import check

    try:
        return replace(report, location=check(places.trained, places.folded, locate=True).location)
    except BnfoldError as error:  # what was trained is proved and written; the page can say that this is missing
        return replace(report, remarks=(*report.remarks, f"the error along the graph is not known: {error}"))


def _write(result: TrainResult, places: Places) -> None:
    """Put both models in their places only when both are written; with them, nothing is left to go on with."""
    with result.staged(places.trained) as work, result.folded.staged(places.folded) as folded:
        work.commit()
        folded.commit()
    if places.checkpoint is not None and not result.history.is_interrupted:
        places.checkpoint.unlink(missing_ok=True)
