"""Markup of which nothing that comes from a model can become a part: all text is escaped where it is put in."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

from bnfold.report.printable import printable

LONGEST = 2000
"""Characters of one text on the page; a name may have a hundred thousand."""

VOID = frozenset({"meta", "link", "br", "path", "rect", "line", "circle", "polyline"})
"""Elements that are written without an end, those of SVG closed by themselves."""


class Markup(str):
    """Text that is markup already. Whatever is not of this type is escaped."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"
Attribute: TypeAlias = "str | int | float | bool | None"


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """An element.

    Args:
        name: what it is called.
        children: texts, which are escaped, and markup; None and empty ones leave nothing.
        attributes: by name; a trailing ``_`` goes, other ones become ``-``. None and False leave the attribute out,
            True is one without a value.
    """
    start = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}"
    if name in VOID:
        return Markup(start + "/>")
    return Markup(f"{start}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Markup:
    """Several pieces, one after the other."""
    return Markup("".join(_rendered(child) for child in children))


def clipped(text: str, most: int) -> str:
    """A text of at most `most` characters; of one that is longer the beginning and, as it tells more, the end."""
    if len(text) <= most:
        return text
    end = (most - 1) * 2 // 3
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_escaped(str(value))}"'


def _rendered(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return str(child)
    if isinstance(child, str):
        return _escaped(child)
    return "".join(_rendered(entry) for entry in child)


def _escaped(text: str) -> str:
    """Nothing of it is markup, is invisible, or turns the direction of writing."""
    whole = len(text)
    if whole > LONGEST:
        text = f"{clipped(text, LONGEST)} ({whole} characters)"
    return escape(printable(text))
