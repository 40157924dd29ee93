"""A page to where it is asked for."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from bnfold.report.whole import write_whole


def write_page(text: str, target: str) -> None:
    """Write a page to a file, or to stdout for ``-``.

    Raises:
        TargetError: the file can not be written.
    """
    if target == "-":
        _show(text)
    else:
        write_whole(text.encode(), target)


def _show(text: str) -> None:
    """Write to stdout, as UTF-8 whatever the terminal takes: that is what the page says of itself."""
    if not isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
