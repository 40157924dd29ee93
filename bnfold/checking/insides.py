"""How far apart two graphs are at each tensor that both have.

Each tensor has the tolerance that it would have as an output, with the linear operators in front of it. Where that is
exceeded, the original's own noise at this tensor is measured as well, as it is for outputs. What is still beyond is
*rescaled* where it is a map per channel of what it was (see `bnfold.checking.channels`), and *different* where it is
not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bnfold.checking.channels import distance_from_affine
from bnfold.checking.intermediates import Place, values_of
from bnfold.checking.location import DIFFERENT, EQUAL, RESCALED, TensorError
from bnfold.checking.quantizers import nudged
from bnfold.checking.rerounded import rerounded
from bnfold.checking.settings import Settings
from bnfold.checking.statistics import Array, Difference, difference, is_float
from bnfold.checking.subject import Subject
from bnfold.checking.tensors import Tensor
from bnfold.checking.tolerance import Precision, Tolerance, precision_of, tolerance_for, tolerance_given
from bnfold.checking.trials import Feeds, Track
from bnfold.errors import ModelError
from bnfold.runtime import CUDA


@dataclass(frozen=True)
class _Measured:
    """What the runs say about one tensor.

    Attributes:
        tensor: Which.
        dtype: Its element type.
        differences: The other graph's against the original's, one per run.
        from_affine: How far the other graph's is from a map per channel of the original's.
        peak: The largest magnitude of the other graph's.
    """

    tensor: Tensor
    dtype: str
    differences: tuple[Difference, ...]
    from_affine: float = float("inf")
    peak: float = 0.0

    def exceeds(self, tolerance: Tolerance) -> bool:
        return any(found.needed > tolerance.at(found.max_y) for found in self.differences)

    def judged(self, tolerance: Tolerance) -> TensorError:
        worst = max(self.differences, key=lambda found: _ratio(found.needed, tolerance.at(found.max_y)))
        state = EQUAL
        if self.exceeds(tolerance):
            state = RESCALED if self.from_affine <= tolerance.at(self.peak) else DIFFERENT
        return TensorError(
            name=self.tensor.name,
            producer=self.tensor.producer,
            max_abs=worst.needed,
            rel_to_max=_ratio(worst.needed, worst.max_y),
            tolerance=tolerance.at(worst.max_y),
            state=state,
        )


def _ratio(error: float, scale: float) -> float:
    if error == 0.0:
        return 0.0
    return error / scale if scale > 0 else float("inf")


@dataclass(frozen=True)
class Insides:
    """Two models, what is fed to them, and where they run."""

    before: Subject
    after: Subject
    runs: Sequence[Feeds]
    settings: Settings
    provider: str
    chunk_bytes: int

    def errors(self, tensors: Sequence[Tensor]) -> dict[str, TensorError]:
        """By name; the noise is measured where a tensor would be different without it."""
        self.settings.progress("comparing the tensors inside")
        measured = list(self._measured(tensors))
        found = {entry.tensor.name: entry.judged(self._tolerance(entry, Track())) for entry in measured}
        beyond = [entry for entry in measured if found[entry.tensor.name].state == DIFFERENT]
        if beyond and not self.settings.tolerance_given:
            tracks = self._tracks([entry.tensor for entry in beyond])
            found |= {e.tensor.name: e.judged(self._tolerance(e, tracks[e.tensor.name])) for e in beyond}
        return found

    def _measured(self, tensors: Sequence[Tensor]) -> Iterator[_Measured]:
        models, places = (self.before, self.after), (Place(self.provider), Place(self.provider))
        for tensor, held in values_of(models, tensors, self.runs, places, self.chunk_bytes):
            pairs = [(run[0], run[1]) for run in held]
            yield self._compared(tensor, pairs)

    def _compared(self, tensor: Tensor, pairs: Sequence[tuple[Array, Array]]) -> _Measured:
        first = pairs[0][0]
        differences = tuple(difference(before, after) for before, after in pairs)
        entry = _Measured(tensor, first.dtype.name, differences)
        if not is_float(first) or not entry.exceeds(self._tolerance(entry, Track())):
            return entry
        if not all(found.nonfinite_match for found in differences):
            return entry
        peak = max(difference(after, after).max_y for _, after in pairs)
        return replace(entry, from_affine=distance_from_affine(pairs), peak=peak)

    def _tolerance(self, entry: _Measured, track: Track) -> Tolerance:
        if self.settings.tolerance_given:
            return tolerance_given(entry.dtype, self.settings.rtol, self.settings.atol)
        precision = Precision(self._precision.narrowest, entry.tensor.linear)
        return tolerance_for(entry.dtype, precision, track.noise, track.steps)

    @cached_property
    def _precision(self) -> Precision:
        return precision_of(self.before, tf32=self.settings.tf32 and self.provider == CUDA)

    def _tracks(self, tensors: Sequence[Tensor]) -> dict[str, Track]:
        """The noise of the original at each tensor, and what a few steps of its integers do there."""
        self.settings.progress("measuring the noise inside")
        tracks = {tensor.name: Track() for tensor in tensors}
        self._beside(self.before, True, tensors, lambda name, one, other: tracks[name].add_noise(one, other))
        if (model := rerounded(self.before)) is not None:
            variant = Subject(model, self.before.label, tf32=self.before.tf32)
            self._beside(variant, False, tensors, lambda name, one, other: tracks[name].add_noise(one, other))
        for model in nudged(self.before, self.after):
            variant = Subject(model, self.before.label, tf32=self.before.tf32)
            self._beside(variant, False, tensors, lambda name, one, other: tracks[name].add_steps(one, other))
        return tracks

    def _beside(
        self, variant: Subject, optimized: bool, tensors: Sequence[Tensor], add: Callable[[str, Array, Array], None]
    ) -> None:
        """The original beside a variant of it; one that can not be run leaves the tolerance tighter."""
        places = (Place(self.provider), Place(self.provider, optimized))
        try:
            for tensor, held in values_of((self.before, variant), tensors, self.runs, places, self.chunk_bytes):
                for run in held:
                    add(tensor.name, run[0], run[1])
        except ModelError:
            return
