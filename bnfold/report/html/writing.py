"""A page goes to its place in one step, as a model does: what was there stays until the new one is whole."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path

from bnfold.model.staging import replacing, target_errors


def write_page(text: str, target: str) -> None:
    """Write a page to a file, or to stdout for ``-``.

    Raises:
        TargetError: the file can not be written.
    """
    if target == "-":
        _show(text)
        return
    with target_errors(target):
        place = Path(target)
        if place.exists() and not place.is_file():
            place.write_bytes(text.encode())  # a device or a pipe, which nothing can take the place of
            return
        with replacing(target) as file:
            file.write(text.encode())


def _show(text: str) -> None:
    """Write to stdout, as UTF-8 whatever the terminal takes: that is what the page says of itself."""
    if not isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
