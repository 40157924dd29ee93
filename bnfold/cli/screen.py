"""A console on which names of models do nothing but stand there."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from bnfold.report.printable import printable
from bnfold.report.prose import lines_of


class Screen(Console):
    """A console that shows texts as they are, and obeys nothing in them but markup; on a terminal it breaks lines."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - rich's own
        """The text with its markup, made printable."""
        return super().render_str(printable(text), **options)

    def print(self, *objects: Any, markup: bool | None = None, **options: Any) -> None:  # noqa: ANN401 - rich's own
        """Print; a sentence on a terminal is broken between words."""
        if not self.is_terminal or len(objects) != 1 or not isinstance(objects[0], str):
            super().print(*objects, markup=markup, **options)
            return
        text = self.render_str(objects[0], markup=markup is not False)
        for line in lines_of(text, self.width):
            super().print(line, **options)
