"""A graph in float64 throughout, and its evaluation by onnx.reference.

Every float constant, input, output and cast becomes float64; what a graph in float32 has rounded, this has not. Weights
that a DequantizeLinear makes keep their integers. onnx.reference does not insist on the types of the specification, so
factors of a Resize and scales of a DequantizeLinear may be float64 like everything else.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.reference.op_run import OpRun

from bnfold.checking.reference_operators import Evaluator
from bnfold.checking.statistics import Array, is_float
from bnfold.checking.subject import Subject
from bnfold.errors import UsageError
from bnfold.model.external import all_tensors
from bnfold.model.graph import Graph, scope_protos
from bnfold.model.order import ranks

_NARROW = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_TYPES_IN_ATTRIBUTES = {"Cast": "to", "EyeLike": "dtype"} | dict.fromkeys(
    ("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"), "output_datatype"
)
_VALUES = ("raw_data", "float_data", "int32_data", "double_data")

_QUANTIZING = frozenset({"DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QuantizeLinear"})

_UNSUPPORTED: dict[tuple[str, str], tuple[object, ...]] = {
    ("BatchNormalization", "spatial"): (0,),
    ("MaxPool", "storage_order"): (1,),
    ("Resize", "antialias"): (1,),
    ("Resize", "coordinate_transformation_mode"): (b"half_pixel_symmetric", b"tf_crop_and_resize"),
    ("Resize", "keep_aspect_ratio_policy"): (b"not_larger", b"not_smaller"),
    ("Upsample", "mode"): (b"linear", b"bilinear"),
}
"""Values of attributes that the operators of `bnfold.checking.reference_operators` do not know."""

_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What onnx.reference raises on nodes that it can not evaluate."""


class Doubles:
    """A model that is evaluated in float64.

    Args:
        model: The model; it is not changed.

    Raises:
        UsageError: It has an operator that has no evaluation in float64.
        ModelError: It can not be parsed, or its weights can not be read.
    """

    def __init__(self, model: Subject) -> None:
        self.label = model.label
        for reason in _refusals(model):
            raise UsageError(f"{model.label} can not be evaluated in float64: {reason}; check it without --reference")
        self.wide = in_double(model.loaded())
        with _named_failures(self.label):
            self._evaluator = Evaluator(self.wide)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs in float64, integers and bools in their own type.

        Args:
            feeds: One array per input, in the types of the original.

        Raises:
            UsageError: onnx.reference can not evaluate an operator.
        """
        wide = {name: array.astype(np.float64) if is_float(array) else array for name, array in feeds.items()}
        with np.errstate(all="ignore"), _named_failures(self.label):
            outputs = self._evaluator.run(None, wide)
        names = [entry.name for entry in self.wide.graph.output]
        return {name: np.asarray(value) for name, value in zip(names, outputs, strict=True)}


def in_double(model: ModelProto) -> ModelProto:
    """The model, changed in place: in float64, and with its nodes in an order in which they can be run."""
    for tensor in all_tensors(model):
        if tensor.data_type in _NARROW:
            _widen(tensor)
    for scope in scope_protos(model):
        for entry in (*scope.input, *scope.output, *scope.value_info):
            if isinstance(entry, ValueInfoProto) and entry.type.tensor_type.elem_type in _NARROW:
                entry.type.tensor_type.elem_type = TensorProto.DOUBLE
        for node in scope.node:
            _widen_attributes(node)
    order = ranks(graph := Graph(model))
    nodes = [node.proto for node in sorted(graph.main.nodes, key=lambda node: order.get(node.address, 0))]
    ordered = [node.SerializeToString() for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(map(NodeProto.FromString, ordered))
    return model


def _widen(tensor: TensorProto) -> None:
    values = numpy_helper.to_array(tensor).astype(np.float64)
    for field in _VALUES:
        tensor.ClearField(field)
    tensor.data_type = TensorProto.DOUBLE
    tensor.raw_data = values.astype("<f8").tobytes()


def _widen_attributes(node: NodeProto) -> None:
    """The types that a node names, and the float32 values that it holds, or makes where none are given."""
    for attribute in node.attribute:
        if attribute.name == _TYPES_IN_ATTRIBUTES.get(node.op_type) and attribute.i in _NARROW:
            attribute.i = TensorProto.DOUBLE
    if node.op_type == "ConstantOfShape" and not node.attribute:
        zero = helper.make_tensor("value", TensorProto.DOUBLE, [1], [0.0])
        node.attribute.append(helper.make_attribute("value", zero))
    if node.op_type == "Constant" and node.attribute and node.attribute[0].name in ("value_float", "value_floats"):
        held = np.array(helper.get_attribute_value(node.attribute[0]), np.float64)
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(held)))


def _refusals(model: Subject) -> Iterator[str]:
    """What has no evaluation in float64, one reason each."""
    own = {(function.domain, function.name) for function in model.proto.functions}
    yield from (f"{node} draws random numbers" for node in model.random)
    for node in model.nodes:
        named = f"{node.op_type} {node.name or next(iter(node.output), '')!r}"
        if (node.domain, node.op_type) in own:
            continue
        if node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
            yield f"{named} is of the domain {node.domain!r}, which onnx.reference does not know"
        if node.op_type in _QUANTIZING:
            yield f"{named} rounds to integers, so that float64 is no nearer to a truth than float32"
        if node.op_type == "BatchNormalization" and len(node.output) > 1 and not _trains_by_attribute(node):
            yield f"{named} is in the training mode of an opset before 14"
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                continue
            if helper.get_attribute_value(attribute) in _UNSUPPORTED.get((node.op_type, attribute.name), ()):
                yield f"{named} has an attribute {attribute.name!r} that has no evaluation in float64"


def _trains_by_attribute(node: NodeProto) -> bool:
    return any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)


@contextmanager
def _named_failures(label: str) -> Iterator[None]:
    """Turn what onnx.reference raises inside the block into a `UsageError` that names the operator."""
    try:
        yield
    except _FAILURES as error:
        where = _failing(error)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"{label} can not be evaluated in float64: onnx.reference fails{where} ({reason}); "
            "check it without --reference"
        ) from error


def _failing(error: BaseException) -> str:
    """The node in which it was raised; onnx.reference says it nowhere but in its frames."""
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    nodes = [owner.onnx_node for owner in owners if isinstance(owner, OpRun)]
    return f" in {nodes[-1].op_type} {nodes[-1].name or next(iter(nodes[-1].output), '')!r}" if nodes else ""
