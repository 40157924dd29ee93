"""The page of whatever a function of the public contract has returned."""

from __future__ import annotations

from bnfold.checking import CheckReport
from bnfold.errors import UsageError
from bnfold.folding.fold import FoldResult
from bnfold.folding.inspection import Inspection
from bnfold.inserting.insert import InsertResult
from bnfold.model.container import ModelLike
from bnfold.report.html.difference import check_page
from bnfold.report.html.folding import fold_page
from bnfold.report.html.insertion import insert_page
from bnfold.report.html.inspection import inspect_page


def page_of(
    result: object, *, check: CheckReport | None, before: ModelLike | None, after: ModelLike | None, name: str
) -> str:
    """The page of a result; `bnfold.to_html` says what the arguments are.

    Raises:
        UsageError: there are no pages of such results.
        ModelError, ExternalDataError: a model, or a weight, can not be read.
    """
    if isinstance(result, FoldResult):
        return fold_page(result, check, name=name)
    if isinstance(result, InsertResult):
        return insert_page(result, check, name=name)
    if isinstance(result, CheckReport):
        return check_page(result, name=name, before=before, after=after)
    if isinstance(result, Inspection):
        return inspect_page(result, name=name, model=before)
    return _trained(result, check, name)


def _trained(result: object, check: CheckReport | None, name: str) -> str:
    """The page of a training, whose module is imported only now: it needs no torch, and may."""
    from bnfold.training.result import TrainResult

    if not isinstance(result, TrainResult):
        raise UsageError(
            "there are pages of what bnfold.fold, check, insert, train and inspect return, and not of "
            f"{type(result).__name__}"
        )
    from bnfold.report.html.training import train_page

    return train_page(result, name=name, report=check)
