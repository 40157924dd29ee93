"""bnfold: BatchNormalization in ONNX graphs. Fold it, and prove that nothing else changed.

    >>> import bnfold
    >>> result = bnfold.fold("model.onnx")  # doctest: +SKIP
    >>> result.save("model.folded.onnx")    # doctest: +SKIP

Nothing heavy is imported before it is needed: ``import bnfold`` costs neither onnx nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bnfold._version import __version__

if TYPE_CHECKING:
    from bnfold.api import assert_equivalent, calibrate, check, fold, insert, inspect, to_html, train
    from bnfold.checking import CheckReport, Comparison, Matchup, OutputComparison
    from bnfold.errors import (
        BnfoldError,
        DifferenceFound,
        ExternalDataError,
        ModelError,
        NormalizationsStayed,
        RuntimeUnavailable,
        TargetError,
        UsageError,
    )
    from bnfold.folding.fold import FoldResult
    from bnfold.folding.inspection import AffineInfo, Inspection
    from bnfold.folding.rounds import Folded, Kept, Settlement
    from bnfold.inserting.calibrate import CalibrateResult
    from bnfold.inserting.estimates import Calibrated
    from bnfold.inserting.insert import Inserted, InsertResult
    from bnfold.inserting.sites import Skipped
    from bnfold.training.result import TrainResult

__all__ = [
    "AffineInfo",
    "BnfoldError",
    "CalibrateResult",
    "Calibrated",
    "CheckReport",
    "Comparison",
    "DifferenceFound",
    "ExternalDataError",
    "FoldResult",
    "Folded",
    "InsertResult",
    "Inserted",
    "Inspection",
    "Kept",
    "Matchup",
    "ModelError",
    "NormalizationsStayed",
    "OutputComparison",
    "RuntimeUnavailable",
    "Settlement",
    "Skipped",
    "TargetError",
    "TrainResult",
    "UsageError",
    "__version__",
    "assert_equivalent",
    "calibrate",
    "check",
    "fold",
    "insert",
    "inspect",
    "to_html",
    "train",
]

_HOMES = {
    "bnfold.api": ("assert_equivalent", "calibrate", "check", "fold", "insert", "inspect", "to_html", "train"),
    "bnfold.checking": ("CheckReport", "Comparison", "Matchup", "OutputComparison"),
    "bnfold.errors": (
        "BnfoldError",
        "DifferenceFound",
        "ExternalDataError",
        "ModelError",
        "NormalizationsStayed",
        "RuntimeUnavailable",
        "TargetError",
        "UsageError",
    ),
    "bnfold.folding.fold": ("FoldResult",),
    "bnfold.folding.rounds": ("Folded", "Kept", "Settlement"),
    "bnfold.folding.inspection": ("AffineInfo", "Inspection"),
    "bnfold.inserting.calibrate": ("CalibrateResult",),
    "bnfold.inserting.estimates": ("Calibrated",),
    "bnfold.inserting.insert": ("InsertResult", "Inserted"),
    "bnfold.inserting.sites": ("Skipped",),
    "bnfold.training.result": ("TrainResult",),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (any public name)
    """Import a public name when it is first asked for (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(home), name)
            globals()[name] = value
            return value
    if name in ("torch", "passes"):  # rooms of their own, which are there where torch or onnx_ir is
        return importlib.import_module(f"bnfold.{name}")
    raise AttributeError(f"module 'bnfold' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
