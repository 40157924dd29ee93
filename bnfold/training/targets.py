"""What may be a target: numbers, finite ones, in rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnfold.errors import UsageError
from bnfold.model.tensors import Array

TARGET = "target"
"""The name of the array that holds what should come of the inputs."""


def refuse_kind(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Targets are numbers.

    Raises:
        UsageError: they are none, or no array of rows.
    """
    if dtype.kind not in "iuf" or not shape:
        raise UsageError(f"'{TARGET}' in {where} has to be an array of numbers [rows, ...], not {dtype}{list(shape)}")


def target_type(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which targets are given: float32, or whole numbers, in this machine's order of bytes for torch."""
    common = np.result_type(*dtypes)
    return np.dtype(np.float32) if common.kind == "f" else common.newbyteorder("=")


def not_finite(array: Array) -> int | None:
    """The first row of an array [rows, ...] that has NaN or an infinity; None where none has."""
    finite = np.isfinite(array)
    if finite.all():
        return None
    return int(np.flatnonzero(~finite.reshape(len(array), -1).all(axis=1))[0])
