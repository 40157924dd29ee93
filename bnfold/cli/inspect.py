"""`bnfold inspect`."""

from __future__ import annotations

from pathlib import Path

from bnfold.cli import options as shared
from bnfold.cli.blas import let_blas_take
from bnfold.cli.console import look_at_reports, open_console, protect
from bnfold.cli.progress import showing_progress
from bnfold.cli.targets import refuse_reading_again


def inspect(
    model: shared.Model, freeze_initializers: shared.Freeze = False, json: shared.Json = None, html: shared.Html = None
) -> None:
    """Show every affine of a graph: what `fold` would do with it, and why."""
    let_blas_take(1)
    from bnfold import report as reports
    from bnfold.api import inspect as inspect_model

    look_at_reports(json, html)
    if html:
        refuse_reading_again(model, "the page")
    with showing_progress(f"planning {Path(model).name}"):
        inspection = inspect_model(model, freeze_initializers=freeze_initializers)
    protect((Path(model),), json, html)
    reports.inspect_text(open_console(quiet="-" in (json, html)), inspection)
    if json:
        reports.write_json(reports.inspect_json(inspection, model=model), json)
    if html:
        reports.write_page(reports.inspect_page(inspection, name=Path(model).name, model=model), html)
