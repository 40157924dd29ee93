"""How far each of two models is from the same graph in float64.

A model in float32 is off from its own mathematics by the roundings of a run. A rewritten graph is off by its own
roundings, and by those of its new constants. Of one that is *not further from the truth* two things hold:

* What its constants are off by, `exact`, is at most a quarter of the floor of the tolerance (see
  `bnfold.checking.tolerance`). Folds of real models came to 0.04 of the floor at most; a weight that is wrong by 1e-3
  comes to several times the floor.
* Its run, `after`, is off by no more than three times the original's, plus what its constants are off by, plus an
  eighth of the floor. Roundings are luck: folds of real models came to 0.3 to 2.4 times the original's error, the
  largest where that is one or two epsilon, and to 1.9 times where it is more than ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnfold.checking.doubles import Doubles
from bnfold.checking.settings import Settings
from bnfold.checking.statistics import Array, difference
from bnfold.checking.subject import Subject
from bnfold.checking.tolerance import precision_of, tolerance_for
from bnfold.checking.torch_doubles import TorchDoubles, torch_doubles
from bnfold.checking.trials import Feeds
from bnfold.checking.work import work_of
from bnfold.errors import ModelError, RuntimeUnavailable, UsageError
from bnfold.runtime import CUDA

MOST_PRODUCTS = 2 * 10**10
"""Multiplications of a run; a minute or so in float64 on one core."""

MOST_PRODUCTS_IN_TORCH = 2 * 10**12
"""The same for torch, which computes about a hundred times as fast."""

MOST_ELEMENTS = 2**29
"""Elements of all tensors of a run, which onnx.reference keeps until its end: 4 GiB in float64."""

QUICK_PRODUCTS = 2 * 10**9
"""Multiplications of all runs of both graphs together; some seconds."""

QUICK_ELEMENTS = 2**28
"""The same for elements."""

_FACTOR = 3
_SHARE_OF_CONSTANTS = 1 / 4
_SHARE_OF_RUN = 1 / 8


@dataclass(frozen=True)
class Truth:
    """One output, against the original evaluated in float64, on the inputs where the other model is furthest from it.

    Attributes:
        name: The output's name.
        max_y: max|y| of the truth.
        before: max|y - truth| of the original.
        after: max|y - truth| of the other model.
        exact: max|y' - truth| of the other graph evaluated in float64: what its constants are off by, without the
            roundings of a run.
        floor: The floor of the output's tolerance; 0 for values that are not rounded.
    """

    name: str
    max_y: float
    before: float
    after: float
    exact: float
    floor: float

    @property
    def allowed(self) -> float:
        """What `after` may be, for the other model to count as no further from the truth than the original."""
        return _FACTOR * self.before + self.exact + _SHARE_OF_RUN * self.floor

    @property
    def ok(self) -> bool:
        """Whether the other model is no further from the truth than the original."""
        return self.exact <= _SHARE_OF_CONSTANTS * self.floor and self.after <= self.allowed


def truths(
    before: Subject, after: Subject, feeds: Sequence[Feeds], settings: Settings, provider: str
) -> tuple[Truth, ...]:
    """Evaluate both graphs in float64, and compare both models' runs with the original's evaluation.

    Args:
        before: The original.
        after: The other model.
        feeds: The inputs of the check; the first two are used.
        settings: The caller's.
        provider: Where both run, by onnxruntime's name.

    Returns:
        One entry per output, in the order of the graph.

    Raises:
        UsageError: A graph can not be evaluated in float64, or that is too much work.
        ModelError: A model can not be loaded or run.
        RuntimeUnavailable: The provider can not run it.
    """
    return _truths(before, after, feeds[:2], settings, provider)


def quick_truths(
    before: Subject, after: Subject, feeds: Sequence[Feeds], settings: Settings, provider: str
) -> tuple[Truth, ...]:
    """The same on all inputs, where that takes no more than seconds; nothing where it would, or is not possible."""
    try:
        work = [work_of(model.proto, given) for model in (before, after) for given in feeds]
        if sum(run.products for run in work) > QUICK_PRODUCTS or sum(run.elements for run in work) > QUICK_ELEMENTS:
            return ()
        return _truths(before, after, feeds, settings, provider)
    except (UsageError, ModelError, RuntimeUnavailable):
        return ()


def _truths(
    before: Subject, after: Subject, used: Sequence[Feeds], settings: Settings, provider: str
) -> tuple[Truth, ...]:
    settings.progress("evaluating in float64")
    doubles = _evaluated(before, used), _evaluated(after, used)
    sessions = before.session(provider, fresh=True), after.session(provider, fresh=True)
    precision = precision_of(before, tf32=settings.tf32 and provider == CUDA)
    found: dict[str, list[Truth]] = {}
    for given in used:
        exact = [wide.run(given) for wide in doubles]
        runs = [session.run(given) for session in sessions]
        for name, truth in exact[0].items():
            relative = tolerance_for(runs[0][name].dtype.name, precision, 0.0).relative
            entry = _compared(name, truth, relative, runs[0][name], runs[1][name], exact[1][name])
            found.setdefault(name, []).append(entry)
    return tuple(max(entries, key=_severity) for entries in found.values())


def _compared(name: str, truth: Array, relative: float, *others: Array) -> Truth:
    before, after, exact = (difference(truth, other) for other in others)
    return Truth(name, before.max_y, before.needed, after.needed, exact.needed, relative * before.max_y)


def _severity(entry: Truth) -> tuple[bool, float]:
    return not entry.ok, entry.after / entry.max_y if entry.max_y else entry.after


def _evaluated(model: Subject, feeds: Sequence[Feeds]) -> Doubles | TorchDoubles:
    """The graph in float64: by onnx.reference, or by torch where that is there and the graph is large.

    Raises:
        UsageError: It would take minutes, or more memory than a desk has.
    """
    work = [work_of(model.proto, given) for given in feeds]
    products, elements = max(run.products for run in work), max(run.elements for run in work)
    if products <= MOST_PRODUCTS and elements <= MOST_ELEMENTS:
        return Doubles(model)
    fits = products <= MOST_PRODUCTS_IN_TORCH and elements <= MOST_ELEMENTS
    wide = torch_doubles(model) if fits else None
    if wide is None:
        raise UsageError(_too_large(model, products, elements, advice="install torch, " if fits else ""))
    return wide


def _too_large(model: Subject, products: float, elements: float, *, advice: str) -> str:
    return (
        f"{model.label} is too large to be evaluated in float64 on inputs of these sizes: {products:.1e} products "
        f"and {elements:.1e} elements per run, of at most {MOST_PRODUCTS:.0e} and {MOST_ELEMENTS:.0e}; make the "
        f"inputs smaller, with --shape NAME=SIZE or --data, {advice}or check it without --reference"
    )
