"""The algebra of per-channel affine maps: float64, numpy only, knows no ONNX.

An `Affine` is the map ``x -> scale * x + shift`` with one scale and one shift per channel. A map of one channel is
*uniform*: the same two numbers everywhere, so it fits any number of channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bnfold.errors import ModelError
from bnfold.values import cached_property, frozen

Vector: TypeAlias = npt.NDArray[np.float64]

MOST_CHANNELS = 2**24
"""No map is spread over more. A few bytes of a model say that a value has 2^62 channels, and no real one has so many
along one axis."""


@frozen
class Affine:
    """The map ``x -> scale * x + shift`` over a channel axis.

    Attributes:
        scale: float64, shape ``[C]``, read-only.
        shift: float64, shape ``[C]``, read-only.

    Raises:
        ValueError: the two are not vectors of one length, or have no channel at all.
    """

    scale: Vector
    shift: Vector

    def __post_init__(self) -> None:
        scale, shift = _frozen(self.scale), _frozen(self.shift)
        if scale.shape != shift.shape or scale.ndim != 1 or scale.size == 0:
            raise ValueError(f"scale {scale.shape} and shift {shift.shape} must be vectors of one length >= 1")
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "shift", shift)

    def __repr__(self) -> str:
        return f"Affine(channels={self.channels}, scale={_brief(self.scale)}, shift={_brief(self.shift)})"

    @classmethod
    def identity(cls, channels: int = 1) -> Affine:
        """The map that changes nothing."""
        return cls(np.ones(channels), np.zeros(channels))

    @classmethod
    def of(cls, scale: npt.ArrayLike = 1.0, shift: npt.ArrayLike = 0.0) -> Affine:
        """A map from anything that broadcasts to two vectors of one length."""
        vectors = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, np.float64)) for v in (scale, shift)))
        return cls(*vectors)

    @property
    def channels(self) -> int:
        """How many channels the map speaks of; 1 fits every number."""
        return int(self.scale.size)

    @cached_property
    def is_identity(self) -> bool:
        """Whether the map changes nothing. Exact on purpose: an almost-identity is not one."""
        return self.is_shift and self.is_scaling

    @cached_property
    def is_scaling(self) -> bool:
        """Whether the shift is exactly zero in every channel."""
        return self.shift.item(0) == 0.0 and not np.count_nonzero(self.shift)

    @cached_property
    def is_shift(self) -> bool:
        """Whether the scale is exactly one in every channel."""
        return self.scale.item(0) == 1.0 and not np.count_nonzero(self.scale != 1.0)

    @cached_property
    def is_uniform(self) -> bool:
        """Whether every channel has the same two numbers."""
        if self.scale[0] != self.scale[-1]:  # what most are like, seen without a look at all channels
            return False
        return not (np.count_nonzero(self.scale != self.scale[0]) or np.count_nonzero(self.shift != self.shift[0]))

    @cached_property
    def is_nonnegative(self) -> bool:
        """Whether no scale is below zero."""
        return bool(np.all(self.scale >= 0.0))

    @cached_property
    def is_finite(self) -> bool:
        """Whether every scale and shift is a finite number."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())

    def __call__(self, x: npt.ArrayLike, axis: int = -1) -> npt.NDArray[np.float64]:
        """Apply the map to an array whose `axis` holds the channels."""
        values = np.asarray(x, np.float64)
        shape = [1] * values.ndim
        if values.ndim:
            shape[axis] = self.channels
        # scale, shift: [C] -> [1, ..., C, ..., 1]
        result = values * self.scale.reshape(shape) + self.shift.reshape(shape)
        return np.asarray(result, np.float64)

    def then(self, following: Affine) -> Affine:
        """This map, then `following`: ``a2 * (a1 * x + b1) + b2``."""
        with np.errstate(over="ignore", invalid="ignore"):  # a result that is not finite is refused, not warned about
            return Affine.of(following.scale * self.scale, following.scale * self.shift + following.shift)

    def expand(self, channels: int) -> Affine:
        """The same map over `channels` channels.

        Raises:
            ValueError: the map is not uniform and speaks of another number of channels.
        """
        if self.channels == channels:
            return self
        if self.channels != 1:
            raise ValueError(f"a map over {self.channels} channels does not fit {channels}")
        return self.repeat(channels)

    def collapse(self) -> Affine:
        """The same map with one channel if it is uniform, else itself."""
        return Affine(self.scale[:1], self.shift[:1]) if self.is_uniform else self

    def take(self, index: Any) -> Affine:  # noqa: ANN401 (whatever numpy takes as an index)
        """The maps of the channels that `index` (slice or integer array) selects."""
        return Affine(self.scale[index], self.shift[index])

    def slice(self, start: int, stop: int) -> Affine:
        """The maps of the channels ``start <= c < stop``."""
        return self.take(slice(start, stop))

    @staticmethod
    def concat(parts: Sequence[Affine]) -> Affine:
        """The maps of the parts one after the other; the inverse of `slice`."""
        return Affine(np.concatenate([p.scale for p in parts]), np.concatenate([p.shift for p in parts]))

    @staticmethod
    def side_by_side(parts: Mapping[int, Affine], sizes: Sequence[int]) -> Affine:
        """Maps one after the other, each over so many channels: by its number, and the identity where there is none.

        Raises:
            ModelError: there would be more than `MOST_CHANNELS`.
            ValueError: a map speaks of another number of channels.
        """
        starts = list(accumulate(sizes, initial=0))
        _refuse_many(starts[-1], 1)
        scale, shift = np.ones(starts[-1]), np.zeros(starts[-1])
        for number, affine in parts.items():
            part = slice(starts[number], starts[number + 1])
            scale[part], shift[part] = affine.scale, affine.shift
        return Affine(scale, shift)

    def repeat(self, times: int) -> Affine:
        """Each channel `times` times in a row: ``a b -> a a b b``, as when (C, L) is flattened.

        Raises:
            ModelError: there would be more than `MOST_CHANNELS`.
        """
        _refuse_many(self.channels, times)
        return Affine(np.repeat(self.scale, times), np.repeat(self.shift, times))

    def tile(self, times: int) -> Affine:
        """All channels over again, `times` times: ``a b -> a b a b``, as when (L, C) is flattened.

        Raises:
            ModelError: there would be more than `MOST_CHANNELS`.
        """
        _refuse_many(self.channels, times)
        return Affine(np.tile(self.scale, times), np.tile(self.shift, times))

    def moved(self, shape: Sequence[int], axis: int, to: Sequence[int]) -> tuple[Affine, int] | None:
        """The map after a C-order reshape of the axes that hold it.

        Given: an array of `shape` with this map on `axis`. Result: the map and its axis on the same array reshaped
        to `to`; None when it would vary along more than one axis there, so that no per-channel map says it, and where
        the array has more elements than `MOST_CHANNELS`.
        A uniform map moves anywhere and keeps axis 0.
        """
        if self.is_uniform:
            return self.collapse(), 0
        if prod(shape) > MOST_CHANNELS:
            return None
        full = [
            _reshaped(vector, shape, axis, to)  # [*to]
            for vector in (self.scale, self.shift)
        ]
        for new_axis, size in enumerate(to):
            others = tuple(k for k in range(len(to)) if k != new_axis)
            if size > 1 and all(_constant_along(values, others) for values in full):
                first = tuple(slice(None) if k == new_axis else 0 for k in range(len(to)))
                return Affine(full[0][first], full[1][first]), new_axis
        return None


def _refuse_many(channels: int, times: int) -> None:
    """Raise where a map would get out of all reason.

    Raises:
        ModelError: more than `MOST_CHANNELS`.
    """
    if channels * times > MOST_CHANNELS:
        raise ModelError(
            f"the model asks for a map over {channels * times} channels, which is more than bnfold computes with "
            f"({MOST_CHANNELS}): a shape in it is damaged"
        )


def _frozen(vector: npt.ArrayLike) -> Vector:
    """A read-only float64 copy, so that nothing the caller does later can change the map."""
    copy = np.array(vector, np.float64)
    copy.flags.writeable = False
    return copy


def _reshaped(vector: Vector, shape: Sequence[int], axis: int, to: Sequence[int]) -> Vector:
    """`vector` spread over `axis` of an array of `shape`, reshaped in C order to `to`."""
    aligned = vector.reshape([vector.size if k == axis else 1 for k in range(len(shape))])
    return np.broadcast_to(aligned, shape).reshape(to)


def _constant_along(values: Vector, axes: tuple[int, ...]) -> bool:
    """Whether the array does not change along any of `axes`."""
    first = values[tuple(slice(0, 1) if k in axes else slice(None) for k in range(values.ndim))]
    return bool(np.all(values == first))


def _brief(vector: Vector) -> str:
    return np.array2string(vector, precision=4, threshold=6, edgeitems=2)
