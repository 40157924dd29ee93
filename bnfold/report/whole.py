"""What is reported goes to its place in one step, as a model does: what was there stays until the new one is whole."""

from __future__ import annotations

from pathlib import Path

from bnfold.model.staging import replacing, target_errors


def write_whole(content: bytes, target: str) -> None:
    """Write a file.

    Raises:
        TargetError: it can not be written.
    """
    with target_errors(target):
        place = Path(target)
        if place.exists() and not place.is_file():
            place.write_bytes(content)  # a device or a pipe, which nothing can take the place of
            return
        with replacing(target) as file:
            file.write(content)
