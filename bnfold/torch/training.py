"""The loop: epochs over batches, a score after each, and the best state in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from bnfold.torch.checkpoint import Checkpoint, Progress
from bnfold.torch.distributed import World, joined, local_device
from bnfold.torch.divergence import Diverged, Health
from bnfold.torch.history import Epoch, History, Step, Watch
from bnfold.torch.losses import Loss
from bnfold.torch.module import GraphModule
from bnfold.torch.recipe import Recipe, device_of, optimizer_for
from bnfold.torch.schedule import cosine
from bnfold.torch.scores import Batch, Counts, Score, counted, module_counts, to_tensors
from bnfold.torch.state import Best


@runtime_checkable
class Examples(Protocol):
    """Training data: an object of a caller's own that has these two will do."""

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""

    def epoch(self, number: int) -> Iterable[Batch]:
        """The batches of an epoch, counted from 1."""


def train(
    module: GraphModule,
    examples: Examples,
    validation: Callable[[], Iterable[Batch]],
    loss: Loss,
    recipe: Recipe,
    *,
    watch: Watch | None = None,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
) -> History:
    """Train a module in place, and leave it on the CPU, in `eval()`, in its best state on the validation data.

    Of several processes (`bnfold.torch.distributed`), each calls this with the same arguments, trains on its part of
    every batch, and has the same module in the end; the first one writes checkpoints and is watched.

    Ctrl-C ends the training after the first epoch, and so does a divergence after the first that was better than the
    start; the best state so far is kept.

    Args:
        module: what `to_module` made; frozen parameters stay as they are.
        examples: the training data.
        validation: gives the batches that states are compared on, each time anew.
        loss: what to make small.
        recipe: the numbers.
        watch: told of steps and epochs.
        checkpoint: written after every epoch; None for none.
        resume: go on from the checkpoint.

    Raises:
        UsageError: a target does not fit the output, the training diverged before anything was better than the start,
            or there is no checkpoint of this training to go on from.
        TargetError: the checkpoint can not be written.
        RuntimeUnavailable: the device is not there, or another process is lost.
    """
    device_of(recipe)
    device = local_device(recipe)
    progress = checkpoint.read() if checkpoint is not None and resume else None
    module.to(device)
    devices = [device] if device.type == "cuda" else []
    # Dropout draws from torch's global generator, which is the caller's.
    with torch.random.fork_rng(devices), joined(recipe) as world:
        if recipe.synchronize and world.size > 1:
            module.synchronize()
        watch = watch if watch is not None and world.is_first else Watch()
        run = _Run(module, examples, validation, loss, recipe, device, watch, checkpoint, progress, world)
        is_interrupted, diverged = run.train()
    run.best.restore(module)
    module.to("cpu").eval()
    return History(run.start, tuple(run.epochs), run.best.score, run.best.epoch, is_interrupted, diverged)


def _draw_anew(seed: int, epoch: int, rank: int) -> None:
    """Let the random numbers of an epoch be a function of the seed and its number, wherever a training was resumed."""
    drawn = np.random.SeedSequence([seed, epoch, rank] if rank else [seed, epoch])
    torch.manual_seed(int(drawn.generate_state(1, np.uint64)[0]))


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
        watch: Watch,
        checkpoint: Checkpoint | None,
        progress: Progress | None,
        world: World,
    ) -> None:
        self._world = world
        self._module, self._examples, self._validation = module, examples, validation
        self._loss, self._recipe, self._device = loss, recipe, device
        self._watch, self._checkpoint = watch, checkpoint
        self._optimizer = optimizer_for(module, recipe)
        self.start = self._validated() if progress is None else progress.start
        self._health = Health(module, recipe, self.start)
        self.best = Best.of(module, self.start) if progress is None else progress.best
        self.epochs = [] if progress is None else list(progress.epochs)
        if progress is not None:
            module.load_state_dict(progress.state)
            self._optimizer.load_state_dict(progress.optimizer)
        self._parallel: Callable[[Any], Any] | None = None

    def train(self) -> tuple[bool, str | None]:
        """All epochs that are left; whether they were interrupted, and how they diverged.

        An interruption before an epoch is done, or a divergence before one was better, is the caller's.
        """
        try:
            for epoch in self.epochs:
                self._watch.epoch(epoch)
            for number in range(len(self.epochs) + 1, self._recipe.epochs + 1):
                self._epoch(number)
        except KeyboardInterrupt:
            if not self.epochs:
                raise
            return True, None
        except Diverged as error:
            if not self.best.epoch:
                raise
            return False, f"{error}; the best state so far, that of epoch {self.best.epoch}, is kept"
        return False, None

    def _epoch(self, number: int) -> None:
        begun = time.perf_counter()
        rate = self._rate(number, 0)
        training = self._trained(number)
        validation = self._validated()
        complaint = self._health.complaint(validation, number)
        is_best = complaint is None and self.best.offer(self._module, validation, number)
        self.epochs.append(Epoch(number, rate, training, validation, is_best, time.perf_counter() - begun))
        if complaint is None:
            self._save()
        self._watch.epoch(self.epochs[-1])
        if complaint is not None:
            raise Diverged(complaint)

    def _save(self) -> None:
        """Write the checkpoint. A state that diverged never gets into one: there would be nothing to go on from."""
        if self._checkpoint is None or not self._world.is_first:
            return
        state, optimizer = self._module.state_dict(), self._optimizer.state_dict()
        self._checkpoint.write(Progress(state, optimizer, self.start, self.best, tuple(self.epochs)))

    def _trained(self, number: int) -> Score:
        self._module.train()
        _draw_anew(self._recipe.seed, number, self._world.rank)
        counts = Counts()
        for step, batch in enumerate(self._examples.epoch(number), 1):
            _set_rate(self._optimizer, self._rate(number, step - 1))
            of_step = Counts(*self._world.totals(self._step(self._world.part(batch))))
            self._health.refuse_loss(of_step.mean, step, number)
            counts = counts.plus(of_step)
            self._watch.step(self._place(number, step, counts.score))
        return counts.score

    def _step(self, batch: Batch) -> Counts:
        inputs, target = to_tensors(batch, self._device)
        if self._parallel is None:
            self._parallel = self._world.wrapped(self._module, lambda: self._computed(self._module, inputs, target)[0])
        loss, output = self._computed(self._parallel, inputs, target)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        made = output.detach() if isinstance(output, torch.Tensor) else output
        return counted(self._loss, float(loss.detach()), made, target)

    def _computed(self, module: Callable[[Any], Any], inputs: Any, target: Tensor) -> tuple[Tensor, Any]:  # noqa: ANN401
        """The loss of a batch, and the output."""
        output = module(inputs)
        self._loss.refuse(output, target)
        return self._loss.compute(output, target), output

    def _validated(self) -> Score:
        own = islice(self._validation(), self._world.rank, None, self._world.size)
        return Counts(*self._world.totals(module_counts(self._module, own, self._loss, self._device))).score

    def _rate(self, number: int, done: int) -> float:
        share = (number - 1 + done / self._examples.steps) / self._recipe.epochs
        return self._recipe.rate * cosine(share)

    def _place(self, number: int, step: int, score: Score) -> Step:
        epochs, steps = self._recipe.epochs, self._examples.steps
        return Step(number, epochs, step, steps, score, self.best.score, self.best.epoch)


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
