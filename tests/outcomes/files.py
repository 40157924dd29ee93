"""The text as it was agreed on, and as it is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from outcomes.models import SECTIONS
from outcomes.telling import told

CHUNK = 10


def path_of(section: str) -> Path:
    """The file of a section."""
    return Path(__file__).with_name(f"{section}.txt")


def entries(section: str, start: int = 0, stop: int | None = None) -> Iterator[list[str]]:
    """The lines of each model, as they are now."""
    for label, model in islice(SECTIONS[section](), start, stop):
        yield list(told(label, model))


def agreed(section: str) -> list[list[str]]:
    """The lines of each model, as they are in the file."""
    found: list[list[str]] = []
    for line in path_of(section).read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            found.append([])
        found[-1].append(line)
    return found
