"""Estimate the statistics of every BatchNormalization of a model over data, and make each an inference node."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import bnfold.ops  # noqa: F401 (shapes and constants of every operator)
from bnfold.errors import ModelError, UsageError
from bnfold.inserting.batches import is_read_once
from bnfold.inserting.estimates import Calibrated, settle
from bnfold.inserting.levels import levels_of
from bnfold.inserting.moments import Moments
from bnfold.inserting.normalizations import Normalization, find_normalizations, unknown_form
from bnfold.inserting.remade import Remade
from bnfold.inserting.sites import EARLIEST_OPSET, Skipped
from bnfold.inserting.statistics import Feeds, Measured, measure
from bnfold.inserting.training_forms import (
    MEAN,
    VARIANCE,
    has_inference_form,
    is_normalization,
    is_training,
    random_nodes,
    turn,
)
from bnfold.inserting.view import View
from bnfold.model.container import M, ModelLike, open_model
from bnfold.model.graph import Node
from bnfold.model.names import Names
from bnfold.model.patch import Patch, apply

NOTABLE = 0.1
"""How many standard deviations a mean may move in one pass before the statistics behind it count as out of date."""


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """The options of `bnfold.calibrate`.

    Attributes:
        sequential: level by level, each measured behind levels that have their new statistics already; as many passes
            over the data as there are levels.
        keep_statistics: leave all statistics as they are, and only make inference nodes of those in training mode.

    Raises:
        UsageError: both are asked for.
    """

    sequential: bool = False
    keep_statistics: bool = False

    def __post_init__(self) -> None:
        if self.sequential and self.keep_statistics:
            raise UsageError("statistics that are kept are not measured, so there is nothing to do sequentially")


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibrateResult(Remade[M]):
    """A model with estimated statistics. True where anything has changed.

    Attributes:
        calibrated: each BatchNormalization that has changed, in the order of the file.
        skipped: each that could not be, and why.
    """

    calibrated: tuple[Calibrated, ...]
    skipped: tuple[Skipped, ...]

    def __bool__(self) -> bool:
        return bool(self.calibrated)


def calibrate(
    model: ModelLike,
    batches: Iterable[Feeds] | None = None,
    options: CalibrateOptions | None = None,
    *,
    base_dir: str | os.PathLike[str] | None = None,
) -> CalibrateResult:
    """Estimate the statistics of every BatchNormalization anew, over data.

    In one pass, what is in front of a normalization is as the file has it: nodes in training mode run as such, with
    the statistics of each batch. Every estimate is the mean and the biased variance over all the data.

    Args:
        model: a path, the bytes of a file, or an `onnx.ModelProto`, which is not changed.
        batches: sets of inputs; not looked at where statistics are kept.
        options: what the caller asks for.
        base_dir: the folder of external data, when the model is not given as a path.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read or run.
        UsageError: `model` is no model, or there are no data, or they do not do.
    """
    options = options or CalibrateOptions()
    if batches is None and not options.keep_statistics:
        raise UsageError(
            "a calibration takes statistics from data; give some, with --data, or keep those that the model has, "
            "with --keep-statistics"
        )
    container = open_model(model, base_dir=base_dir)
    view = View(container, container.proto)
    if batches is None or options.keep_statistics:
        return _turned(view)
    _refuse_old(view)
    return _measured(view, batches, options)


def _turned(view: View) -> CalibrateResult:
    """Every node in training mode as an inference node, in all scopes, with the statistics it has."""
    patch, names = Patch(), Names(view.graph)
    turned: list[Calibrated] = []
    skipped: list[Skipped] = []
    for node in view.graph.nodes():
        if not is_normalization(node):
            continue
        if unknown := unknown_form(node):
            skipped.append(unknown)
        elif not has_inference_form(node):
            turn(patch, names, node, node.proto.input[MEAN], node.proto.input[VARIANCE])
            turned.append(Calibrated(node.label, _channels(view, node), was_training=is_training(node)))
    model = apply(patch, view.graph) if turned else view.graph.model
    return CalibrateResult(container=view.container, model=model, calibrated=tuple(turned), skipped=tuple(skipped))


def _channels(view: View, node: Node) -> int:
    shape = view.shapes.shape(node.inputs[MEAN])
    return shape[0] if shape and isinstance(shape[0], int) else 0


def _measured(view: View, batches: Iterable[Feeds], options: CalibrateOptions) -> CalibrateResult:
    found, skipped = find_normalizations(view)
    levels = levels_of(view, found)
    passes = levels if options.sequential or not found else [found]
    if len(passes) > 1 and is_read_once(batches):
        raise UsageError(
            f"a sequential calibration of this model reads the data {len(passes)} times, and an iterator gives them "
            "once; give a list, or files"
        )
    patch, names = Patch(), Names(view.graph)
    outcomes: dict[Normalization, Calibrated | Skipped] = {}
    for chosen in passes:
        moments = _moments(view, patch, chosen, batches)
        outcomes |= {one: settle(view, patch, names, one, moments[one.value.name]) for one in chosen}
    settled = [outcomes[one] for one in found]
    calibrated = tuple(outcome for outcome in settled if isinstance(outcome, Calibrated))
    skipped += [outcome for outcome in settled if isinstance(outcome, Skipped)]
    if not calibrated:
        return CalibrateResult(container=view.container, model=view.graph.model, calibrated=(), skipped=tuple(skipped))
    return CalibrateResult(
        container=view.container,
        model=apply(patch, view.graph),
        calibrated=calibrated,
        skipped=tuple(skipped),
        remarks=tuple(_remarks(view, calibrated, is_stale=len(passes) < len(levels))),
        fresh=patch.fresh_names,
    )


def _moments(
    view: View, patch: Patch, chosen: Sequence[Normalization], batches: Iterable[Feeds]
) -> Mapping[str, Moments]:
    """The moments of what some nodes normalize, in the graph as it has been edited so far."""
    model = apply(patch, view.graph) if patch.fresh_names else view.graph.model
    values = {one.value.name: Measured(one.value.name, 1, one.channels) for one in chosen}
    return measure(view.container, model, list(values.values()), batches)


def _refuse_old(view: View) -> None:
    """Before opset 7 there is no BatchNormalization that onnxruntime runs.

    Raises:
        ModelError: the model imports an older opset.
    """
    opset = view.graph.main.opsets.get("", EARLIEST_OPSET)
    if opset < EARLIEST_OPSET and any(is_normalization(node) for node in view.graph.nodes()):
        raise ModelError(
            f"{view.container.name} has opset {opset}, in which onnxruntime runs no BatchNormalization, so nothing can "
            "be measured; convert it to a newer one first, with onnx.version_converter"
        )


def _remarks(view: View, calibrated: Sequence[Calibrated], *, is_stale: bool) -> Iterator[str]:
    """What is to be said.

    Args:
        view: the graph.
        calibrated: what has new statistics.
        is_stale: whether some were measured behind others as these were before.
    """
    for one in calibrated:
        if one.dead:
            yield (
                f"{one.dead} of {one.channels} channels in front of {one.node} never change on these data: their "
                "variance is 0"
            )
    for node in random_nodes(view):
        yield f"{node.op_type} '{node.label}' drops at random, and the statistics behind it were measured with that"
    far = max((one.moved for one in calibrated if not one.was_training), default=0.0)
    if is_stale and far > NOTABLE:
        yield (
            f"means moved by up to {far:.2g} standard deviations, and what stands behind was measured before they did; "
            "--sequential measures it behind the new ones"
        )
