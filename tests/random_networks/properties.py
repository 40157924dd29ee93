"""What must hold of anything that bnfold makes of any network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, RuntimeException
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel
from random_graphs.check import EXACT, Vacuous, all_run_wide, compare_outputs, refuse_ties, refuse_vacuous
from random_graphs.truth import in_double
from support import EPSILON, Array, passes_checker

import bnfold
from bnfold.checking.subject import Subject
from bnfold.checking.tolerance import Precision, precision_of, tolerance_for
from bnfold.errors import ModelError, UsageError
from bnfold.model.external import all_tensors
from random_networks.build import Network
from random_networks.changes import CALIBRATIONS, CHANGES, FOLDS, IDENTITIES, WAYS, Result, needs_data
from random_networks.measured import have_the_statistics_that_they_see
from random_networks.onnxruntime_levels import furthest, is_rounded, run_at

REFUSALS = ("needs 2", "is not finite")
"""What bnfold says of data that are too few, or overflow."""
IN_ATTRIBUTES = 2e-6
"""What a fold in float64 may be off by where a new number is float32 in every graph: in an attribute."""
NOISE_SHOWS, MOST_NOISE = 500, 0.1
"""How many epsilon, and how much of max|y|, a network may be off by itself, for a comparison to show something."""
SIFTED = 5
"""Of how many networks one is looked at with all care."""
NARROWED = ("Cast", "DequantizeLinear")
FROM_ATTRIBUTES = ("Clip", "Pad", "DequantizeLinear")

Outputs = list[list[Array]]


@dataclass
class Report:
    """What became of one network.

    Attributes:
        made: the calls.
        refused: calls that bnfold refused, and why.
        gone: affines that went, by direction.
        stayed: affines that stayed, by the code of the refusal.
        put_in: how many BatchNormalizations were put in.
        calibrated: how many got new statistics.
        levels: at which levels of optimisation onnxruntime ran the result.
        checked: what `bnfold.check` says.
        off: how far the result is from what it should be, on onnxruntime, of the tolerance.
    """

    made: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)
    stayed: Counter[str] = field(default_factory=Counter)
    put_in: int = 0
    calibrated: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    off: float = 0.0


@dataclass
class State:
    """A network on its way.

    Attributes:
        model: what has become of it.
        base: the last one whose function the model has to have.
        wide: what `model` computes in float64.
        expected: what `base` computes in float64.
        own: what `base` computes on onnxruntime; `None` where it does not run.
        noise: how far `base` is off by itself, by its roundings and by what roundings of its constants would do to it.
        epsilon: of the narrowest type that the network has.
        sifted: whether folds are also made of the same model as bytes, and in float64.
    """

    model: ModelProto
    base: ModelProto
    wide: Outputs
    expected: Outputs
    own: Outputs | None
    noise: float
    epsilon: float
    sifted: bool


def examine(network: Network, number: int, *, levels: Sequence[str] = ("off", "all")) -> Report:
    """Take the network one of the ways, and test all that must hold after each step and at the end.

    Args:
        network: the network.
        number: chooses the way.
        levels: of onnxruntime's optimisation, at which the result is run.

    Raises:
        AssertionError: something does not hold.
        Vacuous: the network computes nothing that would show it.
    """
    report = Report()
    _refuse_invalid(network.model)
    state = _start(network, sifted=number % SIFTED == 0)
    way = way_of(number, can_run=state.own is not None)
    for name in way:
        _changed(state, name, network, report)
    if way[-1] in FOLDS:
        _is_idempotent(state.model, way[-1])
    if state.own is not None:
        _runs_alike(state, network, levels, report)
        if state.sifted:
            report.checked[_check(state)] += 1
    return report


def _check(state: State) -> str:
    """What the check says, on inputs of its own; it may call different what is right, in a network that is coarse."""
    try:
        found = bnfold.check(state.base, state.model, draws=2, allow_vacuous=True)
    except (ModelError, UsageError):
        return "no inputs found"  # where sizes are open that no weight next to the input settles
    return "equal" if found else "different"


def way_of(number: int, *, can_run: bool) -> tuple[str, ...]:
    """What is done to the network of a number; nothing is measured where onnxruntime does not run it."""
    ways = [way for way in WAYS if can_run or not needs_data(way)]
    return ways[number // SIFTED % len(ways)]


def _start(network: Network, *, sifted: bool) -> State:
    wide = _wide(network.model, network)
    refuse_vacuous(wide)
    refuse_ties(in_double(network.model), network.feeds)
    state = State(network.model, network.model, wide, wide, None, 0.0, _epsilon(network), sifted)
    _rebase(state, network)
    return state


def _rebase(state: State, network: Network) -> None:
    """From here on the model has to compute what it computes now.

    Raises:
        Vacuous: it magnifies roundings until they are all that shows, or is beyond a type that it has.
    """
    state.base, state.expected = state.model, state.wide
    if state.epsilon == EPSILON[np.dtype(np.float16)] and _largest(state.wide) > float(np.finfo(np.float16).max):
        raise Vacuous  # what a Cast makes of such values is infinite or not by chance: by where a map stands
    state.own = _own(state.model, network)
    shaken = _noise_of_constants(state, network)
    state.noise = shaken if state.own is None else max(shaken, _noise(state.expected, state.own))
    if not state.noise <= min(NOISE_SHOWS * state.epsilon, MOST_NOISE):
        raise Vacuous


def _noise_of_constants(state: State, network: Network) -> float:
    """What an epsilon in every constant does to the outputs."""
    return _noise(state.wide, all_run_wide(_shaken(in_double(state.model), state.epsilon), network.feeds))


def _shaken(wide: ModelProto, epsilon: float) -> ModelProto:
    """The graph with every constant off by up to an epsilon, but for whole numbers, which may be sizes."""
    rng = np.random.default_rng(0)
    for tensor in all_tensors(wide):
        if tensor.data_type == TensorProto.DOUBLE:
            values = numpy_helper.to_array(tensor)
            shaken = values * (1 + epsilon * rng.uniform(-1, 1, values.shape))
            kept = np.where(values == np.round(values), values, shaken)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(kept), tensor.name))
    return wide


def _changed(state: State, name: str, network: Network, report: Report) -> None:
    """One step, and what must hold of it."""
    change, before = CHANGES[name], state.model
    try:
        result = _result(before, name, network, sifted=state.sifted)
    except (ModelError, UsageError) as error:
        reason = next((reason for reason in REFUSALS if reason in str(error)), None)
        if reason is None or not change.needs_data:
            raise AssertionError(f"{name}: {error}") from error
        report.refused[f"{name}: a value {reason}"] += 1
        return
    _note(report, name, result)
    wide, noise = _wide(result.model, network), state.noise
    is_coarse = name in FOLDS and network.options.kind == TensorProto.BFLOAT16
    if is_coarse or (name in FOLDS and state.sifted):
        _is_exact_in_float64(before, name, network, state.wide)
    if name in IDENTITIES and state.own is not None:
        _is_identity(before, result.model, network)
    state.model, state.wide = result.model, wide
    if is_coarse:  # thirty weights of 8 bits, each rounded once more, come to a fifth of what comes out
        _rebase(state, network)
        return
    if change.keeps:
        compare_outputs(f"{name}, rounded", state.expected, wide, max(_tolerance(state), 2 * EXACT))
        return
    refuse_vacuous(wide)
    _rebase(state, network)
    if isinstance(result, bnfold.CalibrateResult) and name in CALIBRATIONS:
        shown = before if name == "calibrate" else result.model
        off = max(state.epsilon, noise, state.noise)
        have_the_statistics_that_they_see(result, shown, network.data, off)


def _result(before: ModelProto, name: str, network: Network, *, sifted: bool) -> Result:
    """Do it, and look at everything but the numbers."""
    make, stored = CHANGES[name].make, before.SerializeToString(deterministic=True)
    result = make(before, network.data)
    made = result.model.SerializeToString(deterministic=True)
    assert before.SerializeToString(deterministic=True) == stored, f"{name} changed what the caller passed"
    assert _interface(result.model) == _interface(before), f"{name}: inputs or outputs changed"
    _require_valid(result.model, name)
    if sifted:
        other = make(stored, network.data).model.SerializeToString(deterministic=True)
        assert made == other, f"{name} makes something else of the same model as bytes"
    return result


def _is_idempotent(folded: ModelProto, name: str) -> None:
    again = CHANGES[name].make(folded, ()).model
    same = again.SerializeToString(deterministic=True) == folded.SerializeToString(deterministic=True)
    assert same, f"{name}, again: finds something"


def _interface(model: ModelProto) -> tuple[list[bytes], list[bytes]]:
    """The inputs that a caller feeds and the outputs, with names, types and shapes, in order."""
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry.SerializeToString(deterministic=True) for entry in model.graph.input if entry.name not in held]
    return inputs, [entry.SerializeToString(deterministic=True) for entry in model.graph.output]


def _refuse_invalid(model: ModelProto) -> None:
    """Odd steps make a few networks that strict inference refuses."""
    if not passes_checker(model):
        raise Vacuous


def _require_valid(model: ModelProto, name: str) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise AssertionError(f"{name} makes an invalid model: {error}") from error


def _is_exact_in_float64(before: ModelProto, name: str, network: Network, expected: Outputs) -> None:
    folded = CHANGES[name].make(in_double(before), network.data).model
    old = network.options.opset < 11 or "DequantizeLinear" in network.used
    in_attributes = old and any(op_type in network.used for op_type in FROM_ATTRIBUTES)
    made = all_run_wide(folded, network.feeds)
    compare_outputs(f"{name}, in float64", expected, made, IN_ATTRIBUTES if in_attributes else EXACT)


def _is_identity(before: ModelProto, after: ModelProto, network: Network) -> None:
    """In float32 and float64 what is put in without data changes no bit (docs/insertion.md)."""
    if network.options.kind not in (TensorProto.FLOAT, TensorProto.DOUBLE) or "Cast" in network.used:
        return
    if Subject(before, "the model").stateful:  # onnxruntime writes into statistics, whatever else reads them
        return
    one, other = (run_at(model, network.feeds, "off") for model in (before, after))
    pairs = ((a, b) for values, others in zip(one, other, strict=True) for a, b in zip(values, others, strict=True))
    assert all(np.array_equal(a, b, equal_nan=is_rounded(a)) for a, b in pairs), "an identity changes bits"


def _wide(model: ModelProto, network: Network) -> Outputs:
    return all_run_wide(in_double(model), network.feeds)


def _own(model: ModelProto, network: Network) -> Outputs | None:
    """What onnxruntime makes of it, optimisation off; `None` where it does not run."""
    if network.options.kind == TensorProto.BFLOAT16:
        return None  # Python has no such arrays that could be fed
    return _run_or_none(model, network, "off")


def _run_or_none(model: ModelProto, network: Network, level: str) -> Outputs | None:
    try:
        return run_at(model, network.feeds, level)
    except (Fail, InvalidGraph, NoKernel, RuntimeException):
        return None


def _tolerance(state: State) -> float:
    """What the check tolerates of a model with that noise."""
    name = next(kind.name for kind, size in EPSILON.items() if size == state.epsilon)
    return tolerance_for(name, precision_of(Subject(state.base, "the model")), state.noise).relative


def _largest(outputs: Outputs) -> float:
    """The largest magnitude in any output."""
    return max(float(np.abs(values).max(initial=0.0)) for outs in outputs for values in outs if is_rounded(values))


def _noise(expected: Outputs, made: Outputs) -> float:
    """The largest difference in any output."""
    rounded = [output for output, values in enumerate(expected[0]) if is_rounded(values)]
    return max((furthest(expected, made, output) for output in rounded), default=0.0)


def _epsilon(network: Network) -> float:
    """Of the narrowest type that there is."""
    own = max(EPSILON[values.dtype] for values in network.feeds[0].values() if values.dtype in EPSILON)
    narrowed = [EPSILON[np.dtype(np.float16)]] if "Cast" in network.used else []
    narrowed += [EPSILON[np.dtype(np.float32)]] if network.used.keys() & set(NARROWED) else []
    return max(own, *narrowed, 0.0)


def _runs_alike(state: State, network: Network, levels: Sequence[str], report: Report) -> None:
    """The result on onnxruntime at every level, against what it was made of."""
    rewritten = _run_or_none(state.base, network, "all")
    precision = precision_of(Subject(state.base, "the model"))
    for level in levels:
        made = _run_or_none(state.model, network, level)
        if made is None:
            assert _run_or_none(state.base, network, level) is None, f"onnxruntime, {level}: does not load any more"
            report.levels[f"{level}: loads neither"] += 1  # a fault of its optimiser
            continue
        report.levels[level] += 1
        if rewritten is None and level != "off":
            continue  # what its optimiser does to the original can not be seen
        report.off = max(report.off, _off(state, network, made, rewritten, precision, level))


def _off(
    state: State, network: Network, made: Outputs, rewritten: Outputs | None, precision: Precision, level: str
) -> float:
    """How far the result is off, of what the check tolerates; its own constants may be the ones that magnify."""
    own, worst = state.own or [], 0.0
    for output, values in enumerate(own[0]):
        assert made[0][output].dtype == values.dtype, f"onnxruntime, {level}: output {output} has another type"
        if not is_rounded(values):
            continue
        noise = max(furthest(own, rewritten or own, output), state.noise)
        tolerance = tolerance_for(values.dtype.name, precision, noise).relative
        off = furthest(own, made, output)
        if off > tolerance:
            noise = max(noise, _noise_of_constants(state, network))
            tolerance = tolerance_for(values.dtype.name, precision, noise).relative
        assert off <= tolerance, f"onnxruntime, {level}: output {output} is off by {off:.1e}, of {tolerance:.1e}"
        worst = max(worst, off / tolerance)
    return worst


def _note(report: Report, name: str, result: Result) -> None:
    report.made[name] += 1
    if isinstance(result, bnfold.InsertResult):
        report.put_in += len(result.inserted)
    elif isinstance(result, bnfold.CalibrateResult):
        report.calibrated += len(result.calibrated)
    else:
        report.gone.update(folded.direction for folded in result.folded)
        report.stayed.update(out.refusal.code for out in result.plan.outcomes if out.refusal is not None)
