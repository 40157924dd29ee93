"""One matchup: run both models on the same inputs, and say output by output whether they agree.

A comparison that could not have failed proves nothing. An output is *vacuous* when the original gives the same for all
draws of one shape, within the tolerance, or nothing finite, or nothing at all; or when it changes as much on the same
inputs, as a random model does. Where no two sets of inputs have the same shapes, the original also runs on a variation
of the first, with the float values permuted and scaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bnfold.checking.quantizers import nudged, without_quantizers
from bnfold.checking.report import Comparison, Matchup, OutputComparison
from bnfold.checking.rerounded import rerounded
from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.checking.tolerance import Tolerance, precision_of, tolerance_for, tolerance_given
from bnfold.checking.trials import Feeds, Track, Variants, run_if_possible, run_trials, shapes_of
from bnfold.runtime import CUDA, Port, Session, vary_inputs


def judge(before: Subject, after: Subject, matchup: Matchup, feeds: Sequence[Feeds], settings: Settings) -> Comparison:
    """Compare two models where a matchup says.

    Raises:
        ModelError: A model can not be run on these inputs.
    """
    judging = _Judging(before, after, matchup, feeds, settings)
    outputs = judging.outputs(nudged(before, after))
    if not matchup.optimized:
        outputs += _without_quantizers(judging)
    return Comparison(matchup, outputs, judging.original.placement, judging.candidate.placement)


class _Judging:
    """Two models, where they run, and what is fed to them."""

    def __init__(
        self, before: Subject, after: Subject, matchup: Matchup, feeds: Sequence[Feeds], settings: Settings
    ) -> None:
        self.before = before
        self.after = after
        self.matchup = matchup
        self.feeds = feeds
        self.settings = settings
        self.original = before.session(matchup.before, optimized=matchup.optimized, fresh=True)
        self.candidate = after.session(matchup.after, optimized=matchup.optimized, fresh=True)

    def outputs(self, moved: Iterable[bytes]) -> tuple[OutputComparison, ...]:
        """Compare the outputs; `moved` are variants of the original in which a few integers are other ones."""
        variants = Variants(self._rewritten(), self._sessions_of(moved))
        tracks = run_trials(self.original, variants, self.candidate, self.feeds, self.settings.progress)
        self._witness(tracks)
        found = self._compared(tracks)
        off = {output.name: tracks[output.name] for output in found if _is_off(output)}
        if not off or self.settings.tolerance_given or self.before.random:
            return found
        for measure in (self._measure_roundings, self._measure_errors):
            measure(off)
            found = self._compared(tracks)
            if not any(_is_off(output) for output in found):
                break
        return found

    def _compared(self, tracks: Mapping[str, Track]) -> tuple[OutputComparison, ...]:
        tolerances = self._tolerances(tracks)
        return tuple(_compared(port, tracks[port.name], tolerances[port.name]) for port in self.original.outputs)

    def _measure_roundings(self, tracks: Mapping[str, Track]) -> None:
        """Take in as noise what one rounding of its weights does to the original."""
        model = rerounded(self.before)
        original = self.before.session(self.matchup.before, optimized=self.matchup.optimized, fresh=True)
        for session in self._sessions_of([] if model is None else [model]):
            for number, feeds in enumerate(self.feeds, 1):
                self.settings.progress(f"its weights rounded otherwise, inputs {number}")
                reference, other = original.run(feeds), run_if_possible(session, feeds)
                for name in tracks.keys() & other.keys():
                    tracks[name].add_noise(reference[name], other[name])

    def _measure_errors(self, tracks: Mapping[str, Track]) -> None:
        """Take in as noise how far a run is from the graph in float64, if the other graph is the same one there."""
        from bnfold.checking.truth import quick_truths  # and onnx's evaluator with it

        where = self.matchup.before
        if where != self.matchup.after or self.matchup.optimized:
            return
        for truth in quick_truths(self.before, self.after, self.feeds, self.settings, where):
            if truth.name in tracks and truth.ok and truth.max_y > 0:
                tracks[truth.name].noise = max(tracks[truth.name].noise, max(truth.before, truth.after) / truth.max_y)

    def _rewritten(self) -> list[Session]:
        """The original under the other setting of the optimiser, and on the other provider."""
        where, other = self.matchup.before, self.matchup.after
        found = [self.before.session_if_possible(where, optimized=not self.matchup.optimized)]
        if other != where:
            found.append(self.before.session_if_possible(other, optimized=self.matchup.optimized))
        return [session for session in found if session is not None]

    def _sessions_of(self, models: Iterable[bytes]) -> list[Session]:
        subjects = [Subject(model, self.before.label, tf32=self.before.tf32) for model in models]
        found = [subject.session_if_possible(self.matchup.before) for subject in subjects]
        return [session for session in found if session is not None]

    def _witness(self, tracks: Mapping[str, Track]) -> None:
        """See to it that every track knows whether the inputs, and nothing but the inputs, move its output."""
        session = self.before.session(self.matchup.before, optimized=self.matchup.optimized, fresh=True)
        given = self.feeds[0]
        shapes = shapes_of(given)
        # One that was not opened anew has run on these inputs in the trials.
        ran = session is self.original
        first = {name: track.firsts[shapes] for name, track in tracks.items()} if ran else session.run(given)
        again = session.run(given)
        for name, array in first.items():
            tracks[name].add_repeat(array, again[name])
        if len({shapes_of(feeds) for feeds in self.feeds}) < len(self.feeds):
            return
        for name, array in session.run(vary_inputs(given, seed=self.settings.seed)).items():
            tracks[name].add_witness(shapes, array)

    def _tolerances(self, tracks: Mapping[str, Track]) -> dict[str, Tolerance]:
        ports, settings = self.original.outputs, self.settings
        if settings.tolerance_given:
            return {port.name: tolerance_given(port.dtype, settings.rtol, settings.atol) for port in ports}
        precision = precision_of(self.before, tf32=settings.tf32 and CUDA in (self.matchup.before, self.matchup.after))
        return {
            port.name: tolerance_for(port.dtype, precision, tracks[port.name].noise, tracks[port.name].steps)
            for port in ports
        }


def _without_quantizers(judging: _Judging) -> tuple[OutputComparison, ...]:
    """The same comparison where no quantizer hides a small error; none where there are no quantizers to take out."""
    models = without_quantizers(judging.before, judging.after)
    if not models:
        return ()
    original, *moved, other = models
    subjects = [Subject(model, judging.before.label, tf32=judging.before.tf32) for model in (original, other)]
    places = (judging.matchup.before, judging.matchup.after)
    if not all(subject.session_if_possible(place) for subject, place in zip(subjects, places, strict=True)):
        return ()
    bare = _Judging(subjects[0], subjects[1], judging.matchup, judging.feeds, judging.settings)
    return tuple(replace(output, name=f"{output.name}, no quantizers") for output in bare.outputs(moved))


def _is_off(output: OutputComparison) -> bool:
    """Whether it counts as different, and a larger tolerance would help."""
    return not output.equal and output.needed < float("inf")


def _compared(port: Port, track: Track, tolerance: Tolerance) -> OutputComparison:
    worst = max(track.differences, key=lambda found: _ratio(found.needed, tolerance.at(found.max_y)))
    return OutputComparison(
        name=port.name,
        dtype=port.dtype,
        max_abs=worst.max_abs,
        mean_abs=worst.mean_abs,
        max_rel=worst.max_rel,
        max_y=worst.max_y,
        rel_to_max=_ratio(worst.max_abs, worst.max_y),
        cosine=worst.cosine,
        argmax_agreement=worst.argmax_agreement,
        ulps=worst.ulps,
        noise=track.noise * worst.max_y,
        tolerance=tolerance.at(worst.max_y),
        basis=tolerance.basis,
        shape_match=all(found.shape_match for found in track.differences),
        nonfinite_match=track.overflows or all(found.nonfinite_match for found in track.differences),
        vacuous=_vacuous(track, tolerance),
    )


def _vacuous(track: Track, tolerance: Tolerance) -> str | None:
    if all(found.size == 0 for found in track.differences):
        return "is empty on these inputs"
    if all(found.finite == 0 for found in track.differences):
        return "is not finite on these inputs"
    if track.overflows:
        return "overflows on these inputs, at other places when onnxruntime rewrites the graph"
    if track.sensitivity == 0:
        return "does not depend on the inputs"
    if track.drift >= track.sensitivity / 2:
        return "changes as much when the same inputs are given again"
    if track.sensitivity <= tolerance.at(max(found.max_y for found in track.differences)):
        return "changes with the inputs by less than the tolerance"
    return None


def _ratio(value: float, base: float) -> float:
    """`value / base`, where nothing of nothing is 0."""
    if base > 0:
        return value / base
    return float("inf") if value > 0 else 0.0
