"""How a command that makes a model ends: the result is proved where it lies, and then put in its place."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bnfold.cli.console import showing_progress

if TYPE_CHECKING:
    from rich.console import Console

    from bnfold.checking import CheckReport
    from bnfold.model.writing import Staged


class Result(Protocol):
    """What a command has made: it can be written in two steps."""

    def staged(self, path: str | os.PathLike[str]) -> AbstractContextManager[Staged]:
        """The file is there to be looked at, and in its place only after ``commit()``."""


def beside(model: str, kind: str) -> Path:
    """Where a result goes unless it is said: ``m.onnx`` becomes ``m.<kind>.onnx``."""
    path = Path(model)
    return path.with_name(f"{path.name.removesuffix('.onnx')}.{kind}.onnx")


def write(result: Result, target: Path) -> None:
    """Write a result without a proof."""
    with result.staged(target) as work:
        work.commit()


def write_proved(
    console: Console, result: Result, target: Path, before: str, how: dict[str, Any], *, must: bool = True
) -> CheckReport:
    """Compare a result with the original, and put it in its place if they are equal.

    Args:
        console: shows the proof.
        result: what was made.
        target: its place.
        before: the path of the original.
        how: options of `bnfold.check`.
        must: whether they have to be equal; else the comparison is only shown.
    """
    from bnfold import report as reports
    from bnfold.checking import check as compare

    with result.staged(target) as work:
        with showing_progress() as progress:
            report = compare(before, work.model, progress=progress, **how)
        reports.check_text(console, report)
        if report or not must:
            work.commit()
        return report
