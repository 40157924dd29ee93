"""A page goes to its place in one step, as a model does: what was there stays until the new one is whole."""

from __future__ import annotations

import sys
from pathlib import Path

from bnfold.model.staging import replacing, target_errors


def write_page(text: str, target: str) -> None:
    """Write a page to a file, or to stdout for ``-``.

    Raises:
        TargetError: the file can not be written.
    """
    if target == "-":
        sys.stdout.write(text)
        return
    with target_errors(target):
        place = Path(target)
        if place.exists() and not place.is_file():
            place.write_bytes(text.encode())  # a device or a pipe, which nothing can take the place of
            return
        with replacing(target) as file:
            file.write(text.encode())
