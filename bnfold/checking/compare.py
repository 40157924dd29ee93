"""Run two models on the same inputs and say, output by output, whether they agree.

A comparison that could not have failed proves nothing. An output is *vacuous* when the original gives the same for all
draws, within the tolerance, or nothing finite, or nothing at all; or when it changes as much on the same inputs, as a
random model does. Where there is one set of inputs only (`data`, or `draws=1`), the original also runs on a variation
of it, with the float values permuted and scaled.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from bnfold.checking.quantizers import nudged, without_quantizers
from bnfold.checking.report import CheckReport, OutputComparison
from bnfold.checking.settings import Settings
from bnfold.checking.statistics import Array
from bnfold.checking.tolerance import Tolerance, precision_of, tolerance_for, tolerance_given
from bnfold.checking.trials import Track, Variants, run_trials
from bnfold.errors import ModelError, UsageError
from bnfold.runtime import (
    CPU,
    ModelSource,
    Port,
    Session,
    describe,
    draw_inputs,
    find_sizes,
    load_inputs,
    open_session,
    vary_inputs,
)

if TYPE_CHECKING:
    from onnx import ModelProto

    Model: TypeAlias = ModelSource | ModelProto

Feeds: TypeAlias = Mapping[str, Array]

_BEFORE = "the model before"
_AFTER = "the model after"


def check(
    before: Model,
    after: Model,
    *,
    data: str | os.PathLike[str] | None = None,
    seed: int = 0,
    draws: int = 3,
    rtol: float | None = None,
    atol: float | None = None,
    allow_vacuous: bool = False,
) -> CheckReport:
    """Compare two models on the CPU provider, with onnxruntime's own graph rewriting off.

    Args:
        before: The original: a path, a serialized model or a ModelProto.
        after: The model to be proven equal to it.
        data: A .npz file with one array per input, used instead of drawn inputs.
        seed: Seed of the drawn inputs and of the variation.
        draws: How many sets of inputs to draw; each output is judged by the worst.
        rtol: Tolerance relative to max|y|, instead of the derived one (see `bnfold.checking.tolerance`).
        atol: Absolute tolerance, likewise; with one of the two given, the other is 0.
        allow_vacuous: Let comparisons pass that prove nothing.

    Raises:
        UsageError: The options make no sense, the data do not fit, or the graphs differ in inputs or outputs.
        ModelError: A model can not be loaded or run, or has an input or output that is not a tensor.
        RuntimeUnavailable: onnxruntime is not installed.
    """
    settings = Settings(data, seed, draws, rtol, atol, allow_vacuous)
    source, other = _source(before), _source(after)
    original, candidate = _open_pair(source, other)
    sizes = _sizes(source, seed) if data is None else {}
    feeds = _draw_all(original, settings, sizes)
    outputs = _judge(source, original, candidate, feeds, settings, nudged(source))
    outputs += _judge_without_quantizers(source, other, feeds, settings)
    return _report(original, candidate, outputs, feeds, sizes, settings)


def _source(model: Model) -> ModelSource:
    if isinstance(model, str | bytes | os.PathLike):
        return model
    from google.protobuf.message import EncodeError

    try:
        return bytes(model.SerializeToString())
    except (ValueError, EncodeError) as error:
        raise ModelError(f"the model can not be serialized ({error}); save it and pass its path") from error


def _open_pair(before: ModelSource, after: ModelSource) -> tuple[Session, Session]:
    original = open_session(before, label=_BEFORE)
    candidate = open_session(after, label=_AFTER)
    _require_same_ports("input", original.inputs, candidate.inputs)
    _require_same_ports("output", original.outputs, candidate.outputs)
    return original, candidate


def _sizes(source: ModelSource, seed: int) -> dict[str, int]:
    """Try sizes on a session of their own: a training-mode normalization changes a session's state at every run."""
    return find_sizes(open_session(source, label=_BEFORE), seed=seed)


def _variants(source: ModelSource, moved: Iterable[ModelSource]) -> Variants:
    """What shows how far the original may be moved: as onnxruntime rewrites it, and with quantizers nudged."""
    others = (_open_if_possible(model) for model in moved)
    return Variants(_open_if_possible(source, optimized=True), [session for session in others if session is not None])


def _open_if_possible(source: ModelSource, *, optimized: bool = False) -> Session | None:
    """A session, or nothing where onnxruntime can not load the model so."""
    try:
        return open_session(source, optimized=optimized)
    except ModelError:
        return None


def _require_same_ports(kind: str, before: Sequence[Port], after: Sequence[Port]) -> None:
    names = [[port.name for port in ports] for ports in (before, after)]
    if names[0] != names[1]:
        raise UsageError(f"the models have different {kind}s: {names[0]} before, {names[1]} after")
    for first, second in zip(before, after, strict=True):
        if not first.is_tensor:
            raise ModelError(f"{kind} {first.name!r} is {first.dtype}; only tensors can be compared")
        if first.dtype != second.dtype:
            raise UsageError(f"{kind} {first.name!r} is {first.dtype} before and {second.dtype} after")
        # onnxruntime gives an unknown rank as an empty shape, so an empty one says nothing.
        if first.shape and second.shape and len(first.shape) != len(second.shape):
            raise UsageError(f"{kind} {first.name!r} has rank {len(first.shape)} before and {len(second.shape)} after")


def _draw_all(session: Session, settings: Settings, sizes: Mapping[str, int]) -> list[Feeds]:
    if settings.data is not None:
        return [load_inputs(settings.data, session.inputs)]
    draws = range(settings.draws)
    return [draw_inputs(session.inputs, seed=settings.seed, draw=draw, sizes=sizes) for draw in draws]


def _judge(
    source: ModelSource,
    original: Session,
    candidate: Session,
    feeds: Sequence[Feeds],
    settings: Settings,
    moved: Iterable[ModelSource],
) -> tuple[OutputComparison, ...]:
    tracks = run_trials(original, _variants(source, moved), candidate, feeds)
    _witness(source, tracks, feeds, settings.seed)
    tolerances = _tolerances(original.outputs, tracks, source, settings)
    return tuple(_compare(port, tracks[port.name], tolerances[port.name]) for port in original.outputs)


def _judge_without_quantizers(
    source: ModelSource, other: ModelSource, feeds: Sequence[Feeds], settings: Settings
) -> tuple[OutputComparison, ...]:
    """The same comparison where no quantizer hides a small error; none where there are no quantizers to take out."""
    before, after = without_quantizers(source), without_quantizers(other)
    if not before or not after:
        return ()
    sessions = [_open_if_possible(models[0]) for models in (before, after)]
    if sessions[0] is None or sessions[1] is None:
        return ()
    outputs = _judge(before[0], sessions[0], sessions[1], feeds, settings, before[1:])
    return tuple(replace(output, name=f"{output.name}, no quantizers") for output in outputs)


def _witness(source: ModelSource, tracks: Mapping[str, Track], feeds: Sequence[Feeds], seed: int) -> None:
    """See to it that every track knows whether the inputs, and nothing but the inputs, move its output."""
    session = open_session(source, label=_BEFORE)
    first, again = session.run(feeds[0]), session.run(feeds[0])
    for name, array in first.items():
        tracks[name].add_repeat(array, again[name])
    if len(feeds) > 1:
        return
    for name, array in session.run(vary_inputs(feeds[0], seed=seed)).items():
        tracks[name].add_witness(array)


def _tolerances(
    ports: Sequence[Port], tracks: Mapping[str, Track], source: ModelSource, settings: Settings
) -> dict[str, Tolerance]:
    if settings.tolerance_given:
        return {port.name: tolerance_given(port.dtype, settings.rtol, settings.atol) for port in ports}
    precision = precision_of(source)
    return {
        port.name: tolerance_for(port.dtype, precision, tracks[port.name].noise, tracks[port.name].steps)
        for port in ports
    }


def _compare(port: Port, track: Track, tolerance: Tolerance) -> OutputComparison:
    worst = max(track.differences, key=lambda found: _ratio(found.needed, tolerance.at(found.max_y)))
    return OutputComparison(
        name=port.name,
        dtype=port.dtype,
        max_abs=worst.max_abs,
        mean_abs=worst.mean_abs,
        max_y=worst.max_y,
        rel_to_max=_ratio(worst.max_abs, worst.max_y),
        cosine=worst.cosine,
        argmax_agreement=worst.argmax_agreement,
        noise=track.noise * worst.max_y,
        tolerance=tolerance.at(worst.max_y),
        basis=tolerance.basis,
        shape_match=all(found.shape_match for found in track.differences),
        nonfinite_match=all(found.nonfinite_match for found in track.differences),
        vacuous=_vacuous(track, tolerance),
    )


def _vacuous(track: Track, tolerance: Tolerance) -> str | None:
    if all(found.size == 0 for found in track.differences):
        return "is empty on these inputs"
    if all(found.finite == 0 for found in track.differences):
        return "is not finite on these inputs"
    if track.sensitivity == 0:
        return "does not depend on the inputs"
    if track.drift >= track.sensitivity / 2:
        return "changes as much when the same inputs are given again"
    if track.sensitivity <= tolerance.at(max(found.max_y for found in track.differences)):
        return "changes with the inputs by less than the tolerance"
    return None


def _report(
    original: Session,
    candidate: Session,
    outputs: tuple[OutputComparison, ...],
    feeds: Sequence[Feeds],
    sizes: Mapping[str, int],
    settings: Settings,
) -> CheckReport:
    return CheckReport(
        outputs=outputs,
        provider=CPU,
        placement_before=original.placement,
        placement_after=candidate.placement,
        seed=settings.seed,
        draws=len(feeds),
        data=None if settings.data is None else os.fspath(settings.data),
        inputs=describe(feeds[0]),
        sizes=sizes,
        allow_vacuous=settings.allow_vacuous,
    )


def _ratio(value: float, base: float) -> float:
    """`value / base`, where nothing of nothing is 0."""
    if base > 0:
        return value / base
    return float("inf") if value > 0 else 0.0
