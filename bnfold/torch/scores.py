"""How good outputs are over a set of examples: the mean loss, and the share that is right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from bnfold.model.tensors import Array
from bnfold.torch.arrays import to_float64
from bnfold.torch.losses import Loss
from bnfold.torch.module import GraphModule

Pair: TypeAlias = tuple[Any, Tensor]


class Batch(NamedTuple):
    """Some examples: an array per input, and what should come of them, rows in the same order."""

    inputs: Mapping[str, Array]
    target: Array


@dataclass(frozen=True)
class Score:
    """How good a state is.

    Attributes:
        loss: the mean over the examples.
        accuracy: the share that is right; None where the loss knows no right and wrong.
    """

    loss: float
    accuracy: float | None = None

    def is_better_than(self, other: Score) -> bool:
        """More is right; where as much is, or there is no right and wrong, the loss is less. NaN is never better."""
        if not isfinite(self.loss):
            return False
        if self.accuracy is not None and other.accuracy is not None and self.accuracy != other.accuracy:
            return self.accuracy > other.accuracy
        return not self.loss >= other.loss


class Counts(NamedTuple):
    """What a score is made of; counts of parts add up to those of the whole.

    Attributes:
        loss: the sum over the examples.
        rows: how many examples.
        right: how many predictions are right.
        judged: of how many.
    """

    loss: float = 0.0
    rows: float = 0.0
    right: float = 0.0
    judged: float = 0.0

    def plus(self, other: Sequence[float]) -> Counts:
        """Both together."""
        return Counts(*(one + more for one, more in zip(self, other, strict=True)))

    @property
    def mean(self) -> float:
        """The mean loss."""
        return self.loss / self.rows

    @property
    def score(self) -> Score:
        """The score that they come to."""
        return Score(self.mean, self.right / self.judged if self.judged else None)


def counted(loss: Loss, value: float, output: Any, target: Tensor) -> Counts:  # noqa: ANN401 (whatever the graph gives)
    """The counts of a batch with its mean loss."""
    rows = len(target)
    if loss.right is None:
        return Counts(value * rows, rows)
    right = loss.right(output, target)
    return Counts(value * rows, rows, int(right.sum()), right.numel())


def to_tensors(batch: Batch, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """The inputs and the target of a batch on a device; whole-number targets as int64, which is what torch asks for."""
    inputs = {name: torch.from_numpy(array).to(device) for name, array in batch.inputs.items()}
    return inputs, target_tensor(batch.target).to(device)


def target_tensor(target: Array) -> Tensor:
    """A target as the losses take it."""
    tensor = torch.from_numpy(target)
    return tensor if tensor.is_floating_point() else tensor.to(torch.int64)


def module_counts(module: GraphModule, batches: Iterable[Batch], loss: Loss, device: torch.device) -> Counts:
    """The counts of a module in `eval()`, in which it is left."""
    module.eval()

    def pairs() -> Iterator[Pair]:
        for batch in batches:
            inputs, target = to_tensors(batch, device)
            yield module(inputs), target

    return _counts(pairs(), loss)


@torch.no_grad()
def module_outputs(module: GraphModule, batch: Batch) -> tuple[Array, ...]:
    """What a module on the CPU makes of a batch, in graph order and in float64."""
    made = module(to_tensors(batch, torch.device("cpu"))[0])
    return tuple(to_float64(tensor) for tensor in (made if isinstance(made, tuple) else (made,)))


def array_score(outputs: Iterable[tuple[tuple[Array, ...], Array]], loss: Loss) -> Score:
    """The score of what something else computed: pairs of the outputs of a batch in graph order, and its target."""

    def pairs() -> Iterator[Pair]:
        for made, target in outputs:
            tensors = tuple(torch.from_numpy(array) for array in made)
            yield tensors[0] if len(tensors) == 1 else tensors, target_tensor(target)

    return _counts(pairs(), loss).score


@torch.no_grad()
def _counts(pairs: Iterable[Pair], loss: Loss) -> Counts:
    counts = Counts()
    for output, target in pairs:
        loss.refuse(output, target)
        counts = counts.plus(counted(loss, float(loss.compute(output, target)), output, target))
    return counts
