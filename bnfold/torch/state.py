"""The best state of a module so far."""

from __future__ import annotations

from torch import Tensor
from torch.nn import Module

from bnfold.torch.scores import Score


class Best:
    """Keeps a copy of the best state.

    Attributes:
        score: what the state scored.
        epoch: after how many epochs it was there; 0 for the start.
    """

    def __init__(self, module: Module, score: Score) -> None:
        self.score, self.epoch = score, 0
        self._state = _copied(module)

    def offer(self, module: Module, score: Score, epoch: int) -> bool:
        """Keep the module's state if it is better; whether it is."""
        if not score.is_better_than(self.score):
            return False
        self.score, self.epoch, self._state = score, epoch, _copied(module)
        return True

    def restore(self, module: Module) -> None:
        """Put the best state into the module."""
        module.load_state_dict(self._state)


def _copied(module: Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
