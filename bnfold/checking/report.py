"""The outcome of a check, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class OutputComparison:
    """One output of the model before against the same output after, on the worst of the draws.

    Attributes:
        name: The output's name.
        dtype: Its element type, as `"float32"`.
        max_abs: max|y - y'|, in float64, over the positions where both are finite.
        mean_abs: mean|y - y'|.
        max_y: max|y| of the original.
        rel_to_max: `max_abs / max_y`.
        cosine: Of the two outputs as vectors; `None` for types that are not rounded.
        argmax_agreement: The share of rows whose largest entry is the same; `None` where that means nothing.
        noise: The original's own rounding noise in the same unit: max|y - y''|, where y'' comes from onnxruntime's own
            rewriting of the same graph; the worst ratio to max|y| over all draws, times this draw's max|y|.
        tolerance: What `max_abs` may be.
        basis: Where the tolerance comes from, in words.
        shape_match: Whether the shapes agree in every draw.
        nonfinite_match: Whether NaN, +inf and -inf are at the same positions in every draw.
        vacuous: Why the comparison proves nothing, or `None`.
    """

    name: str
    dtype: str
    max_abs: float
    mean_abs: float
    max_y: float
    rel_to_max: float
    cosine: float | None
    argmax_agreement: float | None
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
class CheckReport:
    """What a check found; true when every output is equal and, unless allowed, none of the comparisons is vacuous.

    Attributes:
        outputs: One comparison per output, in graph order; where activations are quantized, one more per output of the
            graphs without their quantizers.
        provider: The execution provider that ran both models.
        placement_before: For each provider that took nodes of the original, their operator types.
        placement_after: The same for the other model.
        seed: The seed of the inputs.
        draws: How many sets of inputs were compared.
        data: The file that the inputs came from, or `None` when they were drawn.
        inputs: The inputs in words, such as `"x float32[2, 3, 32, 32]"`.
        sizes: The sizes chosen for the open axes.
        allow_vacuous: Whether comparisons that prove nothing were to be let pass.
    """

    outputs: tuple[OutputComparison, ...]
    provider: str
    placement_before: Mapping[str, tuple[str, ...]]
    placement_after: Mapping[str, tuple[str, ...]]
    seed: int
    draws: int
    data: str | None
    inputs: tuple[str, ...]
    sizes: Mapping[str, int]
    allow_vacuous: bool

    def __bool__(self) -> bool:
        passed = (output.equal if self.allow_vacuous else output.ok for output in self.outputs)
        return bool(self.outputs) and all(passed)
