"""The functions of the public contract: they stand on all rooms, and hold nothing of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, overload

from onnx import ModelProto

from bnfold.checking import check as _check
from bnfold.errors import DifferenceFound, NormalizationsStayed, UsageError
from bnfold.folding import fold as _folding
from bnfold.folding.inspection import Inspection, inspection_of
from bnfold.folding.options import Options
from bnfold.inserting import calibrate as _calibration
from bnfold.inserting import insert as _insertion
from bnfold.inserting.batches import Batches, DataLike, as_batches
from bnfold.inserting.calibrate import CalibrateResult
from bnfold.inserting.insert import InsertResult
from bnfold.inserting.options import Options as InsertOptions
from bnfold.model.container import F, ModelLike, ProtoLike, as_proto, foreign_of, open_model
from bnfold.model.scratch_folder import scratch_folder
from bnfold.model.writing import staged
from bnfold.report import check_table, describe_failure, describe_kept
from bnfold.runtime import open_session

if TYPE_CHECKING:
    from typing import Unpack

    from bnfold.checking import CheckReport
    from bnfold.checking.subject import Model
    from bnfold.model.foreign import Foreign
    from bnfold.torch.history import Epoch, Step
    from bnfold.torch.losses import Compute
    from bnfold.training.result import TrainResult
    from bnfold.training.sources import TrainingLike

check = _check


class FoldOptions(TypedDict, total=False):
    """The options of `fold`, where each is explained."""

    check: bool
    prefer: str
    only: Sequence[str]
    skip: Sequence[str]
    max_folds: int | None
    residuals: bool
    strict: bool
    freeze_initializers: bool


class CalibrateOptions(TypedDict, total=False):
    """The options of `calibrate`, where each is explained."""

    sequential: bool
    keep_statistics: bool
    batch_size: int | None
    base_dir: str | os.PathLike[str] | None


@overload
def fold(
    model: ProtoLike, *, base_dir: str | os.PathLike[str] | None = None, **options: Unpack[FoldOptions]
) -> _folding.FoldResult[ModelProto]: ...


@overload
def fold(
    model: F, *, base_dir: str | os.PathLike[str] | None = None, **options: Unpack[FoldOptions]
) -> _folding.FoldResult[F]: ...


def fold(
    model: ModelLike,
    *,
    check: bool = False,
    prefer: str = "speed",
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    max_folds: int | None = None,
    residuals: bool = True,
    strict: bool = False,
    freeze_initializers: bool = False,
    base_dir: str | os.PathLike[str] | None = None,
) -> _folding.FoldResult[Any]:
    """Fold every BatchNormalization, and every constant Mul, Add, Sub, Div, that can be folded exactly.

    Args:
        model: a path, the bytes of a file, an `onnx.ModelProto`, an `onnx_ir.Model` or a `torch.onnx.ONNXProgram`. It
            is never changed; `bnfold.passes.FoldPass` folds an `onnx_ir.Model` in place.
        check: run the original and the result on onnxruntime, and compare (as `bnfold.check`).
        prefer: what becomes of an affine that can not go altogether. "speed": the form and the place that runs fastest;
            a BatchNormalization in front of zero padding usually is that form. "no-batchnorm": none is left wherever
            there is an exact way, as an Add, a Max or a constant map, though that may cost a node.
        only: names or globs of affines: nothing else is folded.
        skip: names or globs of nodes that have to stay exactly as they are.
        max_folds: stop after so many folds, to find the one that makes a difference; None for no limit.
        residuals: let a part of an affine stay where the whole can not go; False folds whole affines only.
        strict: raise when a BatchNormalization is still there.
        freeze_initializers: treat initializers that are graph inputs too as constants, and stop listing them as
            inputs: from IR version 4 on a caller may override such a value, so that it is no constant.
        base_dir: the folder of external data, when the model is not given as a path.

    Returns:
        The result, with ``.model``, ``.folded``, ``.kept`` with reasons, ``.save(path)``; true where something
        was folded. ``.model`` is of the kind that was given: an `onnx_ir.Model` of an `onnx_ir.Model`, a
        `torch.onnx.ONNXProgram` of a `torch.onnx.ONNXProgram`, else an `onnx.ModelProto`.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read.
        UsageError: `model` is no model.
        UsageError: an option makes no sense, or names a node that is not there.
        NormalizationsStayed: `strict` was asked for, and a BatchNormalization is still there.
        DifferenceFound: `check` was asked for, and the two graphs do not compute the same.
        RuntimeUnavailable: `check` was asked for, and onnxruntime is not installed.
    """
    options = Options(
        freeze_initializers=freeze_initializers,
        prefer=prefer,
        only=tuple(only),
        skip=tuple(skip),
        max_folds=max_folds,
        residuals=residuals,
    )
    result = _folding.fold(model, options, base_dir=base_dir)
    if check and result:
        _prove(result)
    if strict and result.kept:
        raise NormalizationsStayed(describe_kept(result))
    return result


def assert_equivalent(before: Model, after: Model, **options: Any) -> CheckReport:  # noqa: ANN401 - as for `check`
    """Raise where two models do not compute the same: `check`, for people's own tests.

    Args:
        before: the original: a path, a serialized model, a ModelProto, an onnx_ir.Model or a torch.onnx.ONNXProgram.
        after: the model to be proven equal to it.
        **options: as for `check`.

    Returns:
        The report, for further assertions.

    Raises:
        AssertionError: they differ, or the comparison shows nothing; the text holds the reason and the whole table.
        UsageError, ModelError, RuntimeUnavailable: as for `check`.
    """
    report = check(before, after, **options)
    if not report:
        raise AssertionError(f"{describe_failure(report)}\n{check_table(report)}")
    return report


@overload
def insert(
    model: ProtoLike,
    data: DataLike | None = None,
    **options: Any,  # noqa: ANN401 - as below
) -> InsertResult[ModelProto]: ...


@overload
def insert(model: F, data: DataLike | None = None, **options: Any) -> InsertResult[F]: ...  # noqa: ANN401 - as below


def insert(
    model: ModelLike,
    data: DataLike | None = None,
    *,
    batch_size: int | None = None,
    base_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> InsertResult[Any]:
    """Put a BatchNormalization behind every linear operator that should have one, so that the model can be trained.

    The function stays: without data what is put in is an identity, to the last bit in float32; with data it has the
    statistics of its place, and scale and bias that undo them.

    Args:
        model: as for `fold`; the result's ``.model`` is of the same kind. It is never changed.
        data: inputs to measure over: paths as for `check`, a mapping of names to arrays, or an iterable of mappings.
        batch_size: how many rows of a set of inputs are run at a time; None for all.
        base_dir: the folder of external data, when the model is not given as a path.
        **options: the fields of `bnfold.inserting.options.Options`: ops, only, skip, position, include_classifier,
            bias, reset, epsilon, momentum, batch, training_mode, convert_opset.

    Returns:
        The result, with ``.model``, ``.inserted``, ``.skipped`` with reasons, ``.save(path)``.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read or run.
        UsageError: an option makes no sense or names an operator that is not there, or the data do not do.
        RuntimeUnavailable: onnxruntime, which measures, is not installed.
    """
    foreign = foreign_of(model)
    source = model if foreign is None else foreign.whole(marked=True)
    batches = _batches(source, data, batch_size, base_dir)
    made = _insertion.insert(source, batches, InsertOptions(**options), base_dir=base_dir)
    if foreign is None:
        return made
    given: InsertResult[Any] = _given_back(foreign, made)
    return replace(given, base=foreign.unmarked(made.base), inference_model=foreign.unmarked(made.inference_model))


@overload
def calibrate(
    model: ProtoLike, data: DataLike | None = None, **options: Unpack[CalibrateOptions]
) -> CalibrateResult[ModelProto]: ...


@overload
def calibrate(model: F, data: DataLike | None = None, **options: Unpack[CalibrateOptions]) -> CalibrateResult[F]: ...


def calibrate(
    model: ModelLike,
    data: DataLike | None = None,
    *,
    sequential: bool = True,
    keep_statistics: bool = False,
    batch_size: int | None = None,
    base_dir: str | os.PathLike[str] | None = None,
) -> CalibrateResult[Any]:
    """Estimate the statistics of every BatchNormalization anew, and make inference nodes of those in training mode.

    Args:
        model: as for `fold`; the result's ``.model`` is of the same kind. It is never changed.
        data: as for `insert`; may be left out where statistics are kept.
        sequential: level by level, each measured behind levels that have their new statistics already, in as many
            passes over the data; False for one pass, which is right where the old statistics nearly are.
        keep_statistics: leave all statistics as they are, and only change the form of nodes in training mode.
        batch_size: how many rows of a set of inputs are run at a time; None for all.
        base_dir: the folder of external data, when the model is not given as a path.

    Returns:
        The result, with ``.model``, ``.calibrated`` with how far each has moved, ``.skipped``, ``.save(path)``.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read or run.
        UsageError: there are no data, or they do not do.
        RuntimeUnavailable: onnxruntime, which measures, is not installed.
    """
    foreign = foreign_of(model)
    source = model if foreign is None else foreign.whole(marked=True)
    batches = _batches(source, data, batch_size, base_dir)
    options = _calibration.CalibrateOptions(
        sequential=sequential and not keep_statistics, keep_statistics=keep_statistics
    )
    made = _calibration.calibrate(source, batches, options, base_dir=base_dir)
    return made if foreign is None else _given_back(foreign, made)


def train(
    model: ModelLike,
    data: TrainingLike,
    validation: TrainingLike | None = None,
    *,
    loss: str | Compute = "cross-entropy",
    optimizer: str = "sgd",
    lr: float | None = None,
    momentum: float = 0.9,
    weight_decay: float | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    freeze: Sequence[str] = (),
    insert: bool = True,
    seed: int = 0,
    device: str = "cpu",
    synchronize: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    base_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] = lambda text: None,
    after_step: Callable[[Step], None] | None = None,
    after_epoch: Callable[[Epoch], None] = lambda epoch: None,
    **insertion: Any,  # noqa: ANN401 - the fields of Options
) -> TrainResult:
    """Insert BatchNormalizations, train, estimate the statistics anew, fold, and prove the fold.

    Args:
        model: as for `fold`. It is never changed; what was trained is an `onnx.ModelProto`.
        data: what to train on: a mapping of the names of the inputs and "target" to arrays, or paths of files of them,
            which may be larger than memory; a function that yields the batches of an epoch, or "module:function"; or
            an object that makes batches itself (`bnfold.torch.training.Examples`).
        validation: what states are compared on, in the same forms; None holds a tenth of the data out.
        loss: "cross-entropy", "mse", "bce", or a function of the output (a tuple of several) and the target that gives
            a scalar tensor. Cross-entropy and bce take logits.
        optimizer: "sgd", "adam" or "adamw".
        lr: the learning rate at the start, which goes to 0 along a cosine; None for the optimizer's own.
        momentum: of sgd, and the first beta of the others.
        weight_decay: of parameters of two axes and more; None for the optimizer's own.
        epochs: how often to go through the training data.
        batch_size: rows of a batch; a partial last one is left out.
        freeze: names or globs of initializers that stay as they are.
        insert: put BatchNormalizations in first, where there are none.
        seed: of all random numbers; the same one gives the same result on the CPU, with one thread to the last bit.
        device: "cpu", "cuda" or "cuda:N"; of several processes on one machine, "cuda" gives each its own.
        synchronize: of several processes, whether a BatchNormalization normalizes by the batch of all of them.
        checkpoint: a file that is written after every epoch, in one step; the caller removes it. None for none.
        resume: go on from it, with the same model, data and options: on the CPU the result is that of a training which
            was not stopped, bit for bit with one thread. Batches of the caller's own have to be a function of the
            epoch's number.
        base_dir: the folder of external data, when the model is not given as a path.
        progress: called with what is being done.
        after_step: called with where the training is; None lets `progress` have it in words.
        after_epoch: called with what came of each epoch, those before a resumption first.
        **insertion: the fields of `bnfold.inserting.options.Options`, as for `insert`.

    Returns:
        The result, with ``.model`` and ``.save(path)``, the trained model; ``.folded``, its fold, saved likewise;
        ``.scores``, ``.history``, ``.report``. Of a training that was interrupted by Ctrl-C after an epoch, or diverged
        after one that was better than the start, it is the best state so far: ``.history.is_interrupted`` and
        ``.history.diverged`` say so.

    Raises:
        ModelError, ExternalDataError: the model can not be read or run, or has an operator that is unknown to torch.
        UsageError: options or data do not do, the training diverged before anything was better than the start, or the
            checkpoint is not there or that of another training.
        TargetError: the checkpoint can not be written.
        RuntimeUnavailable: torch, onnxruntime or the device is not there.
        DifferenceFound: the trained model and its fold do not compute the same.
    """
    from bnfold.torch.history import Watch
    from bnfold.torch.recipe import Recipe
    from bnfold.training import train as _training

    if insertion and not insert:
        raise UsageError(f"{', '.join(insertion)}: options of an insertion, and none was asked for")
    options = _training.TrainOptions(
        recipe=Recipe(
            optimizer=optimizer,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            epochs=epochs,
            seed=seed,
            device=device,
            synchronize=synchronize,
        ),
        loss=loss,
        batch_size=batch_size,
        freeze=tuple(freeze),
        insertion=InsertOptions(**insertion) if insert else None,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        resume=resume,
    )
    watch = Watch(after_step or (lambda step: progress(str(step))), after_epoch)
    result = _training.train(model, data, validation, options, base_dir=base_dir, tell=progress, watch=watch)
    if not result:
        raise DifferenceFound(f"the fold of the trained model: {describe_failure(result.report)}")
    return result


def _given_back(foreign: Foreign, made: Any) -> Any:  # noqa: ANN401 (the result of an insertion or a calibration)
    """The same result, its model of the kind that was given."""
    proto: ModelProto = made.container.proto
    container = replace(made.container, proto=foreign.unmarked(proto))
    return replace(made, model=foreign.with_changes(made.model, proto), container=container)


def _batches(
    model: ModelLike, data: DataLike | None, size: int | None, base_dir: str | os.PathLike[str] | None
) -> Batches | None:
    """The data as batches of what the model takes."""
    if data is None:
        return None
    source = model if isinstance(model, str | bytes | os.PathLike) else as_proto(model).SerializeToString()
    return as_batches(data, open_session(source, base_dir=base_dir, label="the model").inputs, size)


def _prove(result: _folding.FoldResult) -> None:
    """Compare the original with the result, both as files, since weights may lie in files of their own.

    Raises:
        DifferenceFound: they do not compute the same, or the comparison shows nothing.
    """
    container = result.container
    with scratch_folder() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        with staged(container.proto, before, container.base_dir, origin=container.origin, is_changed=False) as work:
            work.commit()
        result.save(after)
        report = check(before, after)
    if not report:
        raise DifferenceFound(describe_failure(report))


def inspect(
    model: ModelLike,
    *,
    freeze_initializers: bool = False,
    base_dir: str | os.PathLike[str] | None = None,
) -> Inspection:
    """Every affine of a model: what `fold` would do with it, and why.

    Args:
        model: as for `fold`. It is never changed.
        freeze_initializers: as for `fold`.
        base_dir: the folder of external data, when the model is not given as a path.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read.
        UsageError: `model` is no model.
    """
    container = open_model(model, base_dir=base_dir)
    return inspection_of(_folding.plan_for(container, Options(freeze_initializers=freeze_initializers)))


def to_html(
    result: _folding.FoldResult | CheckReport | InsertResult | TrainResult | Inspection,
    *,
    check: CheckReport | None = None,
    before: ModelLike | None = None,
    after: ModelLike | None = None,
    name: str = "a model",
) -> str:
    """A result as a page to look at: one file in itself, which loads nothing from elsewhere.

    The same result gives the same page, byte for byte.

    Args:
        result: what `fold`, `check`, `insert`, `train` or `inspect` has returned.
        check: the proof of a fold or an insertion, or a second one of a training; with ``locate=True`` the page has the
            error along the graph too. Not for the others.
        before: the original of a check, or the model of an inspection, for pictures of the graph. The others have it.
        after: the model that a check compared with it, likewise.
        name: what the page calls the model.

    Returns:
        The page, to be written as UTF-8.

    Raises:
        UsageError: `result` is none of these.
        ModelError, ExternalDataError: a model, or a weight, can not be read.
    """
    from bnfold.report.html.any_result import page_of

    return page_of(result, check=check, before=before, after=after, name=name)
