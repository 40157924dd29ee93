"""A console on what is no terminal, which mostly is to show a few sentences."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from bnfold.report.printable import printable

if TYPE_CHECKING:
    from bnfold.cli.screen import Screen

UNWRAPPED = 10_000
"""Columns of what is no terminal: a name that is looked for with grep stands on one line."""


class Piped:
    """Prints texts without markup by itself, and all else by way of a `Screen`.

    That needs rich, which takes as long to import as a small model to fold.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        """A quiet one shows nothing."""
        self._quiet = quiet

    @property
    def is_terminal(self) -> bool:
        """Whether it is to be as on one, which rich knows how to ask for."""
        return self._screen.is_terminal

    @property
    def width(self) -> int:
        """Its columns."""
        return self._screen.width

    def print(self, *objects: Any, markup: bool | None = None) -> None:  # noqa: ANN401 - as rich's
        """Print, and let it be seen at once.

        Raises:
            typer.Exit: who was reading has seen enough.
        """
        if self._quiet:
            return
        if markup is not False or len(objects) != 1 or not isinstance(objects[0], str):
            self._screen.print(*objects, markup=markup)
            return
        try:
            print(printable(objects[0]), flush=True)
        except BrokenPipeError:
            raise typer.Exit(1) from None

    @cached_property
    def _screen(self) -> Screen:
        from bnfold.cli.screen import Screen

        return Screen(highlight=False, emoji=False, soft_wrap=True, width=UNWRAPPED)
