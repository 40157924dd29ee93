"""The statistics of values inside a graph, measured over data: batch after batch, with one batch in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from onnx import ModelProto

from bnfold.errors import ModelError, UsageError
from bnfold.inserting.feeds import Feeds as Feeds
from bnfold.inserting.feeds import refuse_not_finite
from bnfold.inserting.moments import Moments, moments_of, nothing
from bnfold.inserting.parting import parted
from bnfold.model.container import Container
from bnfold.runtime import open_session, showing

FEWEST = 2
"""A variance needs as many values per channel."""


@dataclass(frozen=True)
class Measured:
    """A value of the main graph whose statistics are wanted.

    Attributes:
        name: its name.
        axis: where its channels are.
        channels: how many.
    """

    name: str
    axis: int
    channels: int


def measure(
    container: Container, model: ModelProto, values: Sequence[Measured], batches: Iterable[Feeds]
) -> dict[str, Moments]:
    """Run a model over data and gather the moments of inner values.

    The model runs on the CPU provider with graph optimisation off, where every value has the name it has in the file.

    Args:
        container: where its external weights lie.
        model: the model.
        values: what to measure.
        batches: sets of inputs.

    Raises:
        ModelError: the model can not be run.
        UsageError: there are no data, too few for a variance, or values that are not finite.
    """
    shown = {value.name for value in values} - {entry.name for entry in model.graph.output}
    source = showing(_bytes(parted(container, model)), sorted(shown))
    session = open_session(source, label=container.name, base_dir=container.base_dir)
    found = {value.name: nothing(value.channels) for value in values}
    for number, feeds in enumerate(batches, 1):
        refuse_not_finite(feeds, f"batch {number} of the data")
        # no name for the outputs here: they would be held while the next batch runs
        found = _joined(found, values, session.run(feeds, list(found)), number)
    _refuse_too_few(values, found)
    return found


def _bytes(model: ModelProto) -> bytes:
    from google.protobuf.message import EncodeError

    try:
        return bytes(model.SerializeToString())
    except (ValueError, EncodeError) as error:
        raise ModelError(
            f"the model is too large for one message; save its weights as external data: {error}"
        ) from error


def _joined(
    found: Mapping[str, Moments], values: Sequence[Measured], outputs: Mapping[str, npt.NDArray[Any]], number: int
) -> dict[str, Moments]:
    """What is known with one more batch."""
    return {value.name: found[value.name].joined(_moments(value, outputs[value.name], number)) for value in values}


def _moments(value: Measured, array: npt.NDArray[Any], number: int) -> Moments:
    if array.ndim <= value.axis or array.shape[value.axis] != value.channels:
        raise ModelError(
            f"'{value.name}' has the shape {list(array.shape)} when the model runs, and not {value.channels} channels "
            f"on axis {value.axis}"
        )
    found = moments_of(array, value.axis)
    if not found.is_finite:
        raise UsageError(f"'{value.name}' is not finite in batch {number} of the data, so it has no mean and variance")
    return found


def _refuse_too_few(values: Sequence[Measured], found: Mapping[str, Moments]) -> None:
    for value in values:
        count = found[value.name].count
        if not count:
            raise UsageError("there are no data: not one batch of inputs was given")
        if count < FEWEST:
            raise UsageError(f"the data give '{value.name}' {count} value per channel, and a variance needs {FEWEST}")
