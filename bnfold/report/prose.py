"""Sentences on a terminal: broken between words, and set in under their first line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

INDENT = 2
"""Columns by which a line that goes on is set in further."""


def lines_of(text: Text, width: int) -> Iterator[Text]:
    """The text in lines of that width at most. A word that is longer, as a path may be, stays whole to be copied."""
    from rich.text import Text

    indent = len(text.plain) - len(text.plain.lstrip(" "))
    breaks = list(_breaks(text.plain, width, indent + INDENT))
    for number, line in enumerate(text.divide(breaks)):
        line.rstrip()
        yield line if number == 0 else Text(" " * (indent + INDENT)).append_text(line)


def _breaks(text: str, width: int, indent: int) -> Iterator[int]:
    """Where lines end: in front of the first word that does not fit."""
    from rich.cells import cell_len

    used = 0
    for match in re.finditer(r" *[^ ]+", text):
        size, word = cell_len(match[0]), match[0].lstrip(" ")
        if used and used + size > width:
            yield match.end() - len(word)
            used = indent + cell_len(word)
        else:
            used += size
