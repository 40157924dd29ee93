"""Operators that look elements up, put them somewhere, or count."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bnfold.torch.operators_layout import counted_from_front
from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.stored import dtype_of
from bnfold.torch.values import Context, Host, integers, number

REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
"""ONNX's names for what becomes of elements that meet in one place, and torch's."""


def _extreme(function: Callable[..., Tensor]) -> Callable[[Spec], Run]:
    def build(spec: Spec) -> Run:
        axis, keep = spec.get("axis", 0), bool(spec.get("keepdims", 1))
        takes_last = bool(spec.get("select_last_index", 0)) if spec.version >= 12 else False

        def run(_: Context, x: Tensor) -> Tensor:
            place = function(x.flip(axis) if takes_last else x, axis, keepdim=keep)
            return torch.sub(x.shape[axis] - 1, place) if takes_last else place

        return run

    return build


operator("ArgMax", 1, 11, 12, 13, is_differentiable=False)(_extreme(torch.argmax))
operator("ArgMin", 1, 11, 12, 13, is_differentiable=False)(_extreme(torch.argmin))


@operator("TopK", 10, 11, 24, numbers=(1,))
def _top_k(spec: Spec) -> Run:
    """Of equal elements the one with the lower index comes first, which torch.topk does not promise."""
    axis = spec.get("axis", -1)
    descending = bool(spec.get("largest", 1)) if spec.version >= 11 else True
    if spec.version >= 11:
        spec.get("sorted")  # any order would do, so the sorted one does

    def run(_: Context, x: Tensor, k: Tensor | Host) -> tuple[Tensor, Tensor]:
        values, places = torch.sort(x, dim=axis, descending=descending, stable=True)
        count = int(number(k))
        return values.narrow(axis, 0, count), places.narrow(axis, 0, count)

    return run


@operator("GatherElements", 11, 13, fixed=(1,))
def _gather_elements(spec: Spec) -> Run:
    axis = spec.get("axis", 0)
    return lambda _, x, places: torch.gather(x, axis, counted_from_front(places, x.shape[axis]))


@operator("GatherND", 11, 12, 13, fixed=(1,))
def _gather_nd(spec: Spec) -> Run:
    """places: [*batch, *m, k]; the k-vectors lead to x[*batch, k numbers]."""
    batch = spec.get("batch_dims", 0) if spec.version >= 12 else 0

    def run(_: Context, x: Tensor, places: Tensor) -> Tensor:
        ahead = [
            torch.arange(x.shape[k], device=x.device).reshape([-1 if j == k else 1 for j in range(places.ndim - 1)])
            for k in range(batch)
        ]
        return x[(*ahead, *places.unbind(-1))]

    return run


@operator("ScatterElements", 11, 13, 16, 18, fixed=(1,))
def _scatter_elements(spec: Spec) -> Run:
    axis, reduction = spec.get("axis", 0), _reduction(spec)

    def run(_: Context, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
        places = counted_from_front(places, x.shape[axis])
        if reduction is None:
            return x.scatter(axis, places, updates)
        return x.scatter_reduce(axis, places, updates, reduction, include_self=True)

    return run


@operator("ScatterND", 11, 13, 16, 18, fixed=(1,))
def _scatter_nd(spec: Spec) -> Run:
    """places: [*m, k], updates: [*m, *x.shape[k:]]."""
    reduction = _reduction(spec)

    def run(_: Context, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
        if reduction is None:
            return x.index_put(places.unbind(-1), updates)
        ahead, rest = x.shape[: places.shape[-1]], x.shape[places.shape[-1] :]
        flat = torch.zeros_like(places[..., 0])
        for size, along in zip(ahead, places.unbind(-1), strict=True):
            flat = flat * size + counted_from_front(along, size)
        rows = x.reshape(ahead.numel(), rest.numel())
        spread = flat.reshape(-1, 1).expand(-1, rest.numel())
        made = rows.scatter_reduce(0, spread, updates.reshape(spread.shape), reduction, include_self=True)
        return made.reshape(x.shape)

    return run


def _reduction(spec: Spec) -> str | None:
    said = spec.get("reduction", "none") if spec.version >= 16 else "none"
    spec.refuse_unless(said in {"none", *REDUCTIONS}, f"has a reduction '{said}' that has no translation to torch")
    return REDUCTIONS.get(said)


@operator("OneHot", 9, 11, 28, numbers=(1,), fixed=(0, 2), is_differentiable=False)
def _one_hot(spec: Spec) -> Run:
    """values: [off, on]. A negative index counts from the end; one out of range is on nowhere."""
    axis = spec.get("axis", -1)

    def run(_: Context, indices: Tensor, depth: Tensor | Host, values: Tensor) -> Tensor:
        size = int(number(depth))
        at = axis % (indices.ndim + 1)
        wanted = torch.where(indices < 0, indices + size, indices).unsqueeze(at)
        places = torch.arange(size, device=indices.device).reshape([-1] + [1] * (indices.ndim - at))
        return torch.where(wanted == places, values[1], values[0])

    return run


@operator("NonZero", 9, 13, is_differentiable=False)
def _non_zero(_: Spec) -> Run:
    return lambda _, x: torch.nonzero(x).t() if x.ndim else torch.nonzero(x.reshape(1)).t()[:0]


@operator("Compress", 9, 11, 28, fixed=(1,))
def _compress(spec: Spec) -> Run:
    axis = spec.get("axis")

    def run(_: Context, x: Tensor, condition: Tensor) -> Tensor:
        kept = torch.nonzero(condition.reshape(-1)).reshape(-1)
        return x.reshape(-1).index_select(0, kept) if axis is None else x.index_select(axis, kept)

    return run


def _running(function: Callable[..., Tensor], neutral: int) -> Callable[[Spec], Run]:
    def build(spec: Spec) -> Run:
        is_exclusive, is_reverse = bool(spec.get("exclusive", 0)), bool(spec.get("reverse", 0))

        def run(_: Context, x: Tensor, axis: Tensor | Host) -> Tensor:
            at = int(number(axis)) % x.ndim
            y = x.flip(at) if is_reverse else x
            if is_exclusive:
                first = torch.full_like(y.narrow(at, 0, 1), neutral)
                y = torch.cat([first, y.narrow(at, 0, y.shape[at] - 1)], at)
            y = function(y, at, dtype=x.dtype)
            return y.flip(at) if is_reverse else y

        return run

    return build


operator("CumSum", 11, 14, numbers=(1,))(_running(torch.cumsum, 0))
operator("CumProd", 26, numbers=(1,))(_running(torch.cumprod, 1))


@operator("Trilu", 14, numbers=(1,))
def _trilu(spec: Spec) -> Run:
    function = torch.triu if spec.get("upper", 1) else torch.tril
    return lambda _, x, k=None: function(x, 0 if k is None else int(number(k)))


@operator("EyeLike", 9, 22, is_differentiable=False)
def _eye_like(spec: Spec) -> Run:
    to, diagonal = spec.get("dtype"), spec.get("k", 0)
    dtype = None if to is None else dtype_of(to, f"the result of {spec.node.label}")

    def run(context: Context, x: Tensor) -> Tensor:
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape)
        ones = torch.eq(rows.reshape(-1, 1) + diagonal, columns)
        return ones.to(x.dtype if dtype is None else context.dtype(dtype))

    return run


@operator("Range", 11, 27, numbers=(0, 1, 2), is_differentiable=False)
def _range(spec: Spec) -> Run:
    spec.refuse_unless(spec.get("stash_type", 1) == 1, "accumulates in another type than float32")

    def run(context: Context, start: Tensor | Host, limit: Tensor | Host, delta: Tensor | Host) -> Tensor:
        first, last, step = (number(value) for value in (start, limit, delta))
        dtype = context.dtype(start.dtype)
        if dtype in {torch.float16, torch.bfloat16}:
            return torch.arange(first, last, step, dtype=torch.float32, device=context.device).to(dtype)
        return torch.arange(first, last, step, dtype=dtype, device=context.device)

    return run


@operator("Expand", 8, 13, numbers=(1,))
def _expand(_: Spec) -> Run:
    return lambda _, x, shape: x.expand(broadcast(x.shape, integers(shape)))


def broadcast(shape: Sequence[int], other: Sequence[int]) -> list[int]:
    """The shape that both broadcast to."""
    rank = max(len(shape), len(other))
    pairs = zip(*([1] * (rank - len(sizes)) + list(sizes) for sizes in (shape, other)), strict=True)
    return [b if a == 1 else a for a, b in pairs]


@operator("Tile", 6, 13, numbers=(1,))
def _tile(_: Spec) -> Run:
    return lambda _, x, repeats: x.repeat(integers(repeats))


@operator("DepthToSpace", 1, 11, 13, 28)
def _depth_to_space(spec: Spec) -> Run:
    """x: [N, C, H, W]; the channels are ordered [block, block, C'] (DCR) or [C', block, block] (CRD)."""
    size, is_dcr = spec.get("blocksize"), _is_dcr(spec, since=11)

    def run(_: Context, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if is_dcr:
            x = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            x = x.reshape(n, c // size**2, size, size, h, w).permute(0, 1, 4, 2, 5, 3)
        return x.reshape(n, c // size**2, h * size, w * size)

    return run


@operator("SpaceToDepth", 1, 13, 28)
def _space_to_depth(spec: Spec) -> Run:
    """The inverse of DepthToSpace."""
    size, is_dcr = spec.get("blocksize"), _is_dcr(spec, since=28)

    def run(_: Context, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // size, size, w // size, size)
        x = x.permute(0, 3, 5, 1, 2, 4) if is_dcr else x.permute(0, 1, 3, 5, 2, 4)
        return x.reshape(n, c * size**2, h // size, w // size)

    return run


def _is_dcr(spec: Spec, *, since: int) -> bool:
    mode = spec.get("mode", "DCR") if spec.version >= since else "DCR"
    spec.refuse_unless(mode in {"DCR", "CRD"}, f"has a mode '{mode}' that has no translation to torch")
    return bool(mode == "DCR")


@operator("Einsum", 12, 28)
def _einsum(spec: Spec) -> Run:
    equation = spec.get("equation")
    return lambda _, *xs: torch.einsum(equation, *xs)
