"""Results as text for people, and as documents for machines."""

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
from bnfold.report.insertion import calibrate_text, insert_text, sites_table
from bnfold.report.junit import write_junit
from bnfold.report.training import epoch_json, epoch_line, step_words, train_json, train_text

__all__ = [
    "SCHEMA",
    "calibrate_json",
    "calibrate_text",
    "check_document",
    "check_json",
    "check_table",
    "check_text",
    "describe_failure",
    "describe_kept",
    "describe_settlement",
    "epoch_json",
    "epoch_line",
    "fold_json",
    "fold_text",
    "insert_json",
    "insert_text",
    "inspect_json",
    "inspect_text",
    "refuse_curves",
    "sites_table",
    "step_words",
    "train_json",
    "train_text",
    "write_curves",
    "write_json",
    "write_junit",
]
