"""A console on which names of models do nothing but stand there."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from bnfold.report.printable import printable


class Screen(Console):
    """A console that shows texts as they are, and obeys nothing in them but markup."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - rich's own
        """The text with its markup, made printable."""
        return super().render_str(printable(text), **options)
