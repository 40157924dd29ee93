"""Whether two models compute the same: the whole check, from two models to a report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bnfold.checking.feeding import Feeding, feed
from bnfold.checking.judging import judge
from bnfold.checking.matchups import matchups
from bnfold.checking.report import CheckReport, Comparison
from bnfold.checking.settings import DataPath, Progress, Settings, no_progress
from bnfold.checking.subject import Subject
from bnfold.checking.trials import Feeds
from bnfold.errors import ModelError, UsageError
from bnfold.runtime import Port, describe, versions

if TYPE_CHECKING:
    from bnfold.checking.subject import Model

_BEFORE = "the model before"
_AFTER = "the model after"


def check(
    before: Model,
    after: Model,
    *,
    provider: str = "cpu",
    data: DataPath | Sequence[DataPath] | None = None,
    shapes: Sequence[Mapping[str, int]] = (),
    seed: int = 0,
    draws: int = 3,
    rtol: float | None = None,
    atol: float | None = None,
    allow_vacuous: bool = False,
    optimized: bool = False,
    tf32: bool = False,
    locate: bool = False,
    reference: str | None = None,
    progress: Progress = no_progress,
) -> CheckReport:
    """Run two models on the same inputs and say whether they compute the same.

    Both run with onnxruntime's own graph rewriting off, else it would fold both and the comparison would say nothing.

    Args:
        before: The original: a path, a serialized model, a ModelProto, an onnx_ir.Model or a torch.onnx.ONNXProgram.
        after: The model to be proven equal to it.
        provider: `"cpu"`, `"cuda"`, an onnxruntime provider name, or `"all"`: each that can run both models, and the
            original on the CPU against the other on each of them. A provider that took no node that computes is an
            error, never a run on the CPU.
        data: Files of inputs, used instead of drawn ones: .npz with one array per input, a folder of such files or of
            one .npy per input.
        shapes: Sizes of open axes by name, one mapping per set of sizes to draw inputs for.
        seed: Seed of the drawn inputs and of the variation.
        draws: How many sets of inputs to draw for the first sizes; each output is judged by the worst.
        rtol: Tolerance relative to max|y|, instead of the derived one (see `bnfold.checking.tolerance`).
        atol: Absolute tolerance, likewise; with one of the two given, the other is 0.
        allow_vacuous: Let comparisons pass that prove nothing.
        optimized: Compare as deployed too, with onnxruntime's rewriting on.
        tf32: Let CUDA round the factors of float32 products to 10 bits, and tolerate what that does.
        locate: Look for the first tensor inside the graphs that differs.
        reference: `"float64"`: evaluate both graphs in double too, and say how far each model is from that.
        progress: Called with what is being done.

    Raises:
        UsageError: The options make no sense, the data do not fit, or the graphs differ in inputs or outputs.
        ModelError: A model can not be loaded or run, or has an input or output that is not a tensor.
        RuntimeUnavailable: onnxruntime is not installed, or the provider can not run the models on this machine.
    """
    settings = Settings(
        provider=provider,
        data=_paths(data),
        shapes=shapes,
        seed=seed,
        draws=draws,
        rtol=rtol,
        atol=atol,
        allow_vacuous=allow_vacuous,
        optimized=optimized,
        tf32=tf32,
        locate=locate,
        reference=reference,
        progress=progress,
    )
    with _memory_errors():
        return _checked(Subject(before, _BEFORE, tf32=tf32), Subject(after, _AFTER, tf32=tf32), settings)


def _checked(before: Subject, after: Subject, settings: Settings) -> CheckReport:
    settings.progress("loading")
    planned, remarks = matchups(before, after, settings)
    sessions = [subject.session(place) for subject, place in ((before, planned[0].before), (after, planned[0].after))]
    _require_same_ports("input", sessions[0].inputs, sessions[1].inputs)
    _require_same_ports("output", sessions[0].outputs, sessions[1].outputs)
    feeding = feed(before, sessions[0], settings)
    comparisons = tuple(judge(before, after, matchup, feeding.feeds, settings) for matchup in planned)
    report = _report(comparisons, feeding, settings, (*remarks, *feeding.remarks, *_traits(before, after)))
    return _looked_into(report, before, after, feeding.feeds, settings)


def _looked_into(
    report: CheckReport, before: Subject, after: Subject, feeds: Sequence[Feeds], settings: Settings
) -> CheckReport:
    """The report with what was asked for besides: where the graphs part, and how far each is from the truth."""
    place = report.comparisons[0].matchup.after
    if settings.locate:
        from bnfold.checking.locate import locate

        report = replace(report, location=locate(before, after, feeds, settings, place))
    if settings.reference is not None:
        from bnfold.checking.truth import truths

        report = replace(report, truths=truths(before, after, feeds, settings, place))
    return report


def _paths(data: DataPath | Sequence[DataPath] | None) -> tuple[DataPath, ...]:
    if data is None:
        return ()
    return (data,) if isinstance(data, str | os.PathLike) else tuple(data)


def _require_same_ports(kind: str, before: Sequence[Port], after: Sequence[Port]) -> None:
    names = [[port.name for port in ports] for ports in (before, after)]
    if names[0] != names[1]:
        raise UsageError(f"the models have different {kind}s: {_differing(*names)}")
    for first, second in zip(before, after, strict=True):
        if not first.is_tensor:
            raise ModelError(f"{kind} {first.name!r} is {first.dtype}; only tensors can be compared")
        if first.dtype != second.dtype:
            raise UsageError(f"{kind} {first.name!r} is {first.dtype} before and {second.dtype} after")
        # onnxruntime gives an unknown rank as an empty shape, so an empty one says nothing.
        if first.shape and second.shape and len(first.shape) != len(second.shape):
            raise UsageError(f"{kind} {first.name!r} has rank {len(first.shape)} before and {len(second.shape)} after")


def _differing(before: list[str], after: list[str]) -> str:
    """Which names are only before or only after; both lists, where only the order differs."""
    only = [
        f"{', '.join(map(repr, names))} only {where}"
        for names, where in (
            ([name for name in before if name not in after], "before"),
            ([name for name in after if name not in before], "after"),
        )
        if names
    ]
    return " and ".join(only) or f"{before} before, {after} after"


def _traits(before: Subject, after: Subject) -> Iterator[str]:
    """Remarks on operators whose results do not follow from their inputs alone."""
    for subject in (before, after):
        if subject.random:
            yield f"{subject.label} draws random numbers: {', '.join(subject.random)}"
        if subject.stateful:
            yield f"{subject.label} normalizes in training mode and may keep state: {', '.join(subject.stateful)}"


def _report(
    comparisons: tuple[Comparison, ...], feeding: Feeding, settings: Settings, remarks: tuple[str, ...]
) -> CheckReport:
    return CheckReport(
        comparisons=comparisons,
        seed=settings.seed,
        draws=len(feeding.feeds),
        data=tuple(os.fspath(path) for path in settings.data),
        inputs=tuple(dict.fromkeys(describe(feeds) for feeds in feeding.feeds)),
        sizes=feeding.sizes,
        allow_vacuous=settings.allow_vacuous,
        remarks=remarks,
        versions=versions(),
    )


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Running out of memory is a fact about the model and this machine, and told like one.

    Raises:
        ModelError: The block ran out of memory.
    """
    try:
        yield
    except MemoryError as error:
        raise ModelError(
            f"there is not enough memory to run the models and compare them ({error or 'no details'}); "
            "draw smaller inputs, with --shape NAME=SIZE"
        ) from error
