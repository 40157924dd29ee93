"""Insert, train, calibrate, fold, prove: the whole way from a model to two better ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto

from bnfold.errors import UsageError
from bnfold.folding.fold import fold
from bnfold.inserting.calibrate import CalibrateOptions, calibrate
from bnfold.inserting.feeds import Feeds
from bnfold.inserting.options import Options as InsertOptions
from bnfold.model.container import ModelLike, open_model
from bnfold.torch import to_module, to_onnx
from bnfold.torch.checkpoint import Checkpoint, refuse_missing
from bnfold.torch.distributed import refuse_batch_size
from bnfold.torch.history import History, Watch
from bnfold.torch.losses import Compute, Loss, loss_of
from bnfold.torch.module import GraphModule
from bnfold.torch.recipe import Recipe, device_of
from bnfold.torch.training import train as train_module
from bnfold.training.identity import choices_of, identity_of
from bnfold.training.preparing import Prepared, freeze_parameters, ports_of, prepare
from bnfold.training.proof import prove_fold, prove_written, refuse_collapse
from bnfold.training.result import Scores, TrainResult
from bnfold.training.sources import Sources, TrainingLike, sources_for

Tell = Callable[[str], None]

CLASSES = "cross-entropy"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What a caller of a training may choose.

    Attributes:
        recipe: optimizer, learning rate, epochs, seed, device.
        loss: the name of one, or a function of output and target.
        batch_size: rows of a training batch.
        freeze: names or globs of initializers that stay as they are.
        insertion: where BatchNormalizations go first; None for nowhere.
        checkpoint: a file that is written after every epoch, for a training that is stopped to go on; None for none.
        resume: go on from that file.

    Raises:
        UsageError: there is no file to go on from.
    """

    recipe: Recipe = field(default_factory=Recipe)
    loss: str | Compute = CLASSES
    batch_size: int = 32
    freeze: tuple[str, ...] = ()
    insertion: InsertOptions | None = field(default_factory=InsertOptions)
    checkpoint: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.resume:
            return
        if self.checkpoint is None:
            raise UsageError("a training goes on from a checkpoint, and none is named; give checkpoint=")
        refuse_missing(self.checkpoint)


def train(
    model: ModelLike,
    data: TrainingLike,
    validation: TrainingLike | None,
    options: TrainOptions,
    *,
    base_dir: str | os.PathLike[str] | None = None,
    tell: Tell = lambda text: None,
    watch: Watch | None = None,
) -> TrainResult:
    """Train a model, and compare it with its fold.

    Args:
        model: a path, the bytes of a file, or a ModelProto, which is not changed.
        data: what to train on.
        validation: what states are compared on; None holds a tenth of the training data out.
        options: what the caller asks for.
        base_dir: the folder of external data, when the model is not given as a path.
        tell: told what is being done.
        watch: told of steps and epochs.

    Raises:
        ModelError, ExternalDataError: the model can not be read, run or translated to torch.
        UsageError: options or data do not do, the training diverged before anything was better than the start or
            collapsed, or the checkpoint is that of another one.
        TargetError: the checkpoint can not be written.
        RuntimeUnavailable: onnxruntime or the device is not there.
        DifferenceFound: what was trained is not what was written.
    """
    container, loss = open_model(model, base_dir=base_dir), loss_of(options.loss)
    device_of(options.recipe)  # before anything that takes long
    refuse_batch_size(options.batch_size)
    sources = sources_for(data, validation, ports_of(container), options.batch_size, options.recipe.seed, tell)
    tell("inserting")
    prepared = prepare(container, sources.feeds, options.insertion)
    module = to_module(prepared.model, base_dir=container.base_dir)
    sources.refuse_targets(module, loss)
    frozen = freeze_parameters(module, prepared.model, options.freeze)
    history = train_module(
        module,
        sources.examples,
        sources.held_out.batches,
        loss,
        options.recipe,
        watch=watch,
        checkpoint=_checkpoint(prepared, sources, options, loss, frozen),
        resume=options.resume,
    )
    tell("calibrating, folding and proving")
    result = _finished(module, prepared, sources, loss, history, frozen)
    refuse_collapse(result.report, options.recipe.rate)
    return result


def _checkpoint(
    prepared: Prepared, sources: Sources, options: TrainOptions, loss: Loss, frozen: tuple[str, ...]
) -> Checkpoint | None:
    if options.checkpoint is None:
        return None
    chosen = {"loss": loss.name, "batch_size": f"{options.batch_size}", "frozen": ", ".join(frozen) or "none"}
    choices = {**choices_of(options.recipe, options.insertion), **chosen}
    return Checkpoint(options.checkpoint, identity_of(prepared, sources, choices))


def _finished(
    module: GraphModule, prepared: Prepared, sources: Sources, loss: Loss, history: History, frozen: tuple[str, ...]
) -> TrainResult:
    """The trained module as a graph, calibrated, and its fold, compared."""
    base_dir = prepared.container.base_dir
    written = to_onnx(module, prepared.model, base_dir=base_dir)
    prove_written(module, written, base_dir, sources.held_out)
    trained, calibrated = _calibrated(written, base_dir, sources.feeds)
    fresh = prepared.fresh | calibrated | frozenset(module.onnx_names.values())
    folded = fold(trained, base_dir=base_dir)
    proof = prove_fold(trained, fresh, folded, sources.held_out, loss, has_classes=loss.name == CLASSES)
    return TrainResult(
        container=prepared.container,
        model=trained,
        folded=folded,
        history=history,
        scores=Scores(history.start, history.best, proof.trained, proof.folded),
        agreement=proof.agreement,
        report=proof.report,
        inserted=prepared.inserted,
        frozen=frozen,
        remarks=tuple(_remarks(trained, history, loss)),
        fresh=fresh,
    )


def _calibrated(model: ModelProto, base_dir: Path | None, feeds: Iterable[Feeds]) -> tuple[ModelProto, frozenset[str]]:
    """The statistics of all training data in the place of running ones, where there are normalizations."""
    if not any(node.op_type == "BatchNormalization" for node in model.graph.node):
        return model, frozenset()
    made = calibrate(model, feeds, CalibrateOptions(sequential=True), base_dir=base_dir)
    return made.model, made.fresh


def _remarks(model: ModelProto, history: History, loss: Loss) -> Iterator[str]:
    if history.diverged is not None:
        yield history.diverged
    if history.is_interrupted:
        yield f"interrupted after {len(history.epochs)} epochs; the best state so far is kept"
    if not history.best_epoch:
        yield "no epoch was better than the start, which is kept: try another --lr, more --epochs, or --reset"
    outputs = {entry.name for entry in model.graph.output}
    last = [node for node in model.graph.node if outputs & set(node.output)]
    for node in last:
        if (loss.name, node.op_type) in {(CLASSES, "Softmax"), ("bce", "Sigmoid")}:
            yield f"{loss.name} takes what is in front of the last {node.op_type}; behind it, training is slow"
