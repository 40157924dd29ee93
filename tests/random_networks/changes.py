"""What is done to a network: folds, insertions and calibrations, one after the other in many ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from onnx import ModelProto
from support import Feeds

import bnfold
from bnfold.folding.fold import FoldResult
from bnfold.inserting.calibrate import CalibrateResult
from bnfold.inserting.insert import InsertResult

Result: TypeAlias = FoldResult | InsertResult | CalibrateResult
Given: TypeAlias = ModelProto | bytes | Path


@dataclass(frozen=True)
class Change:
    """One call of bnfold.

    Attributes:
        make: the call.
        keeps: whether the function of the network stays.
        needs_data: whether it looks at data, and so needs onnxruntime.
    """

    make: Callable[[Given, Sequence[Feeds]], Result]
    keeps: bool
    needs_data: bool


CHANGES: dict[str, Change] = {
    "fold": Change(lambda m, _: bnfold.fold(m), keeps=True, needs_data=False),
    "fold, no batchnorm": Change(lambda m, _: bnfold.fold(m, prefer="no-batchnorm"), keeps=True, needs_data=False),
    "insert": Change(lambda m, _: bnfold.insert(m), keeps=True, needs_data=False),
    "insert everywhere": Change(
        lambda m, _: bnfold.insert(m, include_classifier=True, position="after-activation"),
        keeps=True,
        needs_data=False,
    ),
    "insert, measured": Change(lambda m, d: bnfold.insert(m, list(d)), keeps=True, needs_data=True),
    "insert, reset": Change(lambda m, d: bnfold.insert(m, list(d), reset=True), keeps=False, needs_data=True),
    "calibrate": Change(lambda m, d: bnfold.calibrate(m, list(d), sequential=False), keeps=False, needs_data=True),
    "calibrate, level by level": Change(lambda m, d: bnfold.calibrate(m, list(d)), keeps=False, needs_data=True),
    "keep statistics": Change(lambda m, _: bnfold.calibrate(m, keep_statistics=True), keeps=False, needs_data=False),
}
FOLDS = ("fold", "fold, no batchnorm")
IDENTITIES = ("insert", "insert everywhere")
CALIBRATIONS = ("calibrate", "calibrate, level by level")

WAYS: tuple[tuple[str, ...], ...] = (
    ("fold",),
    ("fold, no batchnorm",),
    ("insert", "fold"),
    ("insert everywhere", "fold"),
    ("keep statistics", "fold"),
    ("calibrate", "fold"),
    ("calibrate, level by level", "fold"),
    ("insert, measured", "fold"),
    ("insert, reset", "fold"),
    ("fold", "insert", "fold"),
    ("insert", "calibrate, level by level", "fold"),
    ("insert, measured", "calibrate", "fold"),
    ("calibrate", "insert, measured", "fold, no batchnorm"),
    ("insert everywhere", "calibrate", "fold"),
    ("fold", "insert, measured", "calibrate", "fold"),
    ("fold", "insert, reset", "fold"),
    ("calibrate", "fold", "fold, no batchnorm"),
)


def needs_data(way: Sequence[str]) -> bool:
    return any(CHANGES[name].needs_data for name in way)
