"""Runs of a model on inputs that are drawn from what its graph says: what a change to its form has to stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import EncodeError
from onnx import ModelProto

from bnfold.errors import ModelError
from bnfold.inserting.statistics import Feeds
from bnfold.model.container import Container
from bnfold.runtime import Session, draw_inputs, find_sizes, hints_of, implied_sizes, open_session

Array = npt.NDArray[Any]

SEED = 0

_NEAR = {1: 0.0, 2: 5e-2, 4: 1e-4, 8: 1e-10}
"""By the bytes of a float: what other block sizes of the same sums make of deep networks, beside the largest value."""


def opened(container: Container, model: ModelProto) -> Session:
    """A session of a model on the CPU, with graph optimisation off.

    Raises:
        ModelError: onnxruntime can not load it; the text carries its reason.
    """
    try:
        content = bytes(model.SerializeToString())
    except (ValueError, EncodeError) as error:
        raise ModelError(
            f"{container.name} is too large for one message; save its weights as external data: {error}"
        ) from error
    return open_session(content, label=container.name, base_dir=container.base_dir)


def drawn(session: Session, model: ModelProto, count: int) -> list[Feeds]:
    """Sets of inputs on which a model runs.

    Raises:
        ModelError: there are none that it runs on.
    """
    hints = hints_of(model)
    implied = implied_sizes(model, session.inputs)
    _, sizes = find_sizes(session, SEED, hints, implied=implied, given={})
    return [draw_inputs(session.inputs, seed=SEED, draw=draw, sizes=sizes, hints=hints) for draw in range(count)]


def is_same(one: Array, other: Array) -> bool:
    """Whether two results agree in type, in shape and to the last bit; NaN is NaN."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.tobytes() == other.tobytes() if one.dtype.kind != "O" else bool((one == other).all())


def is_near(one: Array, other: Array) -> bool:
    """Whether two results agree but for the order of summation."""
    if is_same(one, other):
        return True
    if one.dtype != other.dtype or one.shape != other.shape or one.dtype.kind not in "fV":
        return False
    first, second = one.astype(np.float64), other.astype(np.float64)
    known = np.isfinite(second)
    if not np.array_equal(np.isfinite(first), known) or not np.array_equal(first[~known], second[~known], True):
        return False
    largest = np.abs(second[known]).max(initial=0.0)
    return bool(np.abs(first - second)[known].max(initial=0.0) <= _NEAR.get(one.dtype.itemsize, 0.0) * largest)
