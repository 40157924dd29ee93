"""What must hold of the fold of any graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel
from support import EPSILON, Array, Feeds, interface, passes_checker, run_ort

import bnfold
from bnfold.model.graph import scope_protos
from random_graphs.build import Built
from random_graphs.truth import all_evaluated, in_double, sorted_model

EXACT = 1e-10
"""Of max|y|: a million epsilon, and a wrong number shows at 1e-3."""
IN_ATTRIBUTES = 2e-6
"""The same where a new number is float32 in every graph: in an attribute, and behind a DequantizeLinear."""
LOST = 64 * 2.0**-52
"""Of the largest number on the way, what float64 may lose of it in a few operations."""
WITH_EPSILON = {"InstanceNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization"}
"""Operators with an attribute of which a scale in front becomes a part."""
ROUNDINGS = 2000
"""How many epsilon of its own type a fold may be off: it rounds each constant once, and graphs magnify that."""


class Vacuous(Exception):
    """Nothing can be told from these outputs: not finite, or all one number."""


@dataclass
class Report:
    """What became of the affines of one graph.

    Attributes:
        gone: how many went, by direction.
        stayed: how many stayed, by the code of the refusal.
    """

    gone: Counter[str] = field(default_factory=Counter)
    stayed: Counter[str] = field(default_factory=Counter)


def examine(
    built: Built, *, in_own_type: bool = False, smaller: bool = True, again: bool = True, **options: Any
) -> Report:
    """Fold the graph in its own types and in float64, and test all that must hold of any fold.

    Args:
        built: the graph.
        in_own_type: also run both graphs on onnxruntime in the types that they have.
        smaller: a fold may not add nodes.
        again: a second fold may not find anything.
        options: for `bnfold.fold`.

    Raises:
        AssertionError: something does not hold.
        Vacuous: the graph computes nothing that would show it.
    """
    wide = in_double(built.model)
    expected = [run_wide(wide, feeds) for feeds in built.feeds]
    refuse_vacuous(expected)
    refuse_ties(wide, built.feeds)
    result = bnfold.fold(wide, **options)
    tolerance = IN_ATTRIBUTES if _writes_float32(built) else EXACT
    made = [run_wide(result.model, feeds) for feeds in built.feeds]
    try:
        compare_outputs("in float64", expected, made, tolerance)
    except AssertionError:
        if _may_be_rounding(wide, built.feeds, expected, made):
            raise Vacuous from None
        raise
    own = _fold(built.model, smaller=smaller, again=again, **options)
    narrow = [run_wide(in_double(own.model), feeds) for feeds in built.feeds]
    compare_outputs("rounded", expected, narrow, max(tolerance, ROUNDINGS * _coarsest(built)))
    if in_own_type:
        _compare_in_own_type(built, own.model, expected, narrow)
    return _report(result)


def _fold(model: ModelProto, *, smaller: bool, again: bool, **options: Any) -> bnfold.FoldResult:
    """Fold, and look at everything but the numbers."""
    before = model.SerializeToString(deterministic=True)
    result = bnfold.fold(model, **options)
    folded = result.model
    assert model.SerializeToString(deterministic=True) == before, "fold changed what the caller passed"
    assert interface(folded) == interface(model), "inputs or outputs changed"
    assert passes_checker(sorted_model(folded)) or not passes_checker(sorted_model(model)), "not a valid model"
    inlined = any(done.inlined for done in result.rounds)  # a body in the place of each call is written more than once
    assert not smaller or inlined or _nodes(folded) <= _nodes(model), "a fold made the graph larger"
    other = bnfold.fold(model, **options).model
    assert other.SerializeToString(deterministic=True) == folded.SerializeToString(deterministic=True), (
        "not deterministic"
    )
    assert not again or not bnfold.fold(folded, **options), "folding again still finds something"
    return result


def _nodes(model: ModelProto) -> int:
    """How many nodes all scopes have; a Constant is a weight that is written as a node."""
    return sum(node.op_type != "Constant" for scope in scope_protos(model) for node in scope.node)


def run_wide(model: ModelProto, feeds: dict[str, Array]) -> list[Array]:
    return all_run_wide(model, [feeds])[0]


def all_run_wide(model: ModelProto, sets: Sequence[Feeds]) -> list[list[Array]]:
    """The outputs in float64 for each set of inputs, which are made float64."""
    wide = [{k: v if v.dtype == np.bool_ else v.astype(np.float64) for k, v in feeds.items()} for feeds in sets]
    return all_evaluated(model, wide)


def refuse_vacuous(outputs: list[list[Array]]) -> None:
    """Every output must be finite, and tell something for the first of the feeds."""
    if not all(np.isfinite(v).all() for values in outputs for v in values):
        raise Vacuous
    for values in (v for v in outputs[0] if v.dtype == np.float64):
        if (values.size > 1 and np.ptp(values) < 1e-9) or not np.any(values):
            raise Vacuous


def refuse_ties(model: ModelProto, feeds: Sequence[dict[str, Array]]) -> None:
    """The place of a maximum tells nothing where several elements are the same: any rounding chooses among them."""
    pooled = [node.input[0] for node in model.graph.node if node.op_type == "MaxPool" and len(node.output) > 1]
    if not pooled:
        return
    shown = ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in pooled)
    for values in (values for each in feeds for values in run_wide(shown, each)):
        if np.diff(np.sort(values, axis=None)).min(initial=np.inf) <= 1e-9 * np.abs(values).max():
            raise Vacuous


def _may_be_rounding(
    model: ModelProto, feeds: Sequence[Feeds], expected: list[list[Array]], made: list[list[Array]]
) -> bool:
    """Whether all that is off is less than what float64 rounds of the largest number on the way.

    A million squared is lost again where two Convs with one weight, of which one gets another bias, are subtracted.
    """
    most = LOST * _largest(model, feeds)
    pairs = [(a, b) for one, other in zip(expected, made, strict=True) for a, b in zip(one, other, strict=True)]
    return all(a.shape == b.shape and (a.dtype != np.float64 or np.abs(a - b).max() <= most) for a, b in pairs)


def _largest(model: ModelProto, feeds: Sequence[Feeds]) -> float:
    """The largest number that any value of the main graph has."""
    shown, main = ModelProto(), model.graph
    shown.CopyFrom(model)
    names = [name for node in main.node if node.op_type != "Constant" for name in node.output if name]
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in names)
    passed = [v for values in all_run_wide(shown, feeds) for v in values if v.dtype == np.float64 and v.size]
    return max((float(np.abs(values).max()) for values in passed), default=0.0)


def compare_outputs(how: str, expected: list[list[Array]], made: list[list[Array]], tolerance: float) -> None:
    for one, other in zip(expected, made, strict=True):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{how}: output {number} is {b.dtype}{b.shape}"
            if a.dtype != np.float64:
                assert tolerance > EXACT or np.array_equal(a, b), f"{how}: output {number} has other integers"
                continue
            error = np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)
            assert error <= tolerance, f"{how}: output {number} is off by {error:.1e} of its maximum"


def _writes_float32(built: Built) -> bool:
    if built.used.keys() & WITH_EPSILON:
        return True
    return "DequantizeLinear" in built.used or (built.options.opset < 11 and bool(built.used.keys() & {"Clip", "Pad"}))


def _coarsest(built: Built) -> float:
    """Epsilon of the narrowest type that the graph may have."""
    kinds = {np.dtype(v.dtype) for v in built.feeds[0].values() if v.dtype in EPSILON}
    epsilon = max(EPSILON[kind] for kind in kinds)
    return max(epsilon, EPSILON[np.dtype(np.float16)]) if "Cast" in built.used else epsilon


def _compare_in_own_type(
    built: Built, folded: ModelProto, expected: list[list[Array]], narrow: list[list[Array]]
) -> None:
    """On onnxruntime: the fold is off by no more than a few times what the original is off by itself.

    Nor than its constants are, each rounded once, which an output that is a difference of large numbers magnifies.
    """
    if built.options.kind not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        return
    for feeds, exact, rounded in zip(built.feeds, expected, narrow, strict=True):
        try:
            originals = run_ort(sorted_model(built.model), feeds)
        except (Fail, NoKernel, RuntimeException):
            return  # the original does not run on this provider
        results = run_ort(sorted_model(folded), feeds)
        for number, (a, b, e, r) in enumerate(zip(originals, results, exact, rounded, strict=True)):
            assert (a.shape, a.dtype, e.shape) == (b.shape, b.dtype, b.shape), (
                f"onnxruntime: output {number} is {b.dtype}{b.shape}"
            )
            if a.dtype not in EPSILON or not np.isfinite(a.astype(np.float64)).all():
                continue
            scale, own = np.abs(e).max(), np.abs(a.astype(np.float64) - e).max()
            if own > ROUNDINGS * _coarsest(built) * scale:
                assert own <= 64 * _coarsest(built) * _largest(in_double(built.model), [feeds]), (
                    f"onnxruntime: output {number} is not what it is in float64"
                )
                raise Vacuous
            off = np.abs(b.astype(np.float64) - e).max()
            of_constants = np.abs(r - e).max()
            assert off <= max(8 * own, 64 * _coarsest(built) * scale, 2 * of_constants), (
                f"onnxruntime: output {number} is off by {off / scale:.1e}"
            )


def _report(result: bnfold.FoldResult) -> Report:
    report = Report()
    for folded in result.folded:
        report.gone[folded.direction] += 1
    for outcome in result.plan.outcomes:
        if outcome.refusal is not None:
            assert outcome.refusal.code != "inconsistent", f"no node contradicts itself here: {outcome.refusal.text}"
            report.stayed[outcome.refusal.code] += 1
    return report
