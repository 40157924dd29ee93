"""One set of inputs from a Python caller, held against what the model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bnfold.errors import UsageError
from bnfold.runtime import FLOATS, Port
from bnfold.runtime.axes import axis_key
from bnfold.runtime.inputs import STRING, type_of

Feeds: TypeAlias = Mapping[str, npt.NDArray[Any]]


def fitted(feeds: Feeds, ports: Sequence[Port], where: str) -> Feeds:
    """The arrays for the inputs of a model; further ones, such as labels, are left out.

    Args:
        feeds: an array per input. Where the model is fixed to a batch, a multiple of it is as well.
        ports: the inputs.
        where: which set of the data this is, for messages.

    Raises:
        UsageError: this is no mapping, an array is missing, has another element type or shape, or is not finite; or
            axes that are one symbol of the model have several sizes.
    """
    if not isinstance(feeds, Mapping):
        raise UsageError(
            f"{where} is of type {type(feeds).__name__}; a set of inputs is a mapping of names to arrays, such as "
            "{'x': array}"
        )
    arrays = {port.name: _array(port, feeds, where) for port in ports}
    known: dict[str, tuple[int, str]] = {}
    for port in ports:
        _require_shape(port, arrays[port.name], fixed_batch(ports), where)
        _require_same(port, arrays[port.name], known, where)
    refuse_not_finite(arrays, where)
    return arrays


def fixed_batch(ports: Sequence[Port]) -> int | None:
    """The size of the first axis of all inputs, where it is fixed and the same."""
    found = {port.shape[0] if port.shape else None for port in ports}
    size = found.pop() if len(found) == 1 else None
    return size if isinstance(size, int) and size > 0 else None


def refuse_not_finite(feeds: Feeds, where: str) -> None:
    """Statistics of what is not finite are not finite.

    Raises:
        UsageError: an array holds NaN or an infinity.
    """
    for name, array in feeds.items():
        if array.dtype.name in FLOATS and not np.isfinite(array).all():
            raise UsageError(f"input '{name}' has NaN or infinite values in {where}")


def _array(port: Port, feeds: Feeds, where: str) -> npt.NDArray[Any]:
    if port.name not in feeds:
        present = ", ".join(map(repr, feeds)) or "nothing"
        raise UsageError(f"input '{port.name}' is missing in {where}, which holds {present}")
    try:
        array = np.asarray(feeds[port.name])
    except ValueError as error:  # lists of unequal lengths
        raise UsageError(f"input '{port.name}' in {where} is no array: {error}") from error
    if type_of(array.dtype) != port.dtype and not (port.dtype == STRING and array.dtype == object):
        raise UsageError(
            f"input '{port.name}' in {where} has the wrong type: expected {port.dtype}, got {type_of(array.dtype)}"
        )
    if port.dtype == STRING:
        return array.astype(object)
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def _require_shape(port: Port, array: npt.NDArray[Any], batch: int | None, where: str) -> None:
    """Fixed axes are as they should be; the first one may hold several batches."""
    if not port.shape:  # a scalar, or an unknown rank
        return
    sizes = array.shape
    if batch is not None and sizes and sizes[0] and sizes[0] % batch == 0:
        sizes = (batch, *sizes[1:])
    wrong = len(sizes) != len(port.shape) or any(
        isinstance(size, int) and size != other for size, other in zip(port.shape, sizes, strict=True)
    )
    if wrong or 0 in array.shape:
        expected = ", ".join("?" if size is None else str(size) for size in port.shape)
        raise UsageError(
            f"input '{port.name}' in {where} has the wrong shape: expected [{expected}], got {list(array.shape)}"
        )


def _require_same(port: Port, array: npt.NDArray[Any], known: dict[str, tuple[int, str]], where: str) -> None:
    """Axes that bear one symbol have one size."""
    for axis, size in enumerate(port.shape):
        if isinstance(size, int):
            continue
        key = axis_key(port, axis)
        first, owner = known.setdefault(key, (array.shape[axis], port.name))
        if first != array.shape[axis]:
            raise UsageError(
                f"'{key}' is {first} in input '{owner}' and {array.shape[axis]} in input '{port.name}' in {where}"
            )
