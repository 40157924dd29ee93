"""The commands, each imported when it is the one that runs: a call pays for nothing that another command needs."""

from __future__ import annotations

import signal
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from bnfold.cli.signals import Ended

SUMMARIES = {
    "fold": "Fold BatchNormalizations into the weights around them, prove the result equal, and write it.",
    "check": "Run two models on the same inputs, and say whether they compute the same.",
    "inspect": "Show every affine of a graph: what `fold` would do with it, and why.",
    "insert": "Put BatchNormalizations behind linear operators, for training, and prove that the function is the same.",
    "calibrate": "Estimate the statistics of every BatchNormalization anew, and make each an inference node.",
    "train": "Insert, train, calibrate and fold; write the trained model and its fold, proved equal. Needs torch.",
}
"""What the help says of each command; the first lines of their docstrings, which are not imported for it."""


class LazyCommand(TyperCommand):
    """A command that is only its name and summary, until it is called: function `x` of the module `bnfold.cli.x`."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401
        """As click's own, of the real command. click's types have another home from typer 0.26 on."""
        assert self.name is not None
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(self.name)(getattr(import_module(f"bnfold.cli.{self.name}"), self.name))
        return typer.main.get_command(alone).make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """The group of all of them."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - what typer makes a group of
        super().__init__(**attributes)
        for name, summary in SUMMARIES.items():
            self.add_command(LazyCommand(name, short_help=summary))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own
        """As ever; but that Ctrl-C reaches `bnfold.cli.main`, whatever this version of typer makes of it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Ended(signal.SIGINT) from None
