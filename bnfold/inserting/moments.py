"""Mean and variance of a stream, per channel: one batch after the other, in float64, with no loss on the way.

Two parts of the data, with n values, mean m and sum of squared deviations M each, join as (Chan, Golub and LeVeque,
"Updating formulae and a pairwise algorithm for computing sample variances", 1979)

    n = n1 + n2,   d = m2 - m1,   m = m1 + d n2 / n,   M = M1 + M2 + d^2 n1 n2 / n

so that a mean far from zero costs no digits, as the difference of two sums of squares would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of the values seen so far.

    Attributes:
        count: how many values per channel.
        mean: [C], their mean.
        squares: [C], the sum of their squared deviations from it.
    """

    count: int
    mean: Vector
    squares: Vector

    @property
    def variance(self) -> Vector:
        """[C], the biased variance, which is what ONNX's BatchNormalization means (BatchNormalization-14)."""
        return self.squares / max(self.count, 1)

    @property
    def dead(self) -> int:
        """How many channels never change."""
        return int(np.count_nonzero(self.squares == 0.0))

    @property
    def is_finite(self) -> bool:
        """Whether no value was NaN or infinite, or too large to be squared."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.squares).all())

    def joined(self, other: Moments) -> Moments:
        """Of both parts of the data together."""
        count = self.count + other.count
        if not self.count or not other.count:
            return other if not self.count else self
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        squares = self.squares + other.squares + apart**2 * (self.count * other.count / count)
        return Moments(count, mean, squares)


def nothing(channels: int) -> Moments:
    """Before the first value."""
    return Moments(0, np.zeros(channels), np.zeros(channels))


def moments_of(values: npt.NDArray[Any], axis: int) -> Moments:
    """Of one batch.

    Args:
        values: any float type, of rank 2 or more.
        axis: where the channels are.
    """
    # [N, C, *] -> [C, N * ...]
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
    if not rows.shape[1]:
        return nothing(rows.shape[0])
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by the caller
        first = rows[:, :1].copy()
        rows -= first  # so that a channel that never changes has a variance of exactly 0, whatever its value
        mean = rows.mean(axis=1)
        rows -= mean[:, None]
        # the second term is the rounding of the mean (the corrected two-pass algorithm of the same paper)
        squares = (rows**2).sum(axis=1) - rows.sum(axis=1) ** 2 / rows.shape[1]
    return Moments(rows.shape[1], first[:, 0] + mean, np.maximum(squares, 0.0))
