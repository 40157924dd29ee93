"""How a command that makes a model ends: the result is proved where it lies, and then put in its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bnfold.cli.console import showing_progress
from bnfold.errors import ModelError

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
    console: Console,
    result: Result,
    target: Path,
    before: str,
    how: dict[str, Any],
    *,
    written: Result | None = None,
) -> CheckReport:
    """Compare a result with the original, and put it in its place if they are equal.

    Args:
        console: shows the proof.
        result: what was made.
        target: its place.
        before: the path of the original.
        how: options of `bnfold.check`.
        written: another form of the result, to be written in its stead.
    """
    from bnfold import report as reports
    from bnfold.checking import check as compare

    with result.staged(target) as work:
        with showing_progress() as progress:
            report = compare(before, work.model, progress=progress, **how)
        reports.check_text(console, report)
        if report and written is None:
            work.commit()
    if report and written is not None:
        write(written, target)
    return report


def write_run(result: Result, target: Path, feeds: Mapping[str, Any] | None) -> None:
    """Put a result in its place that computes something else than the original on purpose, if it runs.

    Args:
        result: what was made.
        target: its place.
        feeds: inputs to run it on; None for drawn ones.

    Raises:
        ModelError: it can not be run, or gives something that is not finite.
    """
    import numpy as np

    from bnfold.checking.feeding import feed
    from bnfold.checking.settings import Settings
    from bnfold.checking.subject import Subject

    with result.staged(target) as work:
        new = Subject(work.model, "the new model")
        session = new.session()
        outputs = session.run(feed(new, session, Settings()).feeds[0] if feeds is None else feeds)
        for name, array in outputs.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ModelError(f"output '{name}' of the new model is not finite; nothing was written")
        work.commit()
