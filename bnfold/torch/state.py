"""The best state of a module so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import Module

from bnfold.torch.scores import Score


@dataclass
class Best:
    """Keeps a copy of the best state.

    Attributes:
        score: what the state scored.
        epoch: after how many epochs it was there; 0 for the start.
        state: the state, by the names that it has in the module.
    """

    score: Score
    epoch: int
    state: Mapping[str, Tensor]

    @classmethod
    def of(cls, module: Module, score: Score) -> Best:
        """The state that a training starts from."""
        return cls(score, 0, _copied(module))

    def offer(self, module: Module, score: Score, epoch: int) -> bool:
        """Keep the module's state if it is better; whether it is."""
        if not score.is_better_than(self.score):
            return False
        self.score, self.epoch, self.state = score, epoch, _copied(module)
        return True

    def restore(self, module: Module) -> None:
        """Put the best state into the module."""
        module.load_state_dict(self.state)


def _copied(module: Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
