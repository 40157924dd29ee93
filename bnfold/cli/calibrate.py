"""`bnfold calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnfold.cli import options as shared
from bnfold.cli.console import look_at_reports, open_console, protect
from bnfold.cli.data import batches_for, first_of, name_of_first
from bnfold.cli.progress import showing_progress
from bnfold.cli.writing import beside, write_sound
from bnfold.errors import DifferenceFound


def calibrate(
    model: shared.Model,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="Where to write; by default <name>.calibrated.onnx."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="INPUTS.npz", help="The inputs to take the statistics over.")
    ] = None,
    batch_size: shared.BatchSize = None,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential/--one-pass", help="Level by level, so that each sees inputs that are calibrated already."
        ),
    ] = True,
    keep_statistics: Annotated[
        bool,
        typer.Option("--keep-statistics", help="Only make inference nodes of those in training mode."),
    ] = False,
    allow_vacuous: shared.AllowVacuous = False,
    json: shared.Json = None,
) -> None:
    """Estimate the statistics of every BatchNormalization anew, and make each an inference node."""
    from bnfold import report as reports
    from bnfold.inserting.calibrate import CalibrateOptions
    from bnfold.inserting.calibrate import calibrate as calibrate_model

    target = Path(output) if output else beside(model, "calibrated")
    protect((Path(model),), target, json)
    look_at_reports(json)
    options = CalibrateOptions(sequential=sequential and not keep_statistics, keep_statistics=keep_statistics)
    with showing_progress(f"calibrating {Path(model).name}") as progress:
        batches = batches_for(model, data, batch_size, progress)
        result = calibrate_model(model, batches, options)
    protect(result.container.files, target, json)
    console = open_console(quiet=json == "-")
    reports.calibrate_text(console, result, name=Path(model).name)
    with first_of(batches) as first:
        how = {"data": first, "allow_vacuous": allow_vacuous}
        report = write_sound(console, result, target, how, inputs=name_of_first(data))
    if report:
        console.print(f"wrote {target}", markup=False)
    if json:
        output = str(target) if report else None
        reports.write_json(reports.calibrate_json(result, report, model=model, output=output), json)
    if not report:
        raise DifferenceFound(f"nothing was written: {reports.describe_failure(report)}")
