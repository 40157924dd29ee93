"""Results as text for people, and as documents for machines.

A part is imported when something of it is asked for: a fold without a check needs no onnxruntime, which the report of a
check does, and a command takes as long as what it imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnfold.report.checks import check_table, check_text, describe_failure
    from bnfold.report.curves import refuse_curves, write_curves
    from bnfold.report.documents import (
        SCHEMA,
        calibrate_json,
        check_document,
        check_json,
        fold_json,
        insert_json,
        inspect_json,
        write_json,
    )
    from bnfold.report.folding import describe_kept, describe_settlement, fold_text, inspect_text
    from bnfold.report.html.difference import check_page
    from bnfold.report.html.folding import fold_page
    from bnfold.report.html.insertion import insert_page
    from bnfold.report.html.inspection import inspect_page
    from bnfold.report.html.several import many_page
    from bnfold.report.html.training import train_page
    from bnfold.report.html.writing import write_page
    from bnfold.report.insertion import calibrate_text, insert_text, sites_text
    from bnfold.report.junit import write_junit
    from bnfold.report.training import epoch_json, epoch_line, step_words, train_json, train_text

_PARTS = {
    "checks": ("check_table", "check_text", "describe_failure"),
    "curves": ("refuse_curves", "write_curves"),
    "documents": (
        "SCHEMA",
        "calibrate_json",
        "check_document",
        "check_json",
        "fold_json",
        "insert_json",
        "inspect_json",
        "write_json",
    ),
    "folding": ("describe_kept", "describe_settlement", "fold_text", "inspect_text"),
    "html.difference": ("check_page",),
    "html.folding": ("fold_page",),
    "html.insertion": ("insert_page",),
    "html.inspection": ("inspect_page",),
    "html.several": ("many_page",),
    "html.training": ("train_page",),
    "html.writing": ("write_page",),
    "insertion": ("calibrate_text", "insert_text", "sites_text"),
    "junit": ("write_junit",),
    "training": ("epoch_json", "epoch_line", "step_words", "train_json", "train_text"),
}
_PART_OF = {name: part for part, names in _PARTS.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (of whatever type it is there)
    if name not in _PART_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PART_OF[name]}"), name)


__all__ = [
    "SCHEMA",
    "calibrate_json",
    "calibrate_text",
    "check_document",
    "check_json",
    "check_page",
    "check_table",
    "check_text",
    "describe_failure",
    "describe_kept",
    "describe_settlement",
    "epoch_json",
    "epoch_line",
    "fold_json",
    "fold_page",
    "fold_text",
    "insert_json",
    "insert_page",
    "insert_text",
    "inspect_json",
    "inspect_page",
    "inspect_text",
    "many_page",
    "refuse_curves",
    "sites_text",
    "step_words",
    "train_json",
    "train_page",
    "train_text",
    "write_curves",
    "write_json",
    "write_junit",
    "write_page",
]
