"""What texts for people are printed on."""

from __future__ import annotations

from typing import Any, Protocol


class Console(Protocol):
    """What reports need of a console: rich's own has it, and so has one that does without rich where it can."""

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks, or it is to be as if."""

    @property
    def width(self) -> int:
        """Its columns."""

    def print(self, *objects: Any, markup: bool | None = None) -> None:  # noqa: ANN401 - rich prints anything
        """Print texts, and what rich draws; a text has no markup where that is False."""
