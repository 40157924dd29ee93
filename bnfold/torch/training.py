"""The loop: epochs over batches, a score after each, and the best state in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Protocol, runtime_checkable

import torch
from torch.optim import Optimizer

from bnfold.errors import UsageError
from bnfold.torch.losses import Loss
from bnfold.torch.module import GraphModule
from bnfold.torch.recipe import Recipe, device_of, optimizer_for
from bnfold.torch.schedule import cosine
from bnfold.torch.scores import Batch, Score, Tally, module_score, to_tensors
from bnfold.torch.state import Best


@runtime_checkable
class Examples(Protocol):
    """Training data: an object of a caller's own that has these two will do."""

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""

    def epoch(self, number: int) -> Iterable[Batch]:
        """The batches of an epoch, counted from 1."""


@dataclass(frozen=True)
class Epoch:
    """What came of an epoch.

    Attributes:
        number: counted from 1.
        lr: the learning rate at its start.
        training: the score over its batches, each before its step, in training mode.
        validation: the score after it.
        is_best: whether it is the best state so far.
        seconds: how long it took, validation included.
    """

    number: int
    lr: float
    training: Score
    validation: Score
    is_best: bool
    seconds: float


@dataclass(frozen=True)
class History:
    """What came of a training.

    Attributes:
        start: the validation score before the first step.
        epochs: one after the other.
        best: the validation score of the state that was kept.
        best_epoch: after which epoch that was; 0 for the start, where no epoch was better.
        is_interrupted: whether it was stopped by hand, and is shorter than was asked for.
    """

    start: Score
    epochs: tuple[Epoch, ...]
    best: Score
    best_epoch: int
    is_interrupted: bool = False


Tell = Callable[[str], None]


def train(
    module: GraphModule,
    examples: Examples,
    validation: Callable[[], Iterable[Batch]],
    loss: Loss,
    recipe: Recipe,
    *,
    tell: Tell = lambda text: None,
    after_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> History:
    """Train a module in place, and leave it on the CPU, in `eval()`, in its best state on the validation data.

    Ctrl-C ends the training after the first epoch, and the best state so far is kept.

    Args:
        module: what `to_module` made; frozen parameters stay as they are.
        examples: the training data.
        validation: gives the batches that states are compared on, each time anew.
        loss: what to make small.
        recipe: the numbers.
        tell: told what is being done.
        after_epoch: told what came of each epoch.

    Raises:
        UsageError: a target does not fit the output, or the loss is not finite any more.
        RuntimeUnavailable: the device is not there.
    """
    device = device_of(recipe)
    module.to(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # Dropout draws from torch's global generator, which is the caller's
        torch.manual_seed(recipe.seed)
        run = _Run(module, examples, validation, loss, recipe, device, tell)
        is_interrupted = run.train(after_epoch)
    run.best.restore(module)
    module.to("cpu").eval()
    return History(run.start, tuple(run.epochs), run.best.score, run.best.epoch, is_interrupted)


class _Run:
    """One training under way."""

    def __init__(
        self,
        module: GraphModule,
        examples: Examples,
        validation: Callable[[], Iterable[Batch]],
        loss: Loss,
        recipe: Recipe,
        device: torch.device,
        tell: Tell,
    ) -> None:
        self._module, self._examples, self._validation = module, examples, validation
        self._loss, self._recipe, self._device, self._tell = loss, recipe, device, tell
        self._optimizer = optimizer_for(module, recipe)
        self.start = self._validated()
        self.best = Best(module, self.start)
        self.epochs: list[Epoch] = []

    def train(self, after_epoch: Callable[[Epoch], None]) -> bool:
        """All epochs; whether they were interrupted. Before the first is done, an interruption is the caller's."""
        try:
            for number in range(1, self._recipe.epochs + 1):
                self.epochs.append(self._epoch(number))
                after_epoch(self.epochs[-1])
        except KeyboardInterrupt:
            if not self.epochs:
                raise
            return True
        return False

    def _epoch(self, number: int) -> Epoch:
        begun = time.perf_counter()
        rate = self._rate(number, 0)
        training = self._trained(number)
        validation = self._validated()
        is_best = self.best.offer(self._module, validation, number)
        return Epoch(number, rate, training, validation, is_best, time.perf_counter() - begun)

    def _trained(self, number: int) -> Score:
        self._module.train()
        tally = Tally(self._loss)
        for step, batch in enumerate(self._examples.epoch(number)):
            _set_rate(self._optimizer, self._rate(number, step))
            value = self._step(batch, tally)
            if not isfinite(value):
                raise UsageError(self._diverged(number, step, value))
            self._tell(self._words(number, step, tally.score))
        return tally.score

    def _step(self, batch: Batch, tally: Tally) -> float:
        inputs, target = to_tensors(batch, self._device)
        output = self._module(inputs)
        self._loss.refuse(output, target)
        loss = self._loss.compute(output, target)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        value = float(loss.detach())
        tally.add(value, output.detach() if isinstance(output, torch.Tensor) else output, target)
        return value

    def _validated(self) -> Score:
        return module_score(self._module, self._validation(), self._loss, self._device)

    def _rate(self, number: int, step: int) -> float:
        done = (number - 1 + step / self._examples.steps) / self._recipe.epochs
        return self._recipe.rate * cosine(done)

    def _words(self, number: int, step: int, score: Score) -> str:
        accuracy = "" if score.accuracy is None else f", accuracy {score.accuracy:.3f}"
        place = f"epoch {number}/{self._recipe.epochs}, step {step + 1}/{self._examples.steps}"
        return f"{place}: loss {score.loss:.4f}{accuracy} (best validation: epoch {self.best.epoch})"

    def _diverged(self, number: int, step: int, value: float) -> str:
        return (
            f"the training diverged: the loss is {value:g} in step {step + 1} of epoch {number}; try a lower --lr than "
            f"{self._recipe.rate:g}, a larger --batch-size, or --include-classifier, and look for extreme values in "
            "the data"
        )


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
