"""The same inputs through the original, variants of it that are as good, and the other model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from bnfold.checking.settings import Progress
from bnfold.checking.statistics import Array, Difference, difference
from bnfold.errors import ModelError
from bnfold.runtime import Session

Feeds: TypeAlias = Mapping[str, Array]

Shapes: TypeAlias = tuple[tuple[int, ...], ...]
"""The shapes of a set of inputs, in graph order."""


def shapes_of(feeds: Feeds) -> Shapes:
    """The shapes of a set of inputs."""
    return tuple(array.shape for array in feeds.values())


@dataclass
class Track:
    """What the draws say about one output.

    Attributes:
        firsts: The original's output on the first draw of each set of input shapes.
        differences: The other model against the original, one per draw.
        noise: The largest ratio of the original's noise to max|y|.
        steps: The largest ratio to max|y| of what a few steps of its integers do; 0 where it has none.
        sensitivity: The largest change of the original's output from the first inputs to any others of the same
            shapes; infinite where its shape or its non-finite positions change.
        overflows: Whether onnxruntime's own rewriting already moves what is NaN or infinite.
        drift: The change of the original's output when it is given the same inputs again, as in a random model.
    """

    firsts: dict[Shapes, Array] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    noise: float = 0.0
    steps: float = 0.0
    sensitivity: float = 0.0
    overflows: bool = False
    drift: float = 0.0

    def add_noise(self, reference: Array, rewritten: Array) -> None:
        """Take in what another order or rounding of the same computation does to an output."""
        found = difference(reference, rewritten)
        self.noise = max(self.noise, _relative(found))
        self.overflows |= found.shape_match and not found.nonfinite_match

    def add_steps(self, reference: Array, nudged: Array) -> None:
        """Take in what another integer here and there does to an output."""
        self.steps = max(self.steps, _relative(difference(reference, nudged)))

    def add_witness(self, shapes: Shapes, reference: Array) -> None:
        """Take in the original's output on inputs of some shapes: what it changes shows whether they matter."""
        first = self.firsts.setdefault(shapes, reference)
        if first is not reference:
            self.sensitivity = max(self.sensitivity, difference(first, reference).needed)

    def add_repeat(self, first: Array, again: Array) -> None:
        """Take in two outputs of the original on the same inputs."""
        self.drift = difference(first, again).needed


def _relative(found: Difference) -> float:
    """The largest difference over max|y|; 0 where the two can not be compared, which makes the tolerance tighter."""
    return found.max_abs / found.max_y if found.shape_match and found.max_y > 0 else 0.0


@dataclass(frozen=True)
class Variants:
    """Sessions whose differences from the original are no one's fault.

    Attributes:
        rewritten: The original as onnxruntime rewrites it, and on the other provider where there are two.
        nudged: The original with a few of its integers other ones; none where nothing in it can step.
    """

    rewritten: Sequence[Session] = ()
    nudged: Sequence[Session] = ()


def run_trials(
    original: Session, variants: Variants, candidate: Session, draws: Iterable[Feeds], progress: Progress
) -> dict[str, Track]:
    """Run every set of inputs on each session, once and in the same order, and keep only what the verdict needs.

    Raises:
        ModelError: The original or the candidate can not be run.
    """
    tracks: dict[str, Track] = {}
    for number, feeds in enumerate(draws, 1):
        progress(f"inputs {number}")
        reference, other = original.run(feeds), candidate.run(feeds)
        noisy = [run_if_possible(session, feeds) for session in variants.rewritten]
        stepping = [run_if_possible(session, feeds) for session in variants.nudged]
        for name, array in reference.items():
            track = tracks.setdefault(name, Track())
            track.differences.append(difference(array, other[name]))
            track.add_witness(shapes_of(feeds), array)
            for outputs in noisy:
                if name in outputs:
                    track.add_noise(array, outputs[name])
            for outputs in stepping:
                if name in outputs:
                    track.add_steps(array, outputs[name])
    return tracks


def run_if_possible(session: Session, feeds: Feeds) -> dict[str, Array]:
    """Without a variant its part of the noise stays unknown: the check is possible, and its tolerance tighter."""
    try:
        return session.run(feeds)
    except ModelError:
        return {}
