"""The axes of inputs that a graph leaves open, by name, and the sizes that a caller gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from bnfold.errors import UsageError
from bnfold.runtime.sessions import Port

# What exporters (Paddle, Keras) write for "any size", at axes that have nothing to do with each other.
_NO_SYMBOLS = frozenset({"", "?", "-1", "None"})


def axis_key(port: Port, axis: int) -> str:
    """The name of an open axis: its symbol, or `"input[axis]"` where the model gives none."""
    symbol = port.shape[axis]
    return symbol if isinstance(symbol, str) and symbol not in _NO_SYMBOLS else f"{port.name}[{axis}]"


def open_axes(ports: Iterable[Port]) -> dict[str, int]:
    """The names of all open axes in graph order, each with the first place at which it stands in an input."""
    found: dict[str, int] = {}
    for port in ports:
        for axis, size in enumerate(port.shape):
            if not isinstance(size, int):
                key = axis_key(port, axis)
                found[key] = min(axis, found.get(key, axis))
    return found


def shape_of(port: Port, sizes: Mapping[str, int], default: int = 1) -> tuple[int, ...]:
    """The shape of an input.

    Args:
        port: The input. Where its shape is empty its rank may be unknown: then it has the axes that `sizes` names.
        sizes: Sizes by `axis_key`.
        default: The size of an open axis that has none.
    """
    if not port.shape:
        return tuple(sizes[f"{port.name}[{axis}]"] for axis in range(_rank_given(port, sizes)))
    return tuple(
        size if isinstance(size, int) else sizes.get(axis_key(port, axis), default)
        for axis, size in enumerate(port.shape)
    )


def parse_shapes(text: str) -> dict[str, int]:
    """Read sizes as a command line gives them.

    Args:
        text: Such as `"N=4,H=224"`; `"x=1x3x224x224"` gives all axes of an input, as `"x[0]=1,x[1]=3,..."` does.

    Raises:
        UsageError: It is no such list, or a size is not a number of 1 or more.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.rpartition("="))
        if not name or not re.fullmatch(r"-?[0-9]+(x[0-9]+)*", value):
            raise UsageError(f"{part.strip()!r} gives no size; write NAME=SIZE[,NAME=SIZE...] or INPUT=SIZExSIZEx...")
        numbers = [int(number) for number in value.split("x")]
        keys = [name] if len(numbers) == 1 else [f"{name}[{axis}]" for axis in range(len(numbers))]
        for key, number in zip(keys, numbers, strict=True):
            _enter(found, key, _checked(key, number), key)
    return found


def given_sizes(ports: Sequence[Port], given: Mapping[str, int]) -> dict[str, int]:
    """Sizes that a caller gives, by `axis_key`.

    Args:
        ports: The inputs of the graph.
        given: By the name of a symbol, by `"input[axis]"`, or by the name of an input that has one axis.

    Raises:
        UsageError: There is no such axis, it is fixed to another size, it gets two sizes, or a size is below 1.
    """
    found: dict[str, int] = {}
    for name, size in given.items():
        _checked(name, size)
        key = _key(name, size, ports)
        if key is not None:
            _enter(found, key, size, name)
    return found


def _key(name: str, size: int, ports: Sequence[Port]) -> str | None:
    """The open axis that a caller means; `None` for one that is fixed, to the very same size."""
    axes = open_axes(ports)
    if name in axes:
        return name
    port, axis = _place(name, ports)
    if port is None or (port.shape and axis >= len(port.shape)):
        raise UsageError(f"no axis is called {name!r}; {_open_in_words(ports)}")
    if not port.shape:
        return f"{port.name}[{axis}]"  # a scalar, or an unknown rank: onnxruntime does not say which
    fixed = port.shape[axis]
    if not isinstance(fixed, int):
        return axis_key(port, axis)
    if fixed != size:
        raise UsageError(f"axis {axis} of input {port.name!r} is fixed to {fixed} and can not be {size}")
    return None


def _place(name: str, ports: Sequence[Port]) -> tuple[Port | None, int]:
    """The input and the axis that `"input[axis]"` means, or the only axis of an input."""
    by_name = {port.name: port for port in ports}
    if name in by_name and len(by_name[name].shape) <= 1:
        return by_name[name], 0
    spelled = re.fullmatch(r"(.*)\[([0-9]+)\]", name, re.DOTALL)
    return (by_name.get(spelled[1]), int(spelled[2])) if spelled else (None, 0)


def _enter(found: dict[str, int], key: str, size: int, name: str) -> None:
    if found.setdefault(key, size) != size:
        raise UsageError(f"{name!r} is given two sizes, {found[key]} and {size}")


def _checked(name: str, size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UsageError(f"the size of {name!r} has to be a whole number of 1 or more, not {size!r}")
    return size


def _open_in_words(ports: Sequence[Port]) -> str:
    axes = open_axes(ports)
    return f"the open axes are {', '.join(axes)}" if axes else "the model leaves none open"


def _rank_given(port: Port, sizes: Mapping[str, int]) -> int:
    rank = 0
    while f"{port.name}[{rank}]" in sizes:
        rank += 1
    return rank
