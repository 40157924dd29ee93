"""`bnfold check`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bnfold.cli import options as shared
from bnfold.cli.console import look_at_reports, open_console, protect
from bnfold.cli.pages import runs_of
from bnfold.cli.progress import showing_progress
from bnfold.cli.targets import refuse_reading_again
from bnfold.errors import DifferenceFound
from bnfold.report.clock import Clock

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
    html: shared.Html = None,
) -> None:
    """Run two models on the same inputs, and say whether they compute the same."""
    from bnfold import report as reports
    from bnfold.checking import check as compare

    protect((Path(before), Path(after)), json, junit, html)
    look_at_reports(json, junit, html)
    for model in (before, after):
        refuse_reading_again(model, "the check")
    clock, how = Clock(), shared.how_to_check(shape, data=data, seed=seed, tf32=tf32)
    with clock.timing("check"), showing_progress("loading") as progress:
        report = compare(
            before,
            after,
            provider=provider,
            **how,
            draws=draws,
            rtol=rtol,
            atol=atol,
            allow_vacuous=allow_vacuous,
            optimized=optimized,
            locate=locate or bool(html),
            reference=reference,
            progress=progress,
        )
    shown = report if locate else replace(report, location=None)  # a page has it whether or not the text does
    reports.check_text(open_console(quiet="-" in (json, html)), shown)
    if json:
        reports.write_json(reports.check_document(report, before=before, after=after), json)
    if junit:
        reports.write_junit(shown, junit, before=before, after=after)
    if html:
        name = f"{Path(before).name} against {Path(after).name}"
        models = {"before": before, "after": after}
        runs = runs_of(report, before, after, how)
        reports.write_page(reports.check_page(report, name=name, **models, clock=clock, runs=runs), html)
    if not report:
        raise DifferenceFound(reports.describe_failure(report))
