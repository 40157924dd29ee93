"""A batch of a caller's own, in whatever form it comes, as the model takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bnfold.errors import UsageError
from bnfold.inserting.feeds import fitted
from bnfold.model.tensors import Array
from bnfold.runtime import Port
from bnfold.torch.scores import Batch
from bnfold.training.rules import TARGET, not_finite, refuse_kind, refuse_rows, target_type


def batch_of(made: object, ports: Sequence[Port], where: str) -> Batch:
    """The arrays of a batch.

    Args:
        made: a mapping of the names of the inputs and "target" to arrays; or a pair of inputs and target, the inputs a
            mapping, or an array where the model has one. Arrays are numpy's or torch's.
        ports: the inputs of the model.
        where: what to call the batch in a message.

    Raises:
        UsageError: this is no batch, or not one of this model.
    """
    inputs, values = _parted(made, ports, where)
    fit = fitted({name: _array(name, given, where) for name, given in inputs.items()}, ports, where)
    target = _array(TARGET, values, where)
    refuse_kind(target.shape, target.dtype, where)
    refuse_rows({**{name: array.shape for name, array in fit.items()}, TARGET: target.shape}, where)
    if (bad := not_finite(target)) is not None:
        raise UsageError(f"'{TARGET}' has NaN or infinite values in row {bad} (counted from 0) of {where}")
    return Batch(
        {name: _orderly(array, array.dtype) for name, array in fit.items()}, _orderly(target, target_type(target.dtype))
    )


def _parted(made: object, ports: Sequence[Port], where: str) -> tuple[Mapping[str, object], object]:
    """Inputs and target."""
    names = [port.name for port in ports]
    if isinstance(made, Mapping):
        if TARGET not in made:
            present = ", ".join(map(repr, made)) or "nothing"
            raise UsageError(f"'{TARGET}' is missing in {where}, which holds {present}")
        return {name: made[name] for name in names if name in made}, made[TARGET]
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise UsageError(
            f"{where} is of type {type(made).__name__}; a batch is a mapping of "
            f"{', '.join(map(repr, [*names, TARGET]))} to arrays, or a pair of inputs and target"
        )
    inputs, target = made
    if isinstance(inputs, Mapping):
        return {name: inputs[name] for name in names if name in inputs}, target
    if len(names) != 1:
        raise UsageError(
            f"{where} has {type(inputs).__name__} as inputs, and the model has {', '.join(map(repr, names))}: give a "
            "mapping of their names to arrays"
        )
    return {names[0]: inputs}, target


def _array(name: str, values: object, where: str) -> Array:
    try:
        return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except (TypeError, ValueError) as error:  # a type that numpy does not have; lists of unequal lengths
        raise UsageError(f"'{name}' in {where} is no array: {error}") from error


def _orderly(array: Array, dtype: np.dtype[Any]) -> Array:
    """An array in memory as torch takes it; a copy where this one is not so, or is not to be written to."""
    return np.require(array, dtype, ["C", "A", "W"])
