"""Operators that only put elements elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from bnfold.torch.axes import axes_of, squeezed, unsqueezed
from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.values import Context, Host, integers, number
from bnfold.torch.windows import padded


@operator("Flatten", 1, 9, 11, 13, 21, 23, 24, 25)
def _flatten(spec: Spec) -> Run:
    axis = spec.get("axis", 1)

    def run(_: Context, x: Tensor) -> Tensor:
        at = axis + x.ndim if axis < 0 else axis
        return x.reshape(prod(x.shape[:at]), prod(x.shape[at:]))

    return run


@operator("Reshape", 1, 5, 13, 14, 19, 21, 23, 24, 25, numbers=(1,))
def _reshape(spec: Spec) -> Run:
    """Zero stands for the input's size at that axis unless `allowzero`, -1 for what is left."""
    fixed: list[int] = spec.get("shape") if spec.version < 5 else []
    keeps_zero = bool(spec.get("allowzero", 0)) if spec.version >= 14 else False

    def run(_: Context, x: Tensor, shape: Tensor | Host | None = None) -> Tensor:
        wanted = fixed if shape is None else integers(shape)
        if not keeps_zero:
            wanted = [x.shape[k] if isinstance(n, int) and n == 0 else n for k, n in enumerate(wanted)]
        return x.reshape(wanted)

    return run


@operator("Transpose", 1, 13, 21, 23, 24, 25)
def _transpose(spec: Spec) -> Run:
    perm = spec.get("perm")
    return lambda _, x: x.permute(list(range(x.ndim))[::-1] if perm is None else perm)


@operator("Squeeze", 1, 11, 13, 21, 23, 24, 25, numbers=(1,))
def _squeeze(spec: Spec) -> Run:
    axes = axes_of(spec, input_since=13)
    return lambda _, x, given=None: x.reshape(squeezed(x.shape, axes(given)))


@operator("Unsqueeze", 1, 11, 13, 21, 23, 24, 25, numbers=(1,))
def _unsqueeze(spec: Spec) -> Run:
    axes = axes_of(spec, input_since=13)
    return lambda _, x, given=None: x.reshape(unsqueezed(x.shape, axes(given) or []))


@operator("Concat", 4, 11, 13)
def _concat(spec: Spec) -> Run:
    axis = spec.get("axis")
    return lambda _, *xs: torch.cat(xs, axis)


@operator("Split", 2, 11, 13, 18, numbers=(1,))
def _split(spec: Spec) -> Run:
    """Given sizes, else as many equal pieces as there are outputs, the last one smaller from version 18 on."""
    axis = spec.get("axis", 0)
    fixed: list[int] | None = spec.get("split") if spec.version < 13 else None
    count = spec.get("num_outputs") if spec.version >= 18 else None
    pieces = count or len(spec.node.outputs)

    def run(_: Context, x: Tensor, given: Tensor | Host | None = None) -> tuple[Tensor, ...]:
        said = fixed if given is None else integers(given)
        if said is not None:
            return tuple(torch.split(x, said, axis))
        size = -(-x.shape[axis] // pieces)
        cuts = [min(k * size, x.shape[axis]) for k in range(pieces + 1)]
        return tuple(x.narrow(axis, begin, end - begin) for begin, end in pairwise(cuts))

    return run


@operator("Slice", 1, 10, 11, 13, numbers=(1, 2, 3, 4))
def _slice(spec: Spec) -> Run:
    fixed = [spec.get(name) for name in ("starts", "ends", "axes")] if spec.version < 10 else []

    def run(_: Context, x: Tensor, *given: Tensor | Host | None) -> Tensor:
        lists = fixed or [None if part is None else integers(part) for part in given]
        starts, ends, axes, steps = (*lists, None, None)[:4]
        for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
            axis = axes[k] if axes else k
            x = sliced(x, axis % x.ndim, start, end, steps[k] if steps else 1)
        return x

    return run


def sliced(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    """Python's slice along one axis; torch itself takes no negative step."""
    if step > 0:
        return x[(slice(None),) * axis + (slice(start, end, step),)]
    places = range(*slice(start, end, step).indices(x.shape[axis]))
    return x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))


@operator("Gather", 1, 11, 13, numbers=(1,))
def _gather(spec: Spec) -> Run:
    """A negative index counts from the end."""
    axis = spec.get("axis", 0)

    def run(context: Context, x: Tensor, indices: Tensor | Host) -> Tensor:
        if isinstance(indices, Host) and indices.is_scalar:
            return x.select(axis, int(number(indices)))
        places: Tensor = context.tensor(indices)
        at = axis % x.ndim
        found = x.index_select(at, counted_from_front(places, x.shape[at]).reshape(-1))
        return found.reshape([*x.shape[:at], *places.shape, *x.shape[at + 1 :]])

    return run


def counted_from_front(places: Tensor, size: int) -> Tensor:
    """The indices with the negative ones counted from the front, in int64."""
    wide = places.to(torch.int64)
    return torch.where(wide < 0, wide + size, wide)


@operator("Pad", 2, 11, 13, 18, 19, 21, 23, 24, 25, numbers=(1, 2, 3))
def _pad(spec: Spec) -> Run:
    """Negative pads cut off, in every mode."""
    mode = spec.get("mode", "constant")
    spec.refuse_unless(mode in {"constant", *_PLACES}, f"has a mode '{mode}' that has no translation to torch")
    fixed: list[int] = spec.get("pads") if spec.version < 11 else []
    fixed_value = spec.get("value", 0.0) if spec.version < 11 else 0.0

    def run(
        _: Context,
        x: Tensor,
        pads: Tensor | Host | None = None,
        value: Tensor | Host | None = None,
        axes: Tensor | Host | None = None,
    ) -> Tensor:
        given = fixed if pads is None else integers(pads)
        chosen = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in integers(axes)]
        around = [(0, 0)] * x.ndim
        for k, axis in enumerate(chosen):
            around[axis] = (given[k], given[k + len(chosen)])
        if mode == "constant":
            return padded(x, around, fixed_value if value is None else number(value))
        return _taken(x, around, mode)

    return run


def _reflected(places: Tensor, size: int) -> Tensor:
    """Back and forth, the ends not repeated."""
    period = max(2 * (size - 1), 1)
    folded = places % period
    return torch.where(folded < size, folded, period - folded)


_PLACES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "reflect": _reflected,
    "edge": lambda places, size: places.clamp(0, size - 1),
    "wrap": lambda places, size: places % size,
}


def _taken(x: Tensor, around: Sequence[tuple[int, int]], mode: str) -> Tensor:
    """The tensor, its axes made longer by elements of its own."""
    for axis, (begin, end) in enumerate(around):
        if begin or end:
            places = torch.arange(-begin, x.shape[axis] + end, device=x.device)
            x = x.index_select(axis, _PLACES[mode](places, x.shape[axis]))
    return x
