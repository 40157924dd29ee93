"""What made the page: how long it took, with which versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata

from bnfold._version import __version__
from bnfold.report.clock import Clock
from bnfold.report.html.markup import joined
from bnfold.report.html.page import Section, listed
from bnfold.report.html.tables import Cell, number, table

_PACKAGES = ("onnx", "numpy", "ml_dtypes")


def timings_section(clock: Clock | None) -> Section | None:
    """How long the steps took; None where nobody has measured."""
    if clock is None or not clock.seconds:
        return None
    rows: list[list[Cell]] = [[doing, number(seconds, ".3f")] for doing, seconds in clock.seconds.items()]
    return Section("timings", "Timings", table("What bnfold did", ("step", "seconds"), rows))


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
