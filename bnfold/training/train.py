"""Insert, train, calibrate, fold, prove: the whole way from a model to two better ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto

from bnfold.errors import UsageError
from bnfold.folding.fold import fold
from bnfold.inserting.batch_frozen import find_frozen
from bnfold.inserting.calibrate import CalibrateOptions, calibrate
from bnfold.inserting.insert import InsertResult, insert
from bnfold.inserting.options import Options as InsertOptions
from bnfold.model.container import Container, ModelLike, open_model
from bnfold.runtime import Port, open_session
from bnfold.torch import to_module, to_onnx
from bnfold.torch.freezing import freeze
from bnfold.torch.losses import Compute, Loss, loss_of
from bnfold.torch.module import GraphModule
from bnfold.torch.recipe import Recipe, device_of
from bnfold.torch.training import Epoch, History
from bnfold.torch.training import train as train_module
from bnfold.training.biases import normalized_biases
from bnfold.training.examples import Shuffled, Table
from bnfold.training.proof import prove_fold, prove_written
from bnfold.training.reading import ExamplesLike, read_table
from bnfold.training.result import Scores, TrainResult

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
    """

    recipe: Recipe = field(default_factory=Recipe)
    loss: str | Compute = CLASSES
    batch_size: int = 32
    freeze: tuple[str, ...] = ()
    insertion: InsertOptions | None = field(default_factory=InsertOptions)


def train(
    model: ModelLike,
    data: ExamplesLike,
    validation: ExamplesLike | None,
    options: TrainOptions,
    *,
    base_dir: str | os.PathLike[str] | None = None,
    tell: Tell = lambda text: None,
    after_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> TrainResult:
    """Train a model, and compare it with its fold.

    Args:
        model: a path, the bytes of a file, or a ModelProto, which is not changed.
        data: what to train on.
        validation: what states are compared on; None holds a tenth of the training data out.
        options: what the caller asks for.
        base_dir: the folder of external data, when the model is not given as a path.
        tell: told what is being done.
        after_epoch: told what came of each epoch.

    Raises:
        ModelError, ExternalDataError: the model can not be read, run or translated to torch.
        UsageError: options or data do not do, or the training diverged.
        RuntimeUnavailable: onnxruntime or the device is not there.
        DifferenceFound: what was trained is not what was written.
    """
    container, loss = open_model(model, base_dir=base_dir), loss_of(options.loss)
    device_of(options.recipe)  # before anything that takes long
    examples, held_out = _tables(data, validation, _ports(container), options.recipe.seed)
    shuffled = Shuffled(examples, options.batch_size, options.recipe.seed)
    _refuse_labels(examples, held_out, loss)
    tell("inserting")
    prepared = _prepared(container, examples, options)
    module = to_module(prepared.model, base_dir=container.base_dir)
    frozen = _frozen(module, prepared.model, options.freeze)
    history = train_module(module, shuffled, held_out.batches, loss, options.recipe, tell=tell, after_epoch=after_epoch)
    tell("calibrating")
    written = to_onnx(module, prepared.model, base_dir=container.base_dir)
    prove_written(module, written, container.base_dir, held_out)
    trained, calibrated = _calibrated(written, container.base_dir, examples)
    fresh = prepared.fresh | calibrated | frozenset(module.onnx_names.values())
    tell("folding and proving")
    folded = fold(trained, base_dir=container.base_dir)
    proof = prove_fold(trained, fresh, folded, held_out, loss, has_classes=loss.name == CLASSES)
    return TrainResult(
        container=container,
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


@dataclass(frozen=True)
class _Prepared:
    model: ModelProto
    inserted: InsertResult | None
    fresh: frozenset[str]


def _ports(container: Container) -> tuple[Port, ...]:
    """The inputs of the model.

    Raises:
        UsageError: the batch is frozen, so that no other batch can be trained on.
    """
    frozen = find_frozen(container.proto)
    if frozen is not None:
        raise UsageError(
            f"the batch of {container.name} is frozen at {frozen.size}, and training takes batches of any size: open "
            "it first, with bnfold insert --batch symbolic"
        )
    source = container.path or container.raw or container.proto.SerializeToString()
    return open_session(source, base_dir=container.base_dir, label=container.name).inputs


def _tables(
    data: ExamplesLike, validation: ExamplesLike | None, ports: tuple[Port, ...], seed: int
) -> tuple[Table, Table]:
    examples = read_table(data, ports, "the training data")
    if validation is None:
        return examples.split(seed)
    return examples, read_table(validation, ports, "the validation data")


def _refuse_labels(examples: Table, held_out: Table, loss: Loss) -> None:
    """Labels that are no whole numbers show before the work begins, and a class that is unknown to the other data."""
    for table in (examples, held_out):
        if loss.name == CLASSES and table.target.dtype.kind not in "iu":
            raise UsageError(
                f"cross-entropy takes whole-number labels, and 'target' in {table.where} is {table.target.dtype}; for "
                "numbers there is --loss mse"
            )


def _prepared(container: Container, examples: Table, options: TrainOptions) -> _Prepared:
    """The model with BatchNormalizations where there were none; their statistics are those of the training data."""
    if options.insertion is None:
        return _Prepared(container.proto, None, frozenset())
    source = container.path or container.proto
    made = insert(source, examples.feeds(), options.insertion, base_dir=container.base_dir)
    return _Prepared(made.model, made, made.fresh)


def _frozen(module: GraphModule, model: ModelProto, patterns: Iterable[str]) -> tuple[str, ...]:
    held = set(module.onnx_names.values()) & {module.onnx_names.get(n, n) for n, _ in module.named_parameters()}
    biases = [name for name in normalized_biases(model) if name in held]
    return freeze(module, (*patterns, *biases))


def _calibrated(model: ModelProto, base_dir: Path | None, examples: Table) -> tuple[ModelProto, frozenset[str]]:
    """The statistics of all training data in the place of running ones, where there are normalizations."""
    if not has_normalizations(model):
        return model, frozenset()
    made = calibrate(model, examples.feeds(), CalibrateOptions(sequential=True), base_dir=base_dir)
    return made.model, made.fresh


def has_normalizations(model: ModelProto) -> bool:
    """Whether there is a BatchNormalization in the main graph."""
    return any(node.op_type == "BatchNormalization" for node in model.graph.node)


def _remarks(model: ModelProto, history: History, loss: Loss) -> Iterator[str]:
    if history.is_interrupted:
        yield f"interrupted after {len(history.epochs)} epochs; the best state so far is kept"
    if not history.best_epoch:
        yield "no epoch was better than the start, which is kept: try another --lr, more --epochs, or --reset"
    outputs = {entry.name for entry in model.graph.output}
    last = [node for node in model.graph.node if outputs & set(node.output)]
    for node in last:
        if (loss.name, node.op_type) in {(CLASSES, "Softmax"), ("bce", "Sigmoid")}:
            yield f"{loss.name} takes what is in front of the last {node.op_type}; behind it, training is slow"
