"""`bnfold inspect`."""

from __future__ import annotations

from pathlib import Path

from bnfold.cli import options as shared
from bnfold.cli.console import open_console, protect


def inspect(model: shared.Model, freeze_initializers: shared.Freeze = False, json: shared.Json = None) -> None:
    """Show every affine of a graph: what `fold` would do with it, and why."""
    from bnfold import report as reports
    from bnfold.api import inspect as inspect_model

    inspection = inspect_model(model, freeze_initializers=freeze_initializers)
    protect((Path(model),), json)
    reports.inspect_text(open_console(quiet=json == "-"), inspection)
    if json:
        reports.write_json(reports.inspect_json(inspection, model=model), json)
