"""Which tensor inside two graphs is the first to differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorError:
    """A tensor that both graphs have under one name, on the inputs where it differs most.

    Attributes:
        name: Its name.
        producer: The node of the original that makes it, such as `"Conv 'conv1'"`.
        max_abs: max|t - t'|, over the positions where both are finite; infinite where the shapes do not agree.
        rel_to_max: `max_abs` over max|t|.
        tolerance: What `max_abs` may be: the roundings of what lies in front of it.
        state: "equal"; "rescaled" where it is a per-channel affine map of what it was, which is what a fold leaves
            between the operators that it moved a map past; "different".
    """

    name: str
    producer: str
    max_abs: float
    rel_to_max: float
    tolerance: float
    state: str


@dataclass(frozen=True)
class Location:
    """Where two graphs part.

    Attributes:
        first: The first tensor, in the order of computation, that is different; `None` where none is.
        tensors: All that were compared, in the order of computation.
        unmatched: How many tensors of the original the other graph has no tensor of that name for.
    """

    first: TensorError | None
    tensors: tuple[TensorError, ...]
    unmatched: int
