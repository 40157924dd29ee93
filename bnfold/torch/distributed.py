"""Several processes that train one model: each takes its part of every batch, and all of them make the same step."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bnfold.errors import BnfoldError, RuntimeUnavailable, UsageError
from bnfold.torch.module import GraphModule
from bnfold.torch.recipe import Recipe
from bnfold.torch.scores import Batch

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
"""By the kind of the device: what torch recommends for each."""

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C reaches every process of a terminal, each in another step; torchrun sends the other one."""


class World:
    """The processes of a training, as one of them sees them; by itself, one alone.

    Attributes:
        rank: which one this is; the first is 0.
        size: how many there are.
        local_rank: which one of this machine's, and so on which of its devices.
    """

    rank, size, local_rank = 0, 1, 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def part(self, batch: Batch) -> Batch:
        """This process's rows of a batch."""
        return batch

    def totals(self, values: Sequence[float]) -> list[float]:
        """The sums over all processes."""
        return list(values)

    def wrapped(self, module: GraphModule, loss: Callable[[], Tensor]) -> Callable[[Any], Any]:
        """The module as it is called in training: its gradients are the mean of those of all processes.

        Args:
            module: in `train()`.
            loss: computes the loss of a batch with it.
        """
        return module


class _Joined(World):
    """One of several processes.

    An interruption of one is told to all with the next sum, and ends the training of all in the same place: a process
    that left by itself would be waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._device = device
        self._is_stopped = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """A handler of signals."""
        self._is_stopped = True

    def part(self, batch: Batch) -> Batch:
        rows = len(batch.target)
        _refuse_uneven(rows, self.size)
        share = rows // self.size
        own = slice(self.rank * share, (self.rank + 1) * share)
        return Batch({name: array[own] for name, array in batch.inputs.items()}, batch.target[own])

    def totals(self, values: Sequence[float]) -> list[float]:
        sums = torch.tensor([*values, float(self._is_stopped)], dtype=torch.float64, device=self._device)
        dist.all_reduce(sums)
        *totals, stopped = sums.tolist()
        if stopped:
            raise KeyboardInterrupt
        return totals

    def wrapped(self, module: GraphModule, loss: Callable[[], Tensor]) -> Callable[[Any], Any]:
        module.eval()  # so that no statistic moves
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(loss(), trained, allow_unused=True)
        module.train()
        is_partial = any(gradient is None for gradient in gradients)  # which has to be said, and costs time
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own use of torch
            return torch.nn.parallel.DistributedDataParallel(module, find_unused_parameters=is_partial)


@contextmanager
def joined(recipe: Recipe) -> Iterator[World]:
    """The processes that torchrun started, or that the caller joined; this one alone where there are no others.

    A process group that is made here ends here.

    Args:
        recipe: says on what kind of device the training runs.

    Raises:
        RuntimeUnavailable: the processes do not find each other, or one of them has stopped.
    """
    if not dist.is_available() or not (dist.is_initialized() or is_launched()):
        yield World()
        return
    device = local_device(recipe)
    is_ours = not dist.is_initialized()
    with _spoken():
        if is_ours:
            dist.init_process_group(BACKENDS[device.type])
        try:
            world = _Joined(device) if dist.get_world_size() > 1 else World()
            with _stopping(world):
                yield world
        finally:
            if is_ours:
                dist.destroy_process_group()


def refuse_batch_size(rows: int) -> None:
    """Look at the size of batches before anything that takes long.

    Raises:
        UsageError: the processes can not share such a batch evenly.
    """
    joined_already = dist.is_available() and dist.is_initialized()
    _refuse_uneven(rows, dist.get_world_size() if joined_already else int(os.environ.get("WORLD_SIZE", "1")))


def _refuse_uneven(rows: int, size: int) -> None:
    if rows % size:
        raise UsageError(
            f"a batch of {rows} rows can not be shared evenly by {size} processes; --batch-size is that of all of them "
            "together, and has to be a multiple of their number"
        )


def is_launched() -> bool:
    """Whether torchrun, or what sets the same variables, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def local_device(recipe: Recipe) -> torch.device:
    """The device of this process: of several on one machine, each has its own."""
    if recipe.device == "cuda" and is_launched():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        return device
    return torch.device(recipe.device)


@contextmanager
def _spoken() -> Iterator[None]:
    """What torch raises when a process is lost, in a sentence; the process that is lost tells why by itself."""
    try:
        yield
    except BnfoldError:
        raise
    except (dist.DistError, RuntimeError) as error:
        words = str(error)
        if not isinstance(error, dist.DistError) and not any(name in words.lower() for name in BACKENDS.values()):
            raise
        raise RuntimeUnavailable(
            f"this process has lost the other ones, or did not find them: {words.splitlines()[0]}; where one of them "
            "stopped, it says why"
        ) from error


@contextmanager
def _stopping(world: World) -> Iterator[None]:
    """Let a signal end the training of all processes together. Python hears of signals in the main thread alone."""
    if not isinstance(world, _Joined) or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, world.stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
