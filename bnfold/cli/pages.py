"""What only pages need: how long models run, and where the pages of several go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.errors import BnfoldError, UsageError

if TYPE_CHECKING:
    from bnfold.checking import CheckReport
    from bnfold.checking.timing import RunTimes

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


def runs_of(report: CheckReport | None, before: str, after: str | Path, how: dict[str, Any] | None) -> RunTimes | None:
    """How long a run of two models takes; None where they were not run, or are one file by now.

    Args:
        report: their check.
        before: the path of the original.
        after: that of the other model.
        how: the options of the check.
    """
    if not report or how is None or os.path.samefile(before, after):
        return None
    from bnfold.checking.settings import Settings
    from bnfold.checking.timing import time_runs

    settings = Settings(data=tuple(how["data"] or ()), shapes=how["shapes"], seed=how["seed"], tf32=how["tf32"])
    try:
        return time_runs(before, after, report.comparisons[0].matchup.after, settings)
    except BnfoldError:  # it runs without onnxruntime's rewriting, which is enough for a proof, and not with it
        return None
