"""Whether a tensor is another one with every channel scaled and shifted.

A fold moves a map `y = a * x + b` past operators: out of a BatchNormalization, back through a Relu, into a Conv. The
tensors in between keep their names, and hold `a * t + b` for one (a, b) per channel, which nothing else knows. So the
best a and b are searched, in float64, one pair for all runs, and what remains tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from bnfold.checking.statistics import Array, Doubles

_UNKNOWNS = 2
"""Per channel; two samples fit any map, so only what is beyond them says anything."""


def distance_from_affine(pairs: Sequence[tuple[Array, Array]]) -> float:
    """The largest |t' - (a * t + b)| for the a and b per channel that fit best, whichever axes are the channels.

    Channels may lie along axis 1; along the last axis, as in TensorFlow; or along axes 1 and 2 of five or more, as
    where a shuffle has split them into groups.

    Args:
        pairs: t and t' of each run. Positions that are not finite count as 0.

    Returns:
        The distance in the unit of t'; infinite where shapes differ, or no axis has enough samples to tell.
    """
    if any(before.shape != after.shape for before, after in pairs):
        return float("inf")
    rank = pairs[0][0].ndim
    choices = [(1,)] * (rank > 1) + [(rank - 1,)] * (rank > 2) + [(1, 2)] * (rank > 4)
    return min((_distance(pairs, axes) for axes in choices), default=float("inf"))


def _distance(pairs: Sequence[tuple[Array, Array]], axes: tuple[int, ...]) -> float:
    shapes = {tuple(before.shape[axis] for axis in axes) for before, _ in pairs}
    if len(shapes) > 1:
        return float("inf")
    channels = prod(shapes.pop())
    t, moved = (
        np.concatenate([_by_channel(pair[side], axes, channels) for pair in pairs], axis=1) for side in (0, 1)
    )  # [C, samples]
    if t.shape[1] <= _UNKNOWNS:
        return float("inf")
    t -= t.mean(axis=1, keepdims=True)
    moved -= moved.mean(axis=1, keepdims=True)  # which takes b out
    spread = np.einsum("cs,cs->c", t, t)
    common = np.einsum("cs,cs->c", t, moved)
    a = np.divide(common, spread, out=np.zeros_like(spread), where=spread > 0)
    return float(np.abs(moved - a[:, None] * t).max(initial=0.0))


def _by_channel(array: Array, axes: tuple[int, ...], channels: int) -> Doubles:
    """`[C, samples]`."""
    wide = np.moveaxis(array.astype(np.float64), axes, range(len(axes))).reshape(channels, -1)
    return np.where(np.isfinite(wide), wide, 0.0)
