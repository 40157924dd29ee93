"""Operators that move elements: other axes, other shapes."""

from __future__ import annotations

from random_graphs.builder import HIGHEST_RANK, Builder, Wire
from random_graphs.numbers import product
from random_graphs.steps import some, step


@step("Transpose")
def transpose(b: Builder, wire: Wire) -> Wire:
    """Of the axes behind the first mostly, so that the batch stays where it is."""
    b.require(wire.rank >= 2)
    perm = [int(k) for k in b.rng.permutation(wire.rank)]
    if b.whole.options.open_batch or b.chance(0.8):
        perm = [0, *(k for k in perm if k)]
    return _transposed(b, wire, perm)


def _transposed(b: Builder, wire: Wire, perm: list[int]) -> Wire:
    shape = [wire.shape[k] for k in perm]
    reverse = perm == list(reversed(range(wire.rank))) and b.chance(0.5)
    return b.add("Transpose", [wire.name], shape, wire.kind, perm=None if reverse else perm)


@step("channels last and back", keeps=True)
def there_and_back(b: Builder, wire: Wire) -> Wire:
    b.require(wire.rank >= 3)
    perm = [0, *range(2, wire.rank), 1]
    back = [0, wire.rank - 1, *range(1, wire.rank - 1)]
    return _transposed(b, some(b, _transposed(b, wire, perm), 2), back)


@step("Reshape")
def reshape(b: Builder, wire: Wire) -> Wire:
    """Neighbours joined or one axis split; the rest, and what is stated as 0 or -1, as it may be."""
    shape = list(wire.shape)
    low = 1 if b.whole.options.open_batch else 0
    for _ in range(b.number(1, 2)):
        shape = _split(b, shape, low) if b.chance(0.5) else _joined(b, shape, low)
    return _reshaped(b, wire, shape)


def _joined(b: Builder, shape: list[int], low: int) -> list[int]:
    if len(shape) < low + 2:
        return shape
    k = b.number(low, len(shape) - 2)
    return [*shape[:k], shape[k] * shape[k + 1], *shape[k + 2 :]]


def _split(b: Builder, shape: list[int], low: int) -> list[int]:
    if len(shape) <= low or len(shape) >= HIGHEST_RANK:
        return shape
    k = b.number(low, len(shape) - 1)
    factor = int(b.pick(*(d for d in range(1, shape[k] + 1) if shape[k] % d == 0)))
    return [*shape[:k], factor, shape[k] // factor, *shape[k + 1 :]]


def _reshaped(b: Builder, wire: Wire, shape: list[int]) -> Wire:
    stated = list(shape)
    for k in range(min(len(shape), wire.rank)):
        if shape[k] == wire.shape[k] and (b.chance(0.3) or (k == 0 and b.whole.options.open_batch)):
            stated[k] = 0
    if b.chance(0.4):
        stated[b.number(0, len(stated) - 1)] = -1
    return b.add("Reshape", [wire.name, b.integers(stated)], shape, wire.kind)


@step("flat and back", keeps=True)
def flat_and_back(b: Builder, wire: Wire) -> Wire:
    b.require(wire.rank >= 3)
    flat = _reshaped(b, wire, [wire.shape[0], wire.shape[1], product(wire.shape[2:])])
    return _reshaped(b, some(b, flat, 2), list(wire.shape))


@step("other elements side by side")
def regroup(b: Builder, wire: Wire) -> Wire:
    """A reshape that mixes channels and space, unless the sizes happen to fit."""
    b.require(wire.rank >= 3 and wire.shape[1] != wire.shape[2])
    return _reshaped(b, wire, [wire.shape[0], wire.shape[2], wire.shape[1], *wire.shape[3:]])


@step("Flatten")
def flatten(b: Builder, wire: Wire) -> Wire:
    b.require(wire.rank >= 2)
    axis = 1 if b.whole.options.open_batch or b.chance(0.7) else b.number(0, wire.rank)
    shape = [product(wire.shape[:axis]), product(wire.shape[axis:])]
    stated = None if axis == 1 and b.chance(0.5) else axis
    return b.add("Flatten", [wire.name], shape, wire.kind, axis=stated)


def _axes_node(b: Builder, op_type: str, wire: Wire, axes: list[int], shape: list[int], rank: int) -> Wire:
    """Squeeze or Unsqueeze, the axes as the opset has them."""
    stated = [k - rank if b.opset >= 13 and b.chance(0.3) else k for k in axes]
    if b.opset >= 13:
        return b.add(op_type, [wire.name, b.integers(stated)], shape, wire.kind)
    return b.add(op_type, [wire.name], shape, wire.kind, axes=stated)


@step("Squeeze")
def squeeze(b: Builder, wire: Wire) -> Wire:
    low = 1 if b.whole.options.open_batch else 0
    single = [k for k, n in enumerate(wire.shape) if n == 1 and k >= low]
    b.require(bool(single) and wire.rank > len(single))
    if not b.whole.options.open_batch and wire.shape.count(1) == len(single) and b.chance(0.3):
        return b.add("Squeeze", [wire.name], [n for n in wire.shape if n > 1], wire.kind)
    axes = [k for k in single if b.chance(0.7)] or single[:1]
    return _axes_node(b, "Squeeze", wire, axes, [n for k, n in enumerate(wire.shape) if k not in axes], wire.rank)


@step("Unsqueeze")
def unsqueeze(b: Builder, wire: Wire) -> Wire:
    rank = wire.rank + b.number(1, 2)
    b.require(rank <= HIGHEST_RANK)
    places = range(1 if b.whole.options.open_batch else 0, rank)
    axes = sorted(int(k) for k in b.rng.choice(list(places), rank - wire.rank, replace=False))
    sizes = iter(wire.shape)
    return _axes_node(b, "Unsqueeze", wire, axes, [1 if k in axes else next(sizes) for k in range(rank)], rank)


@step("one more axis and back", keeps=True)
def wrapped(b: Builder, wire: Wire) -> Wire:
    b.require(2 <= wire.rank < HIGHEST_RANK)
    axis = b.number(1, wire.rank)
    shape = [*wire.shape[:axis], 1, *wire.shape[axis:]]
    inside = some(b, _axes_node(b, "Unsqueeze", wire, [axis], shape, len(shape)), 2)
    return _axes_node(b, "Squeeze", inside, [axis], list(wire.shape), len(shape))


@step("DepthToSpace")
def depth_to_space(b: Builder, wire: Wire) -> Wire:
    b.require(wire.rank == 4 and wire.shape[1] % 4 == 0)
    n, c, h, w = wire.shape
    mode = str(b.pick("DCR", "CRD")) if b.opset >= 11 and b.chance(0.7) else None
    return b.add("DepthToSpace", [wire.name], (n, c // 4, 2 * h, 2 * w), wire.kind, blocksize=2, mode=mode)


@step("SpaceToDepth")
def space_to_depth(b: Builder, wire: Wire) -> Wire:
    b.require(wire.rank == 4)
    n, c, h, w = wire.shape
    size = 2 if h % 2 == 0 and w % 2 == 0 else 3
    b.require(h % size == 0 and w % size == 0)
    shape = (n, c * size * size, h // size, w // size)
    return b.add("SpaceToDepth", [wire.name], shape, wire.kind, blocksize=size)


@step("deep and back", keeps=True)
def deep_and_back(b: Builder, wire: Wire) -> Wire:
    b.require(wire.rank == 4 and wire.shape[2] % 2 == 0 and wire.shape[3] % 2 == 0)
    n, c, h, w = wire.shape
    deep = b.add("SpaceToDepth", [wire.name], (n, 4 * c, h // 2, w // 2), wire.kind, blocksize=2)
    return b.add("DepthToSpace", [some(b, deep, 2).name], wire.shape, wire.kind, blocksize=2)
