"""Where the pages of several models go: a folder, with one for each and one of all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bnfold.errors import UsageError

INDEX = "index.html"


def pages_of(models: Sequence[str], html: str | None) -> list[Path | None]:
    """The place of each model's page in the folder that was named; none where none was.

    Models of one name, from different folders, get numbers.

    Raises:
        UsageError: what was named is no folder.
    """
    if not html:
        return [None] * len(models)
    if html == "-" or html.endswith((".html", ".htm")) or os.path.isfile(html):
        raise UsageError(
            f"--html names one page, '{html}', and there are {len(models)} models; name a folder for theirs"
        )
    taken = {INDEX}
    return [Path(html, _free(Path(model).name.removesuffix(".onnx"), taken)) for model in models]


def _free(stem: str, taken: set[str]) -> str:
    """A file name that no other page has, on a system that does not tell large letters from small ones either."""
    number = 1
    name = f"{stem}.html"
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}.html"
    taken.add(name.lower())
    return name
