"""Branches. A loop has no translation: how often it runs, and what it gathers, would be for the graph to say."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.values import Context, Host, number


@operator("If", 1, 11, 13, 16, 19, 21, 23, 24, 25, numbers=(0,))
def _if(spec: Spec) -> Run:
    """The branch that runs is the one that trains."""
    branches = {True: spec.body("then_branch"), False: spec.body("else_branch")}

    def run(context: Context, condition: Tensor | Host) -> tuple[Any, ...]:
        return tuple(branches[bool(number(condition))].run(context))

    return run
