"""Branches. A loop has no translation: how often it runs, and what it gathers, would be for the graph to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnfold.torch.program import Program
from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.values import Context, Host, number


@operator("If", 1, 11, 13, 16, 19, 21, 23, 24, 25, numbers=(0,))
def _if(spec: Spec) -> Run:
    """The branch that runs is the one that trains."""
    return _Branches(spec.body("then_branch"), spec.body("else_branch"))


@dataclass(frozen=True, eq=False)
class _Branches:
    """Both programs; no closure, so that a copy of the module has copies of them."""

    then: Program
    otherwise: Program

    def __call__(self, context: Context, condition: Tensor | Host) -> tuple[Any, ...]:
        return tuple((self.then if number(condition) else self.otherwise).run(context))
