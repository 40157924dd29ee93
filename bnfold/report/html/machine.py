"""What made the page: how long it took, with which versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from bnfold._version import __version__
from bnfold.report.clock import Clock
from bnfold.report.html.markup import Markup, joined
from bnfold.report.html.page import Section, listed, paragraphs
from bnfold.report.html.tables import Cell, number, table

if TYPE_CHECKING:
    from bnfold.checking.timing import RunTimes

_PACKAGES = ("onnx", "numpy", "ml_dtypes")


def timings_section(clock: Clock | None, runs: RunTimes | None = None) -> Section | None:
    """How long the steps took, and a run of each model; None where nobody has measured."""
    if clock is None or not clock.seconds:
        return None
    rows: list[list[Cell]] = [[doing, number(seconds, ".3f")] for doing, seconds in clock.seconds.items()]
    steps = table("What bnfold did", ("step", "seconds"), rows)
    return Section("timings", "Timings", joined(None if runs is None else _runs(runs), steps))


def _runs(runs: RunTimes) -> Markup:
    milliseconds = [number(1000 * seconds, ".3g") for seconds in (runs.before, runs.after)]
    rows: list[list[Cell]] = [["before", milliseconds[0]], ["after", milliseconds[1]]]
    words = (
        f"One run on {', '.join(runs.inputs)}, with onnxruntime's own rewriting on, as deployed: the median of "
        f"{runs.runs}, in turn. onnxruntime folds some normalizations itself while it loads a model; "
        "and what else this machine did is in the figures."
    )
    return joined(paragraphs(words), table(f"A run on {runs.provider}", ("model", "milliseconds"), rows))


def versions_section(versions: Mapping[str, str] | None, remarks: Sequence[str]) -> Section:
    """The versions of everything that has a say in the result, and remarks.

    Args:
        versions: of what ran the models; None where they were not run.
        remarks: what a person should know besides.
    """
    own = {"bnfold": __version__, "Python": platform.python_version()}
    packages = {name: metadata.version(name) for name in _PACKAGES}
    rows: list[list[Cell]] = [[name, version] for name, version in {**own, **packages, **(versions or {})}.items()]
    system = f"{platform.system()} {platform.machine()}"
    body = joined(listed(remarks), table(f"Versions, on {system}", ("package", "version"), rows))
    return Section("versions", "Notes and versions" if remarks else "Versions", body)
