"""Affines as nodes: Mul, Add, Sub and BatchNormalization with constants of their own."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper

from bnfold.folding.plan import Change, Residual
from bnfold.folding.sources import BATCH_NORMALIZATION
from bnfold.model.graph import Node
from bnfold.model.names import Names
from bnfold.model.tensors import Array, from_array, round_to
from bnfold.ops.rule import Factor, Operator, Placed, along, laid

EPSILON = float(np.float32(1e-5))
"""The epsilon of a BatchNormalization that states none (ONNX BatchNormalization-1 to 15)."""


def residual_nodes(
    residual: Residual, raw: str, mapped: str, place: Node, names: Names
) -> tuple[list[NodeProto], list[TensorProto]]:
    """The nodes that map `raw` to `mapped`, and their constants.

    Args:
        residual: the map, and the operators that it is written as.
        raw: the name that they read.
        mapped: the name that they produce.
        place: the node beside which they stand.
        names: gives new names.
    """
    if residual.moved is not None:
        return [_moved(residual.moved.node, raw, mapped)], []
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []
    for number, form in enumerate(residual.forms):
        last = number == len(residual.forms) - 1
        output = mapped if last else names.fresh(f"{mapped}.scaled")
        constants = [
            from_array(values, residual.elem_type, names.fresh(f"{mapped}.{role}"))
            for role, values in _constants(residual, form).items()
        ]
        inputs = [raw, *(tensor.name for tensor in constants)]
        if form == "Sub":
            inputs.reverse()
        nodes.append(helper.make_node(form, inputs, [output], name=_name(residual, form, names)))
        nodes[-1].domain = place.proto.domain if place.domain == "" else ""
        tensors += constants
        raw = output
    return nodes, tensors


def _moved(node: Node, raw: str, mapped: str) -> NodeProto:
    """A BatchNormalization as it is, at another place."""
    copy = NodeProto.FromString(node.proto.SerializeToString())
    copy.input[0] = raw
    copy.output[0] = mapped
    return copy


def _constants(residual: Residual, form: str) -> dict[str, Array]:
    """The constants of one node, by role, in the order of its inputs."""
    affine = residual.placed.affine
    if form == BATCH_NORMALIZATION:
        return _parameters(residual)
    vector, role = (affine.scale, "scale") if form == "Mul" else (affine.shift, "shift")
    # [C] -> [C, 1, ..., 1]
    return {role: vector.reshape(()) if residual.placed.is_uniform else along(vector, 0, residual.trailing)}


def _parameters(residual: Residual) -> dict[str, Array]:
    """Mean 0 and a variance that makes one with epsilon, so that the scale is the map's own."""
    affine = residual.placed.affine.expand(residual.channels)
    variance = round_to(np.full(residual.channels, 1.0 - EPSILON), residual.elem_type).astype(np.float64)
    return {
        "scale": affine.scale * np.sqrt(variance + EPSILON),
        "bias": affine.shift,
        "mean": np.zeros(residual.channels),
        "var": variance,
    }


def _name(residual: Residual, form: str, names: Names) -> str:
    origin = None if residual.origin is None else residual.origin.node.proto.name
    return names.fresh(f"{origin}.{form}") if origin else ""


def adding_node(change: Change, product: str, output: str, names: Names) -> tuple[NodeProto, TensorProto]:
    """An Add for the shift that an operator leaves behind itself, and its constant.

    Args:
        change: the operator, with what its rules answered.
        product: the name that the Add reads.
        output: the name that it produces.
        names: gives new names.
    """
    op, node = change.op, change.op.node
    tensor = from_array(_behind(op, change.taken.behind), op.float_type(1), names.fresh(f"{_stem(op)}.bias"))
    name = names.fresh(f"{node.proto.name}.bias") if node.proto.name else ""
    new = helper.make_node("Add", [product, tensor.name], [output], name=name, domain=node.proto.domain)
    if node.opset < 7:
        new.attribute.append(helper.make_attribute("broadcast", 1))
    return new, tensor


def _behind(op: Operator, behind: Placed | Factor | None) -> Array:
    if behind is None:
        raise AssertionError(f"nothing is to be added behind {op.node.label}")
    return laid(op, behind)


def _stem(op: Operator) -> str:
    """What to call the constant after: the operator's weight."""
    weights = (op.input(k) for k in range(len(op.node.inputs)) if (c := op.constant(k)) is not None and c.is_float)
    stem = next((value.name for value in weights if value is not None), op.node.label)
    return stem.removesuffix(".weight")
