"""What a training reads: the batches of its epochs, the examples that states are compared on, and inputs to measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from bnfold.errors import UsageError
from bnfold.inserting.feeds import Feeds, fitted
from bnfold.runtime import Port
from bnfold.torch.losses import Loss
from bnfold.torch.module import GraphModule
from bnfold.torch.scores import Batch, module_outputs
from bnfold.torch.training import Examples
from bnfold.training.examples import Shuffled, Table
from bnfold.training.reading import ExamplesLike, read_table

TrainingLike: TypeAlias = ExamplesLike | Examples
"""What a caller may train on: files or arrays, or an object with `steps` and `epoch` that makes batches of its own."""


@dataclass(frozen=True, eq=False)
class Sources:
    """The data of a training.

    Attributes:
        examples: the batches of its epochs.
        held_out: what states are compared on.
        feeds: inputs to measure statistics over; can be gone through again and again.
        tables: the examples whose targets can be looked at before the work begins.
    """

    examples: Examples
    held_out: Table
    feeds: Iterable[Feeds]
    tables: tuple[Table, ...]

    def refuse_targets(self, module: GraphModule, loss: Loss) -> None:
        """Look at all targets, with an output of the module beside them to know how many classes there are.

        Raises:
            UsageError: there are targets that the loss does not take.
        """
        output = module_outputs(module, next(iter(self.held_out.batches(2))))[0]
        for table in self.tables:
            table.refuse_targets(partial(loss.refuse_range, output.shape))


def sources_for(
    data: TrainingLike, validation: ExamplesLike | None, ports: Sequence[Port], batch_size: int, seed: int
) -> Sources:
    """The data of a training.

    Args:
        data: what to train on.
        validation: what states are compared on; None holds a tenth of the training data out.
        ports: the inputs of the model.
        batch_size: rows of a training batch, where the data are no batches yet.
        seed: of the order, and of what is held out.

    Raises:
        UsageError: the data do not fit the model, are too few, or are batches with nothing to compare states on.
    """
    if isinstance(data, Examples):
        if validation is None:
            raise UsageError("data that come as batches need validation data beside them, to compare states on")
        held_out = read_table(validation, ports, "the validation data")
        fitting = _Fitting(data, ports)
        return Sources(fitting, held_out, _Inputs(fitting), (held_out,))
    table = read_table(data, ports, "the training data")
    if validation is None:
        table, held_out = table.split(seed)
    else:
        held_out = read_table(validation, ports, "the validation data")
    return Sources(Shuffled(table, batch_size, seed), held_out, table.feeds(), (table, held_out))


class _Fitting:
    """A caller's batches, each held against the model's inputs when it is its turn."""

    def __init__(self, examples: Examples, ports: Sequence[Port]) -> None:
        if examples.steps < 1:
            raise UsageError(f"an epoch has 1 batch or more, and `steps` of the training data is {examples.steps}")
        self._examples, self._ports = examples, ports
        self.steps = examples.steps

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        step = 0
        for step, batch in enumerate(self._examples.epoch(number), 1):
            where = f"batch {step} of epoch {number}"
            yield Batch(fitted(batch.inputs, self._ports, where), np.asarray(batch.target))
        if not step:
            raise UsageError(f"epoch {number} of the training data has no batches")


class _Inputs(Iterable[Feeds]):
    """The inputs of a first epoch, as often as they are asked for."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __iter__(self) -> Iterator[Feeds]:
        return (batch.inputs for batch in self._examples.epoch(1))
