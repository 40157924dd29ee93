"""When a training can not come to anything any more: a number that was finite is not finite now."""

from __future__ import annotations

from math import isfinite

import torch

from bnfold.errors import UsageError
from bnfold.torch.module import GraphModule
from bnfold.torch.recipe import Recipe
from bnfold.torch.scores import Score


class Diverged(UsageError):
    """A training diverged; the text says where, how, and what to try."""


class Health:
    """Knows what was finite at the start: a mask of minus infinity may be a parameter, and stays one.

    Args:
        module: as it starts.
        recipe: how it is trained.
        start: the validation score before the first step.
    """

    def __init__(self, module: GraphModule, recipe: Recipe, start: Score) -> None:
        self._module, self._recipe = module, recipe
        self._infinite = set(_infinite(module))
        self._is_measured = isfinite(start.loss)

    def refuse_loss(self, value: float, step: int, epoch: int) -> None:
        """Look at the loss of a batch.

        Raises:
            Diverged: it is not finite.
        """
        if not isfinite(value):
            raise Diverged(self._sentence(f"the loss is {value:g} in step {step} of epoch {epoch}"))

    def complaint(self, validation: Score, epoch: int) -> str | None:
        """Look at the state after an epoch: why the training diverged; None where nothing says that it did."""
        lost = [name for name in _infinite(self._module) if name not in self._infinite]
        if lost:
            return self._sentence(f"'{lost[0]}' is not finite after epoch {epoch}")
        if self._is_measured and not isfinite(validation.loss):
            return self._sentence(f"the validation loss is {validation.loss:g} after epoch {epoch}")
        return None

    def _sentence(self, found: str) -> str:
        return (
            f"the training diverged: {found}; try a lower --lr than {self._recipe.rate:g}, a larger --batch-size, or "
            "--include-classifier, and look for extreme values in the data"
        )


def _infinite(module: GraphModule) -> list[str]:
    """The initializers of the state that hold NaN or an infinity."""
    state = module.state_dict().items()
    return [module.onnx_names.get(name, name) for name, tensor in state if not bool(torch.isfinite(tensor).all())]
