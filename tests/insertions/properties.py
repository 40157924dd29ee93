"""What must hold of a BatchNormalization that is put into any graph, whatever the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, RuntimeException
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel
from random_graphs import Built
from random_graphs.check import Vacuous
from random_graphs.truth import evaluated, in_double, sorted_model
from support import EPSILON, Array, Feeds, interface, passes_checker, run_ort

import bnfold
from bnfold.errors import UsageError
from bnfold.inserting.insert import InsertResult, insert
from bnfold.inserting.options import ABSORB, BEFORE, Options
from bnfold.model.graph import scope_protos

TRAINING_SINCE = 14
"""The opset that has the attribute training_mode."""
ROUNDINGS, OWN = 16, 4
"""How many epsilon of its type a graph may be off in float64, since four constants per place are rounded; more only
where the original is itself off by as much on onnxruntime: so many times that."""
FOLDED = 2000
"""The same of a fold, which also rounds what the graph had before (as in random_graphs)."""
EXACT = (TensorProto.FLOAT, TensorProto.DOUBLE)
"""Types in which an identity changes no bit on onnxruntime."""
MOVED = 1e-10
"""Of max|y|, for a bias that is added at another place, in float64."""


@dataclass
class Report:
    """What became of one graph.

    Attributes:
        inserted: how many BatchNormalizations were put in.
        exact: whether onnxruntime ran both graphs, and gave the same bits.
        off: what the measured insertion is off by in float64, in epsilon of the type, of max|y|; `None` without data.
        training: the same of the forward in training mode.
    """

    inserted: int = 0
    exact: bool = False
    off: float | None = None
    training: float | None = None


def examine(built: Built, options: Options) -> Report:
    """Put BatchNormalizations in, without data and with them, and test all that must hold.

    Raises:
        AssertionError: something does not hold.
        Vacuous: the graph computes nothing that would show it.
    """
    expected = [_wide(in_double(built.model), feeds) for feeds in built.feeds]
    if not all(np.isfinite(values).all() for outputs in expected for values in outputs):
        raise Vacuous
    result = _inserted(built.model, None, options)
    report = Report(len(result.inserted))
    if not result:
        return report
    _is_exact_in_float64(built, options, expected)
    if options.bias != ABSORB:  # which moves the place of an addition
        report.exact = _is_exact_on_onnxruntime(built, result.model)
    _folds_back(built, result.model, expected, options.position)
    _measured(built, options, report)
    return report


def _inserted(model: ModelProto, batches: Sequence[Feeds] | None, options: Options) -> InsertResult:
    """Insert, and look at everything but the numbers."""
    before = model.SerializeToString(deterministic=True)
    result = insert(model, batches, options)
    made = result.model
    assert model.SerializeToString(deterministic=True) == before, "insert changed what the caller passed"
    assert interface(made) == interface(model), "inputs or outputs changed"
    assert passes_checker(sorted_model(made)) or not passes_checker(sorted_model(model)), "not a valid model"
    names = [name for entry in result.inserted for name in entry.parameters]
    readers = [name for scope in scope_protos(made) for node in scope.node for name in node.input]
    assert all(readers.count(name) == 1 for name in names), "a parameter is read by more than its own node"
    again = insert(model, batches, options).model
    assert again.SerializeToString(deterministic=True) == made.SerializeToString(deterministic=True), (
        "not deterministic"
    )
    if options.position == BEFORE:
        more = insert(made, options=options)
        assert not more.inserted, f"a second insertion finds {more.inserted}"
    return result


def _is_exact_in_float64(built: Built, options: Options, expected: list[list[Array]]) -> None:
    wide = in_double(built.model)
    made = insert(wide, options=options).model
    tolerance = MOVED if options.bias == ABSORB else 0.0
    for feeds, wanted in zip(built.feeds, expected, strict=True):
        _compare("identity in float64", wanted, _wide(made, feeds), tolerance)


def _is_exact_on_onnxruntime(built: Built, made: ModelProto) -> bool:
    """Whether onnxruntime runs the graph, in a type in which it gives the same bits; where it does, it must."""
    if built.options.kind not in EXACT or "Cast" in built.used:
        return False
    for feeds in built.feeds:
        try:
            before = run_ort(sorted_model(built.model), feeds)
        except (Fail, InvalidGraph, NoKernel, RuntimeException):
            return False  # the original does not run on this provider
        after = run_ort(sorted_model(made), feeds)
        for number, (a, b) in enumerate(zip(before, after, strict=True)):
            assert (a.shape, a.dtype) == (b.shape, b.dtype), f"output {number} is {b.dtype}{b.shape}"
            assert np.array_equal(a, b, equal_nan=a.dtype in EPSILON), (
                f"identity on onnxruntime: output {number} is off by {_off(a, b):.1e}"
            )
    return True


def _folds_back(built: Built, made: ModelProto, expected: list[list[Array]], position: str) -> None:
    back = _back(built, made, position, is_resolved=True)
    for feeds, wanted in zip(built.feeds, expected, strict=True):
        _compare("folded back", wanted, _wide(in_double(back), feeds), FOLDED * _coarsest(built))


def _back(built: Built, made: ModelProto, position: str, *, is_resolved: bool) -> ModelProto:
    """The fold of an insertion, which has no more nodes than the fold of the original, where a 1 is told to be one."""
    folded, back = (bnfold.fold(model, freeze_initializers=True) for model in (built.model, made))
    assert interface(back.model) == interface(built.model), "inputs or outputs changed in the fold back"
    inlined = any(done.inlined for done in back.rounds)  # a body in the place of each call is written more than once
    in_order = (
        sorted_model(made) is made
    )  # else shapes are not known of the bodies of functions that an insertion puts in
    if position == BEFORE and not inlined and is_resolved and in_order:  # behind an activation nothing may take it
        nodes, before = len(live_nodes(back.model)), len(live_nodes(folded.model))
        assert nodes <= before, f"the fold of the insertion has {nodes} nodes, that of the original {before}"
    return back.model


def _measured(built: Built, options: Options, report: Report) -> None:
    """The insertion with data, in inference and in training mode, and folded back."""
    feeds = built.feeds[0]
    try:
        result = _inserted(built.model, [feeds], options)
    except (UsageError, bnfold.ModelError):
        return  # too few values for a variance, or no kernel for what is to be measured
    epsilon, wanted = _coarsest(built), _wide(in_double(built.model), feeds)
    tolerance = max(ROUNDINGS * epsilon, OWN * _own_error(built.model, feeds, wanted))
    is_resolved = epsilon <= EPSILON[np.dtype(np.float32)]  # a root in float16 is off by as much as its scale can tell
    back = _back(built, result.model, options.position, is_resolved=is_resolved)
    forms = {"measured": result.model, "measured, folded back": back}
    if built.options.opset >= TRAINING_SINCE and not _is_cut(result):
        forms["in training"] = _training(result)
    off = {how: _compare(how, wanted, _wide(in_double(form), feeds), tolerance) for how, form in forms.items()}
    report.off = off["measured"] / epsilon
    report.training = off["in training"] / epsilon if "in training" in off else None


def _is_cut(result: InsertResult) -> bool:
    """Whether a variance is larger than float16 can hold: then inference alone keeps the function."""
    held = {tensor.name: tensor for tensor in result.model.graph.initializer}
    variances = [
        numpy_helper.to_array(held[entry.parameters[3]]) for entry in result.inserted if entry.parameters[3] in held
    ]
    return any(values.dtype == np.float16 and values.max() == np.finfo(np.float16).max for values in variances)


def _own_error(model: ModelProto, feeds: Feeds, wanted: Sequence[Array]) -> float:
    """What the original is off by on onnxruntime: how much its graph magnifies roundings."""
    try:
        made = run_ort(sorted_model(model), feeds)
    except (Fail, InvalidGraph, NoKernel, RuntimeError):  # RuntimeError: bfloat16 can not be fed
        return 0.0  # what can not be run can not be measured: there is nothing to compare but identities in bodies
    return max((_off(a, b) for a, b in zip(wanted, made, strict=True) if a.dtype == np.float64), default=0.0)


def _training(result: InsertResult) -> ModelProto:
    """The model with those BatchNormalizations in training mode whose statistics were measured: not those in bodies."""
    model = ModelProto()
    model.CopyFrom(result.model)
    names = {entry.node for entry in result.inserted}
    for node in model.graph.node:
        if node.name in names:
            node.attribute.append(helper.make_attribute("training_mode", 1))
            node.output.extend([f"{node.name}.running_mean", f"{node.name}.running_var"])
    return model


def _wide(model: ModelProto, feeds: Feeds) -> list[Array]:
    return evaluated(model, {k: v if v.dtype == np.bool_ else v.astype(np.float64) for k, v in feeds.items()})


def _compare(how: str, expected: Sequence[Array], made: Sequence[Array], tolerance: float) -> float:
    """The largest difference, of max|y|."""
    worst = 0.0
    for number, (a, b) in enumerate(zip(expected, made, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{how}: output {number} is {b.dtype}{b.shape}"
        if a.dtype != np.float64:
            continue  # the place of a maximum, which any rounding may choose
        off = _off(a, b)
        assert off <= tolerance, f"{how}: output {number} is off by {off:.1e} of its maximum"
        worst = max(worst, off)
    return worst


def _off(a: Array, b: Array) -> float:
    wide = [np.asarray(values).astype(np.float64) for values in (a, b)]
    with np.errstate(invalid="ignore"):
        return float(np.abs(wide[0] - wide[1]).max(initial=0) / max(np.abs(wide[0]).max(initial=0), 1e-30))


def _coarsest(built: Built) -> float:
    """Epsilon of the narrowest type that the graph may have."""
    epsilon = EPSILON[np.dtype(helper.tensor_dtype_to_np_dtype(built.options.kind))]
    narrow = EPSILON[np.dtype(np.float16)] if "Cast" in built.used else EPSILON[np.dtype(np.float32)]
    return max(epsilon, narrow)


def live_nodes(model: ModelProto) -> list[str]:
    """The operators that compute something from the inputs; a call counts as what its function holds."""
    return [op_type for scope in scope_protos(sorted_model(model)) for op_type in _live(scope)]


def _live(scope: GraphProto | FunctionProto) -> Iterator[str]:
    """Weights may be written as nodes: those of constants are none."""
    known = {tensor.name for tensor in getattr(scope, "initializer", ())} | {""}
    for node in scope.node:
        has_body = any(attribute.HasField("g") for attribute in node.attribute)
        if all(name in known for name in node.input) and not has_body:
            known.update(node.output)
        elif not node.domain:
            yield node.op_type
