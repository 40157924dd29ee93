"""How good outputs are over a set of examples: the mean loss, and the share that is right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


class Tally:
    """Adds a score up, batch after batch, each with the weight of its rows."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._sum, self._rows = 0.0, 0
        self._right, self._judged = 0, 0

    def add(self, value: float, output: Any, target: Tensor) -> None:  # noqa: ANN401 (whatever the graph gives)
        """Enter a batch with its mean loss."""
        self._sum += value * len(target)
        self._rows += len(target)
        if self._loss.right is not None:
            right = self._loss.right(output, target)
            self._right += int(right.sum())
            self._judged += right.numel()

    @property
    def score(self) -> Score:
        """Of all that was entered."""
        return Score(self._sum / self._rows, self._right / self._judged if self._judged else None)


def to_tensors(batch: Batch, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """The inputs and the target of a batch on a device; whole-number targets as int64, which is what torch asks for."""
    inputs = {name: torch.from_numpy(array).to(device) for name, array in batch.inputs.items()}
    return inputs, target_tensor(batch.target).to(device)


def target_tensor(target: Array) -> Tensor:
    """A target as the losses take it."""
    tensor = torch.from_numpy(target)
    return tensor if tensor.is_floating_point() else tensor.to(torch.int64)


def module_score(module: GraphModule, batches: Iterable[Batch], loss: Loss, device: torch.device) -> Score:
    """The score of a module in `eval()`, in which it is left."""
    module.eval()

    def pairs() -> Iterator[Pair]:
        for batch in batches:
            inputs, target = to_tensors(batch, device)
            yield module(inputs), target

    return _score(pairs(), loss)


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

    return _score(pairs(), loss)


@torch.no_grad()
def _score(pairs: Iterable[Pair], loss: Loss) -> Score:
    tally = Tally(loss)
    for output, target in pairs:
        loss.refuse(output, target)
        tally.add(float(loss.compute(output, target)), output, target)
    return tally.score
