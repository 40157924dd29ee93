"""What must hold of examples, wherever they come from: as many targets as inputs, and numbers, finite ones."""

from __future__ import annotations

from collections.abc import Mapping
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


def refuse_rows(shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Every array has a row per example.

    Raises:
        UsageError: one has no rows, or another number of them.
    """
    for name, shape in shapes.items():
        if not shape:
            raise UsageError(f"'{name}' in {where} is a single value, and examples are arrays [rows, ...]")
    if len({shape[0] for shape in shapes.values()}) > 1:
        told = ", ".join(f"{shape[0]} in '{name}'" for name, shape in shapes.items())
        raise UsageError(f"the arrays in {where} have different numbers of rows ({told})")


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
