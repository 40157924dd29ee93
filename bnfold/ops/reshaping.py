"""A map on the elements of one shape, as a map on the same elements in another shape, in C order."""

from __future__ import annotations

from math import gcd, prod
from typing import NamedTuple

import numpy as np

from bnfold.affine import MOST_CHANNELS, Affine
from bnfold.model.shapes import Shape
from bnfold.ops.rule import Placed, Spread


class _Block(NamedTuple):
    """Axes that are mixed: the number of the first, and their sizes before and after."""

    start: int
    shape: list[int]
    to: list[int]


class _Atom(NamedTuple):
    """A factor that an axis before and an axis after the reshape have in common."""

    size: int
    axis: int
    axis_to: int


def through_reshape(placed: Placed, shape: Shape, to: Shape) -> Placed | None:
    """The map on a value of `shape`, on the same elements in shape `to`; None where no map there is known to say it.

    Equal sizes at the front and at the back are the same axes; only what lies between is mixed.
    """
    front = _common(shape, to)
    back = min(_common(shape[::-1], to[::-1]), len(shape) - front, len(to) - front)
    if placed.is_uniform or max(placed.axes) < front:
        return placed
    if min(placed.axes) >= len(shape) - back:
        return placed.on(*(axis - len(shape) + len(to) for axis in placed.axes))
    front, back = min(front, *placed.axes), min(back, *(len(shape) - 1 - axis for axis in placed.axes))
    block = _between(shape, to, front, back) or _behind_the_first(shape, to)
    if block is None or min(placed.axes) < block.start:
        return None
    if any(block.shape[axis - block.start] != size for axis, size in zip(placed.axes, placed.sizes, strict=True)):
        return None
    moved = _across(placed.on(*(axis - block.start for axis in placed.axes)), block)
    return None if moved is None else moved.on(*(axis + block.start for axis in moved.axes))


def _between(shape: Shape, to: Shape, front: int, back: int) -> _Block | None:
    """What lies between equal sizes, where its sizes are known and its elements equally many."""
    middle, middle_to = _completed(shape[front : len(shape) - back], to[front : len(to) - back])
    if middle is None or middle_to is None or prod(middle) != prod(middle_to):
        return None
    return _Block(front, middle, middle_to)


def _behind_the_first(shape: Shape, to: Shape) -> _Block | None:
    """All but the first axis, whose size is unknown on both sides, where the others agree in their product.

    Then the first sizes are equal too: a reshape keeps the number of elements.
    """
    rest, rest_to = _static(shape[1:]), _static(to[1:])
    if rest is None or rest_to is None or prod(rest) != prod(rest_to) or prod(rest) == 0:
        return None
    return _Block(1, rest, rest_to)


def _across(placed: Placed, block: _Block) -> Placed | None:
    """The map on the axes of a block, moved to its other side."""
    if not isinstance(placed, Spread):
        moved = _moved(placed.affine, block.shape, placed.axis, block.to)
        if moved is not None:
            return Placed.of(*moved)
    atoms = _atoms(block.shape, block.to)
    return None if atoms is None else _over_atoms(placed, atoms)


def _over_atoms(placed: Placed, atoms: list[_Atom]) -> Placed | None:
    """The map over the factors of its axes, then over the axes that those are factors of on the other side.

    An axis there may have further factors, along which the map repeats. Over several axes it is never made longer by
    that: a map per channel that space has been mixed into is refused, not spread over space.
    """
    own = [k for k, atom in enumerate(atoms) if atom.axis in placed.axes]
    finest = Placed.over(placed.affine, own, [atoms[k].size for k in own])  # an axis per atom
    axes = sorted({atoms[k].axis_to for k in finest.axes})
    target = [k for k, atom in enumerate(atoms) if atom.axis_to in axes]
    sizes = [atoms[k].size for k in target]
    if prod(sizes) > (placed.affine.channels if len(axes) > 1 else MOST_CHANNELS):
        return None
    index = np.arange(finest.affine.channels).reshape([atoms[k].size if k in finest.axes else 1 for k in target])
    spread = finest.affine.take(np.broadcast_to(index, sizes).reshape(-1))  # [*sizes] -> [C]
    return Placed.over(spread, axes, [prod(atoms[k].size for k in target if atoms[k].axis_to == a) for a in axes])


def _atoms(shape: list[int], to: list[int]) -> list[_Atom] | None:
    """The factors of which the axes on both sides are made, in order; None where they do not divide one another."""
    if 0 in shape or 0 in to:
        return None
    found: list[_Atom] = []
    before = [[k, size] for k, size in enumerate(shape) if size > 1]
    after = [[k, size] for k, size in enumerate(to) if size > 1]
    while before and after:
        (axis, size), (axis_to, size_to) = before[0], after[0]
        atom = min(size, size_to)
        if size % atom or size_to % atom:
            return None
        found.append(_Atom(atom, axis, axis_to))
        for sides in (before, after):
            sides[0][1] //= atom
            if sides[0][1] == 1:
                del sides[0]
    return None if before or after else found


def _moved(affine: Affine, shape: list[int], axis: int, to: list[int]) -> tuple[Affine, int] | None:
    """As `Affine.moved`, without spreading the map over places of one channel that stay next to each other.

    Elements that share a channel come in runs, the product of the sizes behind it. What the last sizes of `to` have in
    common with a run is divided out, so that (C, H, W) to (G, C/G*H*W) costs C numbers and not C*H*W.
    """
    run, sizes, shared = prod(shape[axis + 1 :]), list(to), [1] * len(to)
    for k in reversed(range(len(sizes))):
        shared[k] = gcd(run, sizes[k])
        run, sizes[k] = run // shared[k], sizes[k] // shared[k]
        if sizes[k] > 1:
            break
    moved = affine.moved((prod(shape[:axis]), affine.channels, run), 1, sizes)
    if moved is None or moved[0].channels * shared[moved[1]] > MOST_CHANNELS:
        return None
    return moved[0].repeat(shared[moved[1]]), moved[1]


def _completed(one: Shape, other: Shape) -> tuple[list[int] | None, list[int] | None]:
    """Both shapes of the same elements, as numbers: where one is known, it tells a single unknown size of the other."""
    whole, whole_other = _static(one), _static(other)
    if whole is None and whole_other is not None:
        return _with_elements(one, prod(whole_other)), whole_other
    if whole is not None and whole_other is None:
        return whole, _with_elements(other, prod(whole))
    return whole, whole_other


def _with_elements(shape: Shape, count: int) -> list[int] | None:
    """The shape with its one unknown size chosen so that it has `count` elements."""
    known = prod(size for size in shape if isinstance(size, int))
    sizes = [size if isinstance(size, int) else count // max(known, 1) for size in shape]
    return sizes if prod(sizes) == count and sum(not isinstance(size, int) for size in shape) == 1 else None


def _common(one: Shape, other: Shape) -> int:
    """How many sizes at the front are known to be equal."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a is None or a != b:
            break
        count += 1
    return count


def _static(shape: Shape) -> list[int] | None:
    sizes = [size for size in shape if isinstance(size, int)]
    return sizes if len(sizes) == len(shape) else None
