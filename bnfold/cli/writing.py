"""How a command that makes a model ends: the result is proved where it lies, and then put in its place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.cli.options import form_of
from bnfold.cli.progress import showing_progress

if TYPE_CHECKING:
    from bnfold.checking import CheckReport
    from bnfold.model.savable import Savable
    from bnfold.report.console import Console

AS_IT_CAME = form_of(None)


def beside(model: str, kind: str) -> Path:
    """Where a result goes unless it is said: ``m.onnx`` becomes ``m.<kind>.onnx``."""
    path = Path(model)
    return path.with_name(f"{path.name.removesuffix('.onnx')}.{kind}.onnx")


def write(console: Console, result: Savable, target: Path, form: str = AS_IT_CAME) -> None:
    """Write a result without a proof."""
    with showing_progress(f"writing {target}"):
        remarks = result.save(target, form)
    _remark(console, remarks)


def _remark(console: Console, remarks: Sequence[str]) -> None:
    if not remarks:
        return
    from rich.markup import escape

    for remark in remarks:
        console.print(f"  [cyan]note[/] {escape(remark)}")


def write_proved(
    console: Console,
    result: Savable,
    target: Path,
    before: str,
    how: dict[str, Any],
    *,
    written: Savable | None = None,
    form: str = AS_IT_CAME,
    inputs: str = "",
) -> CheckReport:
    """Compare a result with the original, and put it in its place if they are equal.

    Args:
        console: shows the proof.
        result: what was made.
        target: its place.
        before: the path of the original.
        how: options of `bnfold.check`.
        written: another form of the result, to be written in its stead.
        form: where its weights go.
        inputs: what they are called, where their file is a temporary one.
    """
    from bnfold import report as reports
    from bnfold.checking import check as compare

    with ExitStack() as stack:
        with showing_progress(f"writing {target}") as progress:
            work = stack.enter_context(result.staged(target, form))
            report = _called(inputs, compare(before, work.model, progress=progress, **how))
        reports.check_text(console, replace(report, location=None))  # what a page is made of is no text
        if report and written is None:
            work.commit()
            _remark(console, work.remarks)
    if report and written is not None:
        write(console, written, target, form)
    return report


def write_sound(
    console: Console, result: Savable, target: Path, how: dict[str, Any], *, inputs: str = ""
) -> CheckReport:
    """Put a result in its place that computes something else than the original on purpose, if it is sound.

    It is compared with itself, without onnxruntime's rewriting and as deployed: it has to run, twice alike, and to give
    what is finite and depends on the inputs.

    Args:
        console: shows the proof.
        result: what was made.
        target: its place.
        how: options of `bnfold.check`.
        inputs: what they are called, where their file is a temporary one.
    """
    from bnfold import report as reports
    from bnfold.checking import check as compare

    with ExitStack() as stack:
        with showing_progress(f"writing {target}") as progress:
            work = stack.enter_context(result.staged(target))
            report = _called(inputs, compare(work.model, work.model, optimized=True, progress=progress, **how))
        reports.check_text(console, replace(report, location=None))
        if report:
            work.commit()
            _remark(console, work.remarks)
        return report


def _called(inputs: str, report: CheckReport) -> CheckReport:
    return replace(report, data=(inputs,)) if inputs else report
