"""What a search for the first tensor that differs has found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

EQUAL, RESCALED, DIFFERENT = "equal", "rescaled", "different"


@dataclass(frozen=True)
class TensorError:
    """A tensor that both graphs have under one name, on the inputs where it differs most.

    Attributes:
        name: Its name.
        producer: The node of the original that makes it, such as `"Conv 'conv1'"`.
        max_abs: max|t - t'|, over the positions where both are finite; infinite where the shapes do not agree, or the
            positions that are not finite.
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

    def __str__(self) -> str:
        return f"{self.name!r} ({self.producer})"


@dataclass(frozen=True)
class Location:
    """Where two graphs part.

    Attributes:
        first: The first tensor, in the order of computation, that is different. Where none is and an output is still
            not equal, the first one that is rescaled on the way to that output. `None` where the graphs agree.
        tensors: All that were compared, in the order of computation.
        unmatched: How many tensors of the original the other graph has no tensor of that name for.
        agreeing: The last tensors in front of `first` that are equal.
        moved: Those between them and `first`, all rescaled.
    """

    first: TensorError | None
    tensors: tuple[TensorError, ...]
    unmatched: int
    agreeing: tuple[TensorError, ...] = ()
    moved: tuple[TensorError, ...] = ()

    @property
    def sentence(self) -> str:
        """What was found, for people."""
        if self.first is None:
            return f"no tensor differs: {self._counted()}"
        by = "everywhere" if self.first.rel_to_max == float("inf") else f"by {self.first.rel_to_max:.1e} of its largest"
        if self.first.state == RESCALED:
            found = f"the first tensor that is moved per channel on the way to a wrong output is {self.first}, {by}"
        else:
            found = f"the first tensor that differs is {self.first}, {by}"
        return "; ".join([found, self._in_front(), *self._suspected()])

    def _counted(self) -> str:
        states = [tensor.state for tensor in self.tensors]
        moved = f", {states.count(RESCALED)} are moved per channel, as by a fold" if RESCALED in states else ""
        return f"{states.count(EQUAL)} of {len(states)} agree{moved}"

    def _in_front(self) -> str:
        if not self.agreeing:
            return "nothing in front of it can be compared"
        return f"what lies in front of it agrees up to {', '.join(map(str, self.agreeing))}"

    def _suspected(self) -> Iterator[str]:
        if self.moved:
            verb = "is" if len(self.moved) == 1 else "are"
            names = ", ".join(map(str, self.moved))
            yield f"{names} in between {verb} moved per channel: that is a fold's doing, or the fault itself"
