"""Results as JSON for machines. It is stable: `SCHEMA` rises when it changes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

from bnfold._version import __version__

if TYPE_CHECKING:
    from bnfold.checking import CheckReport, Comparison
    from bnfold.checking.location import Location
    from bnfold.folding.fold import FoldResult
    from bnfold.folding.inspection import Inspection
    from bnfold.inserting.calibrate import CalibrateResult
    from bnfold.inserting.insert import InsertResult
    from bnfold.runtime import Placement

SCHEMA = 2


def fold_json(result: FoldResult, report: CheckReport | None, *, model: str, output: str | None) -> dict[str, Any]:
    """The whole outcome of a fold.

    Args:
        result: what was folded and what stayed.
        report: the proof, None when none was made.
        model: the path that was read.
        output: the path that was written, None when nothing was.
    """
    return {
        **_header(model),
        "output": output,
        "folded": [asdict(folded) for folded in result.folded],
        "kept": [asdict(kept) for kept in result.kept],
        "settled": [asdict(settled) for settled in result.settled],
        "remarks": list(result.remarks),
        "check": None if report is None else check_json(report),
    }


def inspect_json(inspection: Inspection, *, model: str) -> dict[str, Any]:
    """Every affine of a model."""
    return {**_header(model), "affines": [asdict(info) for info in inspection]}


def insert_json(result: InsertResult, report: CheckReport | None, *, model: str, output: str | None) -> dict[str, Any]:
    """The whole outcome of an insertion; the arguments are those of `fold_json`."""
    return {
        **_header(model),
        "output": output,
        "inserted": [asdict(entry) for entry in result.inserted],
        "skipped": [asdict(entry) for entry in result.skipped],
        "remarks": list(result.remarks),
        "check": None if report is None else check_json(report),
    }


def calibrate_json(result: CalibrateResult, report: CheckReport, *, model: str, output: str | None) -> dict[str, Any]:
    """The whole outcome of a calibration; the arguments are those of `fold_json`."""
    return {
        **_header(model),
        "output": output,
        "calibrated": [asdict(entry) for entry in result.calibrated],
        "skipped": [asdict(entry) for entry in result.skipped],
        "remarks": list(result.remarks),
        "check": check_json(report),
    }


def check_document(report: CheckReport, *, before: str, after: str) -> dict[str, Any]:
    """The whole outcome of a check.

    Args:
        report: the check.
        before: the path of the original.
        after: the path of the other model.
    """
    return {"schema": SCHEMA, "bnfold": __version__, "before": before, "after": after, **check_json(report)}


def check_json(report: CheckReport) -> dict[str, Any]:
    """A check, with the verdicts that the dataclasses compute; nodes are counted by operator."""
    fields = asdict(report)
    comparisons = [_comparison_json(comparison) for comparison in report.comparisons]
    truths = [{**asdict(truth), "ok": truth.ok} for truth in report.truths]
    location = None if report.location is None else _location_json(report.location)
    return {"equal": bool(report), **fields, "comparisons": comparisons, "truths": truths, "location": location}


def _location_json(location: Location) -> dict[str, Any]:
    return {"sentence": location.sentence, **asdict(location)}


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    outputs = [
        {**asdict(output), "equal": output.equal, "ok": output.ok, "needed": output.needed}
        for output in comparison.outputs
    ]
    return {
        "provider_before": comparison.matchup.before,
        "provider_after": comparison.matchup.after,
        "optimized": comparison.matchup.optimized,
        "placement_before": _counted(comparison.placement_before),
        "placement_after": _counted(comparison.placement_after),
        "outputs": outputs,
    }


def _counted(placement: Placement) -> dict[str, dict[str, int]]:
    return {provider: dict(sorted(Counter(nodes).items())) for provider, nodes in placement.items()}


def _header(model: str) -> dict[str, Any]:
    return {"schema": SCHEMA, "bnfold": __version__, "model": model}


def write_json(document: dict[str, Any], target: str) -> None:
    """Write a document to a file, or to stdout for ``-``. What is not finite is written as null.

    Raises:
        TargetError: the file can not be written.
    """
    text = json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    from bnfold.report.whole import write_whole  # not for who only wants `SCHEMA`: it imports what writes models

    write_whole(text.encode(), target)


def _finite(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
