"""What a training step of `bnfold.torch.to_module` costs beside the same network written in torch.

    python benchmarks/training_step.py            # two minutes on a quiet machine; results/training_step.txt
    python benchmarks/training_step.py --quick    # a few seconds

A step is: gradients to None, forward, cross-entropy, backward, SGD with momentum. Both modules begin with the same
weights and take steps in turns, with one thread, whose processor time is taken, so that a busy machine harms little.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from machine import processor
from timing import Ratio, Times, ratio
from torch import Tensor, nn

from bnfold.torch import to_module

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import networks
import torch_networks
from export import export_model

SECONDS, QUICK_SECONDS = 20.0, 0.5
"""What the measuring of a network may take."""
WARM, LEAST_ROUNDS = 5, 9
LEAST_SAMPLE = 5e-3
"""Seconds that a sample takes at least: shorter steps are repeated within it."""

Step = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """A network.

    Attributes:
        build: makes it.
        shape: of its input, without the batch.
        batch: how many rows.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int = 64


CASES = {
    "the source's CNN, 8x8": Case(networks.source_cnn_bn_first, (1, 8, 8)),
    "the source's CNN, 28x28": Case(lambda: _source_cnn_large(), (1, 28, 28)),
    "residual, 8x8": Case(networks.residual, (1, 8, 8)),
    "residual, 32x32": Case(networks.residual, (1, 32, 32)),
    "MLP, 64 wide": Case(networks.mlp, (64,)),
    "MLP, 1024 wide": Case(lambda: _wide_mlp(), (1024,)),
    "transformer with BN, 8x8": Case(torch_networks.Attention, (3, 8, 8)),
    "transformer with BN, 64x64": Case(torch_networks.Attention, (3, 64, 64)),
}


def _source_cnn_large() -> nn.Module:
    """The source's network for images of 28x28."""
    body = list(networks.source_cnn_bn_first().children())[:-1]
    return nn.Sequential(*body, nn.Linear(64 * 24 * 24, 10))


def _wide_mlp() -> nn.Module:
    layers = [(nn.Linear(1024, 1024), nn.BatchNorm1d(1024), nn.ReLU()) for _ in range(3)]
    return nn.Sequential(*(layer for each in layers for layer in each), nn.Linear(1024, 10))


def pair(case: Case) -> tuple[nn.Module, nn.Module]:
    """The network as torch has it, and as bnfold makes it of its export, both in training mode."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.manual_seed(0)
        network = case.build()
        model = export_model(copy.deepcopy(network), "x", case.shape)
    return network.train(), to_module(model).train()


def examples(case: Case, classes: int) -> tuple[Tensor, Tensor]:
    """Standard normal inputs and drawn labels."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(case.batch, *case.shape, generator=generator)
    return inputs, torch.randint(classes, (case.batch,), generator=generator)


def stepper(module: nn.Module, inputs: Tensor, labels: Tensor) -> Step:
    """A function that makes one training step."""
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(module(inputs), labels))
        optimizer.step()

    return step


def interleaved(steps: tuple[Step, ...], seconds: float) -> Times:
    """Seconds of processor time per step, ``[len(steps), rounds]``; each round begins with another."""
    for _ in range(WARM):
        for step in steps:
            step()
    repeats = max(1, int(LEAST_SAMPLE / min(_sample(step, 1) for step in steps)))
    rounds: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < LEAST_ROUNDS or time.perf_counter() < end:
        order = sorted(range(len(steps)), key=lambda index: (index + len(rounds)) % len(steps))
        taken = {index: _sample(steps[index], repeats) for index in order}
        rounds.append([taken[index] for index in range(len(steps))])
    return np.array(rounds).T


def _sample(step: Step, repeats: int) -> float:
    begin = time.thread_time()
    for _ in range(repeats):
        step()
    return (time.thread_time() - begin) / repeats


def measured(case: Case, seconds: float) -> tuple[Times, Ratio]:
    """The times of torch's and of bnfold's, and the ratio of the second to the first."""
    own, made = pair(case)
    with torch.no_grad():
        classes = own(examples(case, 1)[0]).shape[1]
    given = examples(case, classes)
    times = interleaved((stepper(own, *given), stepper(made, *given)), seconds)
    return times, ratio(times[1], times[0])


def rows(only: str, seconds: float) -> Iterator[str]:
    """A line per network."""
    for name, case in CASES.items():
        if only in name:
            times, found = measured(case, seconds)
            torch_ms, own_ms = np.median(times, axis=1) * 1e3
            spread = f"{found.median:.3f} ({found.low:.3f}-{found.high:.3f})"
            yield f"{name:28} {torch_ms:9.3f} {own_ms:9.3f}   {spread:22} {found.best:.3f}  {times.shape[1]}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="half a second per network")
    parser.add_argument("--only", default="", metavar="TEXT", help="networks whose name contains it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "onnx", "numpy"))
    print(f"{time.strftime('%Y-%m-%d')}; {versions}, Python {platform.python_version()}; {processor()}")
    print(f"one thread; load of the machine at the start {os.getloadavg()[0]:.1f}; batches of 64")
    print(f"\n{'network':28} {'torch ms':>9} {'bnfold ms':>9}   {'ratio (quartiles)':22} best   rounds")
    for row in rows(given.only, QUICK_SECONDS if given.quick else SECONDS):
        print(row, flush=True)


if __name__ == "__main__":
    main()
