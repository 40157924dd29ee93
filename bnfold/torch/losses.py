"""What training makes small, and what counts as right: the losses that have a name, and a caller's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from bnfold.errors import UsageError
from bnfold.model.tensors import Array

Compute: TypeAlias = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss.

    Attributes:
        name: what it is called; "own" for a caller's.
        compute: from what the module gives and the target to the mean loss, a scalar that has a gradient.
        right: from the same to which predictions are right, of bool; None where there is no right and wrong.
        refuse: raises a `UsageError` where the shapes or types of an output and a target do not go together.
        limits: the least and the most that a target may be, from the shape of an output; None for no limits.
    """

    name: str
    compute: Compute
    right: Compute | None = None
    refuse: Callable[[Any, Tensor], None] = lambda output, target: None
    limits: Callable[[tuple[int, ...]], tuple[int, int]] | None = None

    def refuse_range(self, shape: tuple[int, ...], target: Array, where: str) -> None:
        """Look at all targets at once: a rare label would show late.

        Args:
            shape: of an output.
            target: the targets.
            where: what to call the data they are of.

        Raises:
            UsageError: there are some that the loss does not take.
        """
        if self.limits is None:
            return
        least, most = self.limits(shape)
        low, high = target.min(), target.max()
        if low < least or high > most:
            raise UsageError(
                f"{self.name} takes targets of {least} to {most} beside this model's outputs {list(shape)}, and those "
                f"of {where} are {low:g} to {high:g}"
            )


def loss_of(chosen: str | Compute) -> Loss:
    """The loss of that name, or a caller's function of output and target.

    Raises:
        UsageError: there is none of that name.
    """
    if not isinstance(chosen, str):
        return Loss("own", _scalar(chosen))
    if chosen not in LOSSES:
        raise UsageError(f"loss is one of {', '.join(LOSSES)}, or a function of output and target, not '{chosen}'")
    return LOSSES[chosen]


def _scalar(compute: Compute) -> Compute:
    """A caller's function, held to what it has to give."""

    def checked(output: Any, target: Tensor) -> Tensor:  # noqa: ANN401 (whatever the graph gives)
        loss = compute(output, target)
        if not isinstance(loss, Tensor) or loss.ndim:
            found = _words(loss) if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"the loss has to give a tensor without axes, such as a mean, and gave {found}")
        return loss

    return checked


def _cross_entropy_fits(output: Any, target: Tensor) -> None:  # noqa: ANN401 (whatever the graph gives)
    """Scores [N, C, ...] and labels [N, ...]."""
    _refuse_several(output)
    if output.ndim < 2 or target.dtype != torch.int64 or target.shape != (output.shape[0], *output.shape[2:]):
        raise UsageError(
            f"cross-entropy takes scores [N, classes] and whole-number labels [N]; the model gives {_words(output)} "
            f"and the target is {_words(target)}"
        )


def _same_shape(output: Any, target: Tensor) -> None:  # noqa: ANN401
    """A [N] target beside an output [N, 1] would be broadcast to [N, N], and train towards the mean."""
    _refuse_several(output)
    if output.shape != target.shape:
        raise UsageError(
            f"the target has to have the shape of the output: the model gives {_words(output)} and the target is "
            f"{_words(target)}"
        )


def _refuse_several(output: Any) -> None:  # noqa: ANN401
    if not isinstance(output, Tensor):
        raise UsageError(
            f"the model has {len(output)} outputs, and a loss with a name takes one: give your own, from Python"
        )


def _words(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


LOSSES = {
    "cross-entropy": Loss(
        "cross-entropy",
        F.cross_entropy,
        lambda output, target: output.argmax(1) == target,
        _cross_entropy_fits,
        lambda shape: (0, shape[1] - 1 if len(shape) > 1 else 0),
    ),
    "mse": Loss("mse", lambda output, target: F.mse_loss(output, target.to(output.dtype)), None, _same_shape),
    "bce": Loss(
        "bce",
        lambda output, target: F.binary_cross_entropy_with_logits(output, target.to(output.dtype)),
        lambda output, target: (output > 0) == (target > 0.5),
        _same_shape,
        lambda shape: (0, 1),
    ),
}
"""By name. Cross-entropy and bce take logits: a graph that ends before its softmax or sigmoid."""
