"""Text for a terminal: names come from models, and a terminal obeys what they may hold."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text on one line, with escapes in the places of all that is not to be seen.

    Those are control characters, ends of lines, and what turns the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode("ascii") for mark in text)
