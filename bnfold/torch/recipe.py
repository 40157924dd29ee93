"""How a module is trained: the numbers that a caller may choose, and the optimizer that they make."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from bnfold.errors import RuntimeUnavailable, UsageError
from bnfold.torch.module import GraphModule

RATES = {"sgd": 0.05, "adam": 1e-3, "adamw": 1e-3}
"""The learning rate of each optimizer unless it is said."""

DECAYS = {"sgd": 1e-4, "adam": 0.0, "adamw": 1e-2}
"""Its weight decay unless it is said."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes:
        optimizer: "sgd", "adam" or "adamw".
        lr: the learning rate at the start, from which it goes to 0 along a cosine; None for the optimizer's own.
        momentum: of sgd (Nesterov's is not used), and the first beta of the other two.
        weight_decay: of parameters of two axes and more; biases, scales and biases of normalizations have none.
        epochs: how often to go through the training data.
        seed: of all random numbers; the same one gives the same result on the CPU.
        device: "cpu", "cuda" or "cuda:N".
        synchronize: of several processes, whether a BatchNormalization normalizes by the batch of all of them.

    Raises:
        UsageError: one of them makes no sense.
    """

    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    epochs: int = 10
    seed: int = 0
    device: str = "cpu"
    synchronize: bool = True

    def __post_init__(self) -> None:
        if self.optimizer not in RATES:
            raise UsageError(f"optimizer is one of {', '.join(RATES)}, not '{self.optimizer}'")
        if not 0 < self.rate < float("inf"):
            raise UsageError(f"the learning rate has to be a number above 0, not {self.rate:g}")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum has to be at least 0 and less than 1, not {self.momentum:g}")
        if not 0 <= self.decay < float("inf"):
            raise UsageError(f"weight decay has to be 0 or more, not {self.decay:g}")
        if self.seed < 0:
            raise UsageError(f"a seed is 0 or more, not {self.seed}")
        if self.epochs < 1:
            raise UsageError(f"a training has 1 epoch or more, not {self.epochs}")

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        return RATES[self.optimizer] if self.lr is None else self.lr

    @property
    def decay(self) -> float:
        """The weight decay."""
        return DECAYS[self.optimizer] if self.weight_decay is None else self.weight_decay


def device_of(recipe: Recipe) -> torch.device:
    """The device to train on.

    Raises:
        UsageError: it is neither the CPU nor CUDA.
        RuntimeUnavailable: torch sees no such device.
    """
    kind, _, number = recipe.device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise UsageError(f"device is cpu, cuda or cuda:N, not '{recipe.device}'")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise RuntimeUnavailable(
            f"torch {torch.__version__} sees no device '{recipe.device}': it needs an NVIDIA driver and a build of "
            "torch for CUDA; --device cpu works everywhere"
        )
    return torch.device(recipe.device)


def optimizer_for(module: GraphModule, recipe: Recipe) -> Optimizer:
    """The optimizer of all parameters that are not frozen."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": recipe.decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=recipe.rate, momentum=recipe.momentum)
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return kind(groups, lr=recipe.rate, betas=(recipe.momentum, 0.999))
