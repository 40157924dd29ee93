"""`bnfold check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnfold.cli import options as shared
from bnfold.cli.console import open_console, protect, showing_progress
from bnfold.errors import DifferenceFound

Before = Annotated[str, typer.Argument(metavar="BEFORE", help="The original, an ONNX file.")]
After = Annotated[str, typer.Argument(metavar="AFTER", help="The ONNX file to be proven equal to it.")]
Junit = Annotated[str | None, typer.Option("--junit", metavar="FILE", help="Write the outcome as JUnit XML.")]


def check(
    before: Before,
    after: After,
    provider: shared.Provider = "cpu",
    data: shared.Data = None,
    shape: shared.Shape = None,
    seed: shared.Seed = 0,
    draws: Annotated[int, typer.Option(help="How many sets of inputs to draw.")] = 3,
    rtol: shared.Rtol = None,
    atol: shared.Atol = None,
    allow_vacuous: shared.AllowVacuous = False,
    optimized: shared.Optimized = False,
    tf32: shared.Tf32 = False,
    locate: Annotated[
        bool, typer.Option("--locate", help="Find the first tensor inside the graphs that differs.")
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(metavar="float64", help="Evaluate both graphs in float64, and show each model's distance."),
    ] = None,
    json: shared.Json = None,
    junit: Junit = None,
) -> None:
    """Run two models on the same inputs, and say whether they compute the same."""
    from bnfold import report as reports
    from bnfold.checking import check as compare

    protect((Path(before), Path(after)), json, junit)
    with showing_progress() as progress:
        report = compare(
            before,
            after,
            provider=provider,
            data=data,
            **shared.how_to_check(shape),
            seed=seed,
            draws=draws,
            rtol=rtol,
            atol=atol,
            allow_vacuous=allow_vacuous,
            optimized=optimized,
            tf32=tf32,
            locate=locate,
            reference=reference,
            progress=progress,
        )
    reports.check_text(open_console(quiet=json == "-"), report)
    if json:
        reports.write_json(reports.check_document(report, before=before, after=after), json)
    if junit:
        reports.write_junit(report, junit, before=before, after=after)
    if not report:
        raise DifferenceFound(reports.describe_failure(report))
