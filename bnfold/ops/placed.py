"""An affine on a wire: the map, and the axis or axes that hold the channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bnfold.affine import Affine
from bnfold.values import frozen


@frozen
class Placed:
    """An affine on a wire: the map, and the axis of the wire that holds the channels.

    A uniform map has one channel, and then its axis means nothing. A map over several axes is a `Spread`.
    """

    affine: Affine
    axis: int

    @classmethod
    def of(cls, affine: Affine, axis: int) -> Placed:
        """The map in its simplest form: one channel if it is uniform."""
        collapsed = affine.collapse()
        return Placed(collapsed, 0 if collapsed.channels == 1 else axis)

    @classmethod
    def over(cls, affine: Affine, axes: Sequence[int], sizes: Sequence[int]) -> Placed:
        """The map over several axes in its simplest form: in their order, without those along which it is the same.

        Args:
            affine: the maps of the places along the axes, in C order.
            axes: the axes, each once, in any order.
            sizes: how long the axes are.
        """
        if len(axes) < 2:
            return Placed.of(affine, axes[0] if axes else 0)
        index = np.arange(affine.channels).reshape(sizes)  # [*sizes]
        for k in range(len(axes)):
            if _is_constant_along(affine, index, k):
                index = index.take([0], k)
        order = sorted(range(len(axes)), key=axes.__getitem__)
        simplest = affine.take(index.transpose(order).reshape(-1))
        long = [k for k in order if index.shape[k] > 1]
        if len(long) < 2:
            return Placed.of(simplest, axes[long[0]] if long else 0)
        return Spread(simplest, tuple(axes[k] for k in long), tuple(index.shape[k] for k in long))

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which the map differs, in order."""
        return () if self.is_uniform else (self.axis,)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How long those axes are."""
        return () if self.is_uniform else (self.affine.channels,)

    @property
    def is_uniform(self) -> bool:
        """Whether the map is the same two numbers everywhere."""
        return self.affine.channels == 1

    def same_as(self, other: Placed) -> bool:
        """Whether both are the same numbers on the same axes. Exact on purpose."""
        pairs = ((self.affine.scale, other.affine.scale), (self.affine.shift, other.affine.shift))
        return (self.axes, self.sizes) == (other.axes, other.sizes) and all(np.array_equal(a, b) for a, b in pairs)

    @property
    def scaling(self) -> Placed:
        """The same scale, no shift."""
        return Placed.over(Affine(self.affine.scale, np.zeros_like(self.affine.shift)), self.axes, self.sizes)

    @property
    def shifting(self) -> Placed:
        """The same shift, no scale: what follows `scaling`."""
        return Placed.over(Affine(np.ones_like(self.affine.scale), self.affine.shift), self.axes, self.sizes)

    @property
    def shifting_first(self) -> Placed | None:
        """The shift that comes before `scaling`, ``a x + b = a (x + b / a)``; None where a scale is zero."""
        if not np.all(self.affine.scale):
            return None
        with np.errstate(over="ignore"):  # a constant that is not finite is refused
            return Placed.over(Affine.of(1.0, self.affine.shift / self.affine.scale), self.axes, self.sizes)

    def on(self, *axes: int) -> Placed:
        """The same map on other axes, one for each that it has."""
        if self.is_uniform:
            return self
        return Placed.over(self.affine, axes, self.sizes)

    def then(self, following: Placed) -> Placed | None:
        """This map, then `following` on the same wire; None when they lie on different axes."""
        wider = following if self.is_uniform else self
        if not self.is_uniform and not following.is_uniform and _extent(self) != _extent(following):
            return None
        return Placed.over(self.affine.then(following.affine), wider.axes, wider.sizes)


class Spread(Placed):
    """An affine on a wire that differs along several axes, as when the channels are split for a shuffle.

    It has no one `axis`: only rules that say that they know it are asked, see `bnfold.ops.registry`.

    Attributes:
        affine: the maps of all places along the axes, in C order; nothing is repeated along any other axis.
        axes: the axes, in order, two at least.
        sizes: how long they are.
    """

    def __init__(self, affine: Affine, axes: tuple[int, ...], sizes: tuple[int, ...]) -> None:
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "_axes", axes)
        object.__setattr__(self, "_sizes", sizes)

    def __repr__(self) -> str:
        return f"Spread({self.affine}, axes={self.axes}, sizes={self.sizes})"

    @property
    def axis(self) -> int:
        """There is none."""
        raise AssertionError(f"{self} came to code that knows maps over one axis")

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which the map differs, in order."""
        axes: tuple[int, ...] = self.__dict__["_axes"]
        return axes

    @property
    def sizes(self) -> tuple[int, ...]:
        """How long those axes are."""
        sizes: tuple[int, ...] = self.__dict__["_sizes"]
        return sizes


def _is_constant_along(affine: Affine, index: npt.NDArray[np.intp], axis: int) -> bool:
    """Whether the maps that `index` names are the same along one of its axes."""
    first = index.take([0], axis)
    return all(bool(np.all(vector[index] == vector[first])) for vector in (affine.scale, affine.shift))


def _extent(placed: Placed) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return placed.axes, placed.sizes
