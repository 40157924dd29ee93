"""Where the windows of convolutions and pools lie: pads, strides, dilations, and automatic padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor

from bnfold.torch.registry import Spec

Pads: TypeAlias = list[tuple[int, int]]
"""Begin and end of each spatial axis."""


@dataclass(frozen=True)
class Windows:
    """The attributes that say where the windows lie; empty where the graph leaves the default to the rank."""

    auto_pad: str
    given_pads: tuple[int, ...]
    given_strides: tuple[int, ...]
    given_dilations: tuple[int, ...]

    @classmethod
    def of(cls, spec: Spec) -> Windows:
        """Those of the node.

        Raises:
            ModelError: the way of automatic padding is unknown.
        """
        auto_pad = spec.get("auto_pad", "NOTSET") or "NOTSET"
        known = auto_pad in {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"}
        spec.refuse_unless(known, f"has an auto_pad '{auto_pad}' that has no translation to torch")
        lists = (tuple(spec.get(name) or ()) for name in ("pads", "strides", "dilations"))
        return cls(auto_pad, *lists)

    def strides(self, rank: int) -> list[int]:
        """A stride per spatial axis."""
        return list(self.given_strides) or [1] * rank

    def dilations(self, rank: int) -> list[int]:
        """A dilation per spatial axis."""
        return list(self.given_dilations) or [1] * rank

    def extents(self, kernel: Sequence[int]) -> list[int]:
        """How many elements a window spans along each axis."""
        return [(size - 1) * step + 1 for size, step in zip(kernel, self.dilations(len(kernel)), strict=True)]

    def pads(self, sizes: Sequence[int], kernel: Sequence[int]) -> Pads:
        """The padding of each spatial axis.

        SAME makes ``ceil(size / stride)`` windows; of an odd total, the end gets more with SAME_UPPER, the begin with
        SAME_LOWER.
        """
        rank = len(kernel)
        if self.auto_pad == "VALID":
            return [(0, 0)] * rank
        if self.auto_pad == "NOTSET":
            pads = self.given_pads or (0,) * (2 * rank)
            return list(zip(pads[:rank], pads[rank:], strict=True))
        totals = [
            max((-(-size // stride) - 1) * stride + extent - size, 0)
            for size, stride, extent in zip(sizes, self.strides(rank), self.extents(kernel), strict=True)
        ]
        return [halves(total, more_at_end=self.auto_pad == "SAME_UPPER") for total in totals]


def halves(total: int, *, more_at_end: bool) -> tuple[int, int]:
    """The total in two, and where the odd one goes."""
    less, more = total // 2, total - total // 2
    return (less, more) if more_at_end else (more, less)


def is_symmetric(pads: Pads) -> bool:
    """Whether torch's own padding, the same at both ends and not negative, is enough."""
    return all(begin == end and begin >= 0 for begin, end in pads)


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """The tensor with constants put around its last axes, or cut off where a pad is negative."""
    if not any(begin or end for begin, end in pads):
        return x
    return F.pad(x, [size for pair in reversed(pads) for size in pair], value=value)
