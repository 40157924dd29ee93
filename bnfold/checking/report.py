"""The outcome of a check, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.runtime import Placement

if TYPE_CHECKING:
    from bnfold.checking.location import Location
    from bnfold.checking.truth import Truth


@dataclass(frozen=True)
class OutputComparison:
    """One output of the model before against the same output after, on the worst of the draws.

    Attributes:
        name: The output's name.
        dtype: Its element type, as `"float32"`.
        max_abs: ``max|y - y'|``, in float64, over the positions where both are finite.
        mean_abs: ``mean|y - y'|``.
        max_rel: ``max(|y - y'| / |y|)`` over the positions where y is not 0.
        max_y: ``max|y|`` of the original.
        rel_to_max: `max_abs / max_y`.
        cosine: Of the two outputs as vectors; `None` for types that are not rounded.
        argmax_agreement: The share of rows whose largest entry is the same; `None` for what is no table of scores.
        ulps: How many elements differ by how many representable numbers: by 0, by 1, by 2, by up to 4, 8, 16, and so
            on; empty for types that are not rounded.
        noise: The original's own rounding noise in the same unit: ``max|y - y''|``, where y'' comes from onnxruntime's
            own rewriting of the same graph; the worst ratio to ``max|y|`` over all draws, times this draw's ``max|y|``.
        tolerance: What `max_abs` may be.
        basis: Where the tolerance comes from, in words.
        shape_match: Whether the shapes agree in every draw.
        nonfinite_match: Whether NaN, +inf and -inf are at the same positions in every draw; not judged where
            onnxruntime's own rewriting of the original moves them, which is vacuous.
        vacuous: Why the comparison proves nothing, or `None`.
    """

    name: str
    dtype: str
    max_abs: float
    mean_abs: float
    max_rel: float
    max_y: float
    rel_to_max: float
    cosine: float | None
    argmax_agreement: float | None
    ulps: tuple[int, ...]
    noise: float
    tolerance: float
    basis: str
    shape_match: bool
    nonfinite_match: bool
    vacuous: str | None

    @property
    def equal(self) -> bool:
        """Whether the two agree within the tolerance, whatever that proves."""
        return self.needed <= self.tolerance

    @property
    def ok(self) -> bool:
        """Whether the two agree and the comparison could have failed."""
        return self.equal and self.vacuous is None

    @property
    def needed(self) -> float:
        """The tolerance that would have passed; infinite where no tolerance would."""
        return self.max_abs if self.shape_match and self.nonfinite_match else float("inf")


@dataclass(frozen=True)
class Matchup:
    """Where the two models run.

    Attributes:
        before: The execution provider of the original.
        after: That of the other model.
        optimized: Whether onnxruntime may rewrite both, as it does where they are deployed.
    """

    before: str
    after: str
    optimized: bool = False

    def __str__(self) -> str:
        where = self.before if self.before == self.after else f"{self.before} against {self.after}"
        return f"{where}, graph optimisation {'on, as deployed' if self.optimized else 'off'}"


@dataclass(frozen=True)
class Comparison:
    """Two models, compared where one matchup says.

    Attributes:
        matchup: Where they ran.
        outputs: One comparison per output, in graph order; where activations are quantized, one more per output of the
            graphs without their quantizers.
        placement_before: For each provider that took nodes of the original, their operator types.
        placement_after: The same for the other model.
    """

    matchup: Matchup
    outputs: tuple[OutputComparison, ...]
    placement_before: Placement
    placement_after: Placement


@dataclass(frozen=True)
class CheckReport:
    """What a check found; true when every output is equal and, unless allowed, none of the comparisons is vacuous.

    Attributes:
        comparisons: One per matchup.
        seed: The seed of the inputs.
        draws: How many sets of inputs were compared.
        data: The files that the inputs came from; empty when they were drawn.
        inputs: The inputs in words, such as `"x float32[2, 3, 32, 32]"`: a tuple for every different set of shapes.
        sizes: The sizes chosen for the open axes, for every different choice.
        allow_vacuous: Whether comparisons that prove nothing were to be let pass.
        remarks: What a reader should know besides: providers left out, operators that are random or keep state.
        versions: Of onnxruntime, and of CUDA and cuDNN where they are there.
        location: The first tensor that differs, where that was asked for.
        truths: How far each model is from the same graph in float64, per output, where that was asked for.
    """

    comparisons: tuple[Comparison, ...]
    seed: int
    draws: int
    data: tuple[str, ...]
    inputs: tuple[tuple[str, ...], ...]
    sizes: tuple[Mapping[str, int], ...]
    allow_vacuous: bool
    remarks: tuple[str, ...] = ()
    versions: Mapping[str, str] | None = None
    location: Location | None = None
    truths: tuple[Truth, ...] = ()

    @property
    def outputs(self) -> tuple[OutputComparison, ...]:
        """The outputs of all comparisons, one after the other."""
        return tuple(output for comparison in self.comparisons for output in comparison.outputs)

    @property
    def provider(self) -> str:
        """The provider on which the other model ran in the first comparison."""
        return self.comparisons[0].matchup.after

    @property
    def placement_before(self) -> Placement:
        """Which provider took which nodes of the original, in the first comparison."""
        return self.comparisons[0].placement_before

    @property
    def placement_after(self) -> Placement:
        """Which provider took which nodes of the other model, in the first comparison."""
        return self.comparisons[0].placement_after

    def __bool__(self) -> bool:
        passed = (output.equal if self.allow_vacuous else output.ok for output in self.outputs)
        return bool(self.comparisons) and all(bool(found.outputs) for found in self.comparisons) and all(passed)
