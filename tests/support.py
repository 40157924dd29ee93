"""What the tests of folding share: models from ONNX text, a float64 truth, and one call that tests a whole fold."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import bnfold
from bnfold.checking.reference_operators import BatchNormalization
from bnfold.model.external import all_tensors
from bnfold.model.graph import scope_protos

Array: TypeAlias = npt.NDArray[Any]
Feeds: TypeAlias = Mapping[str, Array]
Runner: TypeAlias = Callable[[ModelProto, Feeds], list[Array]]

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "models"
REAL_MODELS = Path(os.environ.get("BNFOLD_MODELS", ROOT.parent / "shared" / "models"))
needs_real_models = pytest.mark.skipif(
    not REAL_MODELS.is_dir(), reason="the folder of real models (BNFOLD_MODELS) is not on this machine"
)

NARROW = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
MOST_ROUNDING = 2000
"""How many epsilon of its narrowest type an original may be off from float64; beyond, the reference is wrong."""

EPSILON = {
    np.dtype(np.float64): 2.0**-52,
    np.dtype(np.float32): 2.0**-23,
    np.dtype(np.float16): 2.0**-10,
    np.dtype(ml_dtypes.bfloat16): 2.0**-7,
}


def text_model(text: str, **constants: npt.ArrayLike) -> ModelProto:
    """A model in ONNX text, with initializers added by keyword (a name that is no identifier: ``**{"a/b": array}``)."""
    model = onnx.parser.parse_model(text)
    for name, values in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return model


def graph_model(body: str, *, opset: int = 20, ir: int = 10, **constants: npt.ArrayLike) -> ModelProto:
    """`text_model` for the usual header: ``body`` is ``(inputs) => (outputs) { nodes }``."""
    return text_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]> g {body}', **constants)


def normal(*shape: int, seed: int = 0, dtype: npt.DTypeLike = np.float32) -> Array:
    """Standard normal numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def statistics(
    channels: int, *, seed: int = 0, dtype: npt.DTypeLike = np.float32, positive: bool = False
) -> tuple[Array, Array, Array, Array]:
    """(scale, bias, mean, var) that are nothing special: scales of both signs unless `positive`."""
    rng = np.random.default_rng([seed, channels])
    scale = rng.uniform(0.5, 2.0, channels) * (1.0 if positive else rng.choice([-1.0, 1.0], channels))
    values = (scale, rng.normal(size=channels), rng.normal(size=channels), rng.uniform(0.5, 2.0, channels))
    return tuple(np.asarray(v).astype(dtype) for v in values)  # type: ignore[return-value]


def parameters(channels: int, **how: Any) -> dict[str, Any]:
    """The same as the initializers s, b, m and v."""
    return dict(zip("sbmv", statistics(channels, **how), strict=True))


def op_types(model: ModelProto) -> list[str]:
    """Operators of the main graph in order, Constant left out."""
    return [node.op_type for node in model.graph.node if node.op_type != "Constant"]


def run_ort(model: ModelProto, feeds: Feeds) -> list[Array]:
    """Outputs on onnxruntime's CPU provider with graph optimisation off, which would itself fold otherwise."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    outputs: list[Array] = session.run(None, dict(feeds))
    return outputs


def run_reference(model: ModelProto, feeds: Feeds) -> list[Array]:
    """Outputs of onnx's own reference implementation, for types and opsets that onnxruntime's CPU lacks."""
    with np.errstate(all="ignore"):
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, dict(feeds))]


def widened(model: ModelProto) -> ModelProto:
    """The same graph in float64 throughout: every float constant, input, output and cast."""
    wide = ModelProto()
    wide.CopyFrom(model)
    for tensor in all_tensors(wide):
        if tensor.data_type in NARROW:
            values = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for scope in scope_protos(wide):
        entries = [e for e in (*scope.input, *scope.output, *scope.value_info) if not isinstance(e, str)]
        for entry in entries:
            if entry.type.tensor_type.elem_type in NARROW:
                entry.type.tensor_type.elem_type = TensorProto.DOUBLE
        for node in scope.node:
            _widen_attributes(node)
    return wide


def _widen_attributes(node: onnx.NodeProto) -> None:
    for attribute in list(node.attribute):
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in NARROW:
            attribute.i = TensorProto.DOUBLE
        if node.op_type == "ConstantOfShape" and attribute.name == "value" and attribute.t.data_type in NARROW:
            raise AssertionError("all_tensors has widened attribute tensors already")
    if node.op_type == "ConstantOfShape" and not node.attribute:
        zero = helper.make_tensor("value", TensorProto.DOUBLE, [1], [0.0])
        node.attribute.append(helper.make_attribute("value", zero))


def truth(model: ModelProto, feeds: Feeds) -> list[Array]:
    """Outputs in float64."""
    wide = {name: value.astype(np.float64) if value.dtype in EPSILON else value for name, value in feeds.items()}
    with np.errstate(all="ignore"):
        evaluator = ReferenceEvaluator(widened(model), new_ops=[BatchNormalization])
        return [np.asarray(value) for value in evaluator.run(None, wide)]


def feeds_for(model: ModelProto, *, seed: int = 0, size: int = 2) -> dict[str, Array]:
    """Standard normal inputs for every graph input without an initializer; open dimensions get `size`."""
    given = {tensor.name for tensor in model.graph.initializer}
    feeds: dict[str, Array] = {}
    for number, entry in enumerate(entry for entry in model.graph.input if entry.name not in given):
        tensor = entry.type.tensor_type
        shape = [dim.dim_value or size for dim in tensor.shape.dim]
        values = np.random.default_rng([seed, number]).standard_normal(shape)
        feeds[entry.name] = values.astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return feeds


def interface(model: ModelProto) -> tuple[list[str], list[bytes]]:
    """Names of the inputs that a caller feeds, and the outputs with their types, in order."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry.name for entry in model.graph.input if entry.name not in initializers]
    return inputs, [entry.SerializeToString(deterministic=True) for entry in model.graph.output]


def passes_checker(model: ModelProto) -> bool:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def check_fold(
    model: ModelProto,
    *,
    leaves: Sequence[str] | None = None,
    kept: Sequence[str] = (),
    run: Runner = run_ort,
    feeds: Feeds | None = None,
    exact_reference: bool = True,
    **options: Any,
) -> bnfold.FoldResult:
    """Fold, and test everything that must hold of any fold.

    Args:
        model: what to fold.
        leaves: the operators that have to be left, in order (Constant not counted).
        kept: the refusal codes of the BatchNormalizations that have to be left, in order.
        run: what runs both graphs.
        feeds: inputs; standard normal ones by default.
        exact_reference: also compare with a float64 evaluation (not where onnx.reference lacks an operator).
        options: for `bnfold.fold`.

    Tolerances: the folded graph may be off by four times the original's own rounding error against float64, but no
    less than 32 epsilon of the widest activation that the output shows; both errors are measured on the same inputs.
    """
    before = model.SerializeToString(deterministic=True)
    result = bnfold.fold(model, **options)
    folded = result.model
    assert model.SerializeToString(deterministic=True) == before, "fold changed what the caller passed"
    assert interface(folded) == interface(model)
    assert [entry.code for entry in result.kept] == list(kept), [entry.reason for entry in result.kept]
    if leaves is not None:
        assert op_types(folded) == list(leaves)
    assert passes_checker(folded) or not passes_checker(model), "the folded model is not a valid one"
    feeds = feeds_for(model) if feeds is None else feeds
    compare(model, folded, feeds, run, exact_reference=exact_reference)
    return result


def float_types(model: ModelProto) -> set[np.dtype[Any]]:
    """Types of the model's inputs, constants and casts."""
    types = {entry.type.tensor_type.elem_type for entry in model.graph.input}
    types |= {tensor.data_type for tensor in all_tensors(model)}
    for scope in scope_protos(model):
        types |= {a.i for node in scope.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"}
    return {np.dtype(helper.tensor_dtype_to_np_dtype(kind)) for kind in types if kind}


def compare(model: ModelProto, folded: ModelProto, feeds: Feeds, run: Runner, *, exact_reference: bool = True) -> None:
    """Original and folded on the same inputs, against each other and against float64."""
    narrowest = max([EPSILON[np.dtype(np.float32)], *(EPSILON[t] for t in float_types(model) if t in EPSILON)])
    originals, results = run(model, feeds), run(folded, feeds)
    truths = truth(model, feeds) if exact_reference else originals
    assert len(originals) == len(results) == len(truths)
    for original, made, exact in zip(originals, results, truths, strict=True):
        assert made.dtype == original.dtype
        assert made.shape == original.shape
        if original.dtype not in EPSILON:
            assert np.array_equal(made, original)
            continue
        assert original.size > 0
        wide = [np.asarray(values).astype(np.float64) for values in (original, made, exact)]
        assert all(np.isfinite(values).all() for values in wide), "inputs that give no finite output test nothing"
        assert np.ptp(wide[0]) > 0 or wide[0].size == 1, "an output that is constant tests nothing"
        scale = np.abs(wide[2]).max()
        floor = 32 * EPSILON[original.dtype] * scale
        own_error = np.abs(wide[0] - wide[2]).max()
        assert own_error <= MOST_ROUNDING * narrowest * scale, "the reference is wrong, and would excuse anything"
        assert np.abs(wide[1] - wide[2]).max() <= max(4 * own_error, floor)


def refusal(model: ModelProto, *, run: Runner = run_ort, **options: Any) -> bnfold.Kept:
    """The reason for the one BatchNormalization that has to stay; the model has to come out unharmed."""
    codes = [entry.code for entry in bnfold.fold(model, **options).kept]
    (kept,) = check_fold(model, exact_reference=False, kept=codes, run=run, **options).kept
    return kept
