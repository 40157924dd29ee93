"""What must hold of the fold of any of these graphs."""

from __future__ import annotations

import re

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel
from random_graphs.truth import NARROW, all_evaluated, in_double
from support import Array, interface, run_ort

import bnfold
from random_quantized.layers import Drawn

EXACT, ON_ONNXRUNTIME = 4, 32
"""How many epsilon of the largest number in the graph a fold may be off, in float64 and in the types of the graph."""
TOLD = re.compile(r"rounded by ([-+.e0-9]+) at most")
BORDER = 2.0**-11
"""How near, in steps, a value counts as lying between two integers; float32 rounds by a tenth of that."""
ROUNDED = 1.06
"""What is told has two digits."""


class Unfit(Exception):
    """The drawn graph is none, or onnxruntime lacks an operator for it."""


def examine(drawn: Drawn) -> bnfold.FoldResult:
    """Fold the graph, and test all that must hold of any fold.

    Raises:
        AssertionError: something does not hold.
        Unfit: the original does not run.
    """
    model, feeds = drawn.model, drawn.feeds
    originals = _originals(drawn)
    before = model.SerializeToString(deterministic=True)
    result = bnfold.fold(model)
    assert model.SerializeToString(deterministic=True) == before, "fold changed what the caller passed"
    assert interface(result.model) == interface(model), "inputs or outputs changed"
    onnx.checker.check_model(result.model, full_check=True)
    wide = {"x": feeds["x"].astype(np.float64)}
    whole = _with_all_outputs(exact(model))
    shown = all_evaluated(whole, [wide])[0]
    _refuse_borders(model, dict(zip([entry.name for entry in whole.graph.output], shown, strict=True)))
    made = all_evaluated(exact(result.model), [wide])[0]
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    rounding = float(np.finfo(np.float16 if TensorProto.FLOAT16 in kinds else np.float32).eps) * _largest(shown)
    lost = drawn.gain * _gain(exact(result.model)) * told(result)
    _compare("in float64", shown[: len(made)], made, lost + EXACT * rounding)
    _compare("on onnxruntime", originals, run_ort(result.model, feeds), lost + ON_ONNXRUNTIME * rounding)
    report = bnfold.check(model, result.model, draws=1)
    assert all(output.equal for output in report.outputs), f"the check calls the fold different: {report.outputs}"
    return result


def told(result: bnfold.FoldResult) -> float:
    """By how much biases may be off, by the fold's own remarks."""
    return ROUNDED * sum(float(number) for remark in result.remarks for number in TOLD.findall(remark))


def _originals(drawn: Drawn) -> list[Array]:
    try:
        onnx.checker.check_model(drawn.model, full_check=True)
        return run_ort(drawn.model, drawn.feeds)
    except (onnx.shape_inference.InferenceError, Fail, InvalidArgument, NoKernel, RuntimeException) as error:
        raise Unfit(str(error)) from error


def _refuse_borders(model: ModelProto, values: dict[str, Array]) -> None:
    """A fold in front of a quantizer may send to another integer what lies between two: a whole step.

    Raises:
        Unfit: something does.
    """
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in values:
            places = values[node.input[0]] / float(stored[node.input[1]])
            if np.abs(np.abs(places - np.floor(places)) - 0.5).min(initial=1.0) < BORDER:
                raise Unfit("a value lies between two integers")


def _compare(how: str, expected: list[Array], made: list[Array], most: float) -> None:
    for number, (a, b) in enumerate(zip(expected, made, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{how}: output {number} is {b.dtype}{b.shape}"
        off = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
        assert off <= most, f"{how}: output {number} is off by {off:.1e}, and {most:.1e} is told"


def _largest(values: list[Array]) -> float:
    return max(float(np.abs(array).max(initial=0.0)) for array in values)


def _gain(model: ModelProto) -> float:
    """By how much what is left behind the operator multiplies what is lost, at most."""
    stored = {t.name: np.abs(numpy_helper.to_array(t).astype(np.float64)) for t in model.graph.initializer}
    gain = 1.0
    for node in model.graph.node:
        constants = [stored[name] for name in node.input if name in stored]
        if node.op_type == "Mul":
            gain *= max(1.0, float(constants[0].max()))
        if node.op_type == "Div":
            gain *= max(1.0, float((1 / constants[0]).max()))
        if node.op_type == "BatchNormalization":
            gain *= max(1.0, float((constants[0] / np.sqrt(constants[3])).max()))
    return gain


def exact(model: ModelProto) -> ModelProto:
    """The graph in float64; what comes from integers is computed here, by the formula of the specification."""
    made = ModelProto()
    made.CopyFrom(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    of_constants = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in stored]
    for node in of_constants:
        made.graph.node.remove(node)
        values = dequantized(node, *(stored[name] for name in node.input))
        made.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    return in_double(made)


def dequantized(node: NodeProto, integers: Array, scale: Array, zero_point: Array | None = None) -> Array:
    """``(integers - zero_point) * scale`` in float64, whatever the types."""
    how = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    axis, block = how.get("axis", 1), how.get("block_size", 0)

    def laid(values: Array) -> Array:
        wide = values.astype(np.float64)
        if block:
            return np.repeat(wide, block, axis).take(range(integers.shape[axis]), axis)
        if wide.size == 1:
            return wide.reshape(())
        return wide.reshape([-1 if k == axis % integers.ndim else 1 for k in range(integers.ndim)])

    shift = np.zeros(()) if zero_point is None else laid(zero_point)
    return np.asarray((integers.astype(np.float64) - shift) * laid(scale))


def _with_all_outputs(model: ModelProto) -> ModelProto:
    """The graph with every value in float64 among its outputs, behind its own ones."""
    own = {entry.name for entry in model.graph.output}
    names = [n.output[0] for n in model.graph.node if n.op_type != "QuantizeLinear" and n.output[0] not in own]
    for name in names:
        if not name.endswith(NARROW):
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, None))
    return model
