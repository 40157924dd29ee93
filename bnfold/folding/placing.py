"""New numbers for the constants of operators that stay: where they go, and what they are called."""

from __future__ import annotations

from copy import deepcopy

from onnx import NodeProto, TensorProto, helper

from bnfold.folding.quantized import Requantized
from bnfold.model.graph import Node, Value
from bnfold.model.names import Names
from bnfold.model.patch import Patch
from bnfold.model.quantized import DEQUANTIZE, Quantization
from bnfold.model.recipes import Recipe
from bnfold.model.tensors import Array, from_array, with_values
from bnfold.ops.rule import Operator

SCALE, ZERO_POINT = 1, 2
"""Inputs of DequantizeLinear."""


def put_constant(op: Operator, index: int, values: Array | Recipe, kind: int, patch: Patch, names: Names) -> None:
    """New numbers for an input: in place where nobody else sees the old ones, else as a constant of their own."""
    present = op.input(index)
    tensor = None if present is None else _own(op, present, values.shape, kind)
    if present is not None and tensor is not None:
        patch.replace_constant(present, _with_numbers(tensor, values, patch))
        return
    name = names.fresh(hint(op, index, present))
    bare = TensorProto(name=name, data_type=kind, dims=values.shape)
    patch.add_constant(op.node.scope, _with_numbers(bare, values, patch))
    patch.read_instead(op.node, index, name)


def _with_numbers(tensor: TensorProto, values: Array | Recipe, patch: Patch) -> TensorProto:
    """A copy of the tensor with other numbers; those of a recipe are made when they are read."""
    return patch.deferred(tensor, values) if isinstance(values, Recipe) else with_values(tensor, values)


def _own(op: Operator, value: Value, shape: tuple[int, ...], kind: int) -> TensorProto | None:
    """The initializer that can take the new numbers under its own name: one reader, same type and shape."""
    tensor = value.tensor
    if tensor is None or not value.has_one_reader or not op.constants.is_stored(value):
        return None
    return tensor if tensor.data_type == kind and tuple(tensor.dims[:]) == shape else None


def hint(op: Operator, index: int, present: Value | None) -> str:
    """What to call a new constant: after the one it replaces, else after the operator's weight."""
    if present is not None:
        return f"{present.name}.folded"
    weights = (op.input(k) for k in range(len(op.node.inputs)) if (c := op.constant(k)) is not None and c.is_float)
    stem = next((value.name for value in weights if value is not None), op.node.label)
    return f"{stem.removesuffix('.weight')}.{'bias' if index == 2 else f'input{index}'}"


def put_integers(op: Operator, index: int, made: Requantized, patch: Patch, names: Names) -> None:
    """New scales for an input behind DequantizeLinear, and what else is new there.

    In place where nobody else sees the old numbers, else behind a DequantizeLinear of its own that reads the same
    integers; so does a new bias.
    """
    if made.of is None:
        _put_new(op, index, made, patch, names)
    elif _is_alone(op.input(index), made.of.node):
        _put_in_place(op, made, made.of, patch, names)
    else:
        _put_copy(op, index, made, made.of, patch, names)


def _is_alone(value: Value | None, origin: Node) -> bool:
    """Whether what lies between a DequantizeLinear and the operator that reads `value` has no other reader."""
    while value is not None and value.has_one_reader:
        if value.producer is None or value.producer is origin:
            return True
        value = value.producer.inputs[0]
    return False


def _put_in_place(op: Operator, made: Requantized, origin: Quantization, patch: Patch, names: Names) -> None:
    dequantize = Operator(origin.node, op.constants, op.shapes)
    for k, (values, kind) in _parts(made, origin.integers.elem_type).items():
        put_constant(dequantize, k, values, kind, patch, names)
    if made.scales.axis is not None:
        patch.set_attribute(origin.node, "axis", made.scales.axis)


def _parts(made: Requantized, kind: int) -> dict[int, tuple[Array, int]]:
    """(numbers, type) of the inputs of the DequantizeLinear that are new; `kind` is that of its integers."""
    parts = {
        0: (made.integers, kind),
        SCALE: (made.scales.values, made.scale_type),
        ZERO_POINT: (made.zero_point, kind),
    }
    return {k: (values, of) for k, (values, of) in parts.items() if values is not None}


def _put_copy(op: Operator, index: int, made: Requantized, origin: Quantization, patch: Patch, names: Names) -> None:
    """A copy of the DequantizeLinear, and of what stands between it and the operator, right in front of that."""
    chain: list[Node] = []
    value = op.input(index)
    while value is not None and value.producer is not None and (not chain or chain[-1] is not origin.node):
        chain.append(value.producer)
        value = value.producer.inputs[0]
    read = ""
    for node in reversed(chain):
        copy = _copied(node, read or node.proto.input[0], names)
        if node is origin.node:
            _give_parts(op, copy, made, origin.integers.elem_type, patch, names)
        patch.insert_in_front(op.node, copy)
        read = copy.output[0]
    patch.read_instead(op.node, index, read)


def _copied(node: Node, read: str, names: Names) -> NodeProto:
    copy = deepcopy(node.proto)
    copy.input[0] = read
    copy.output[0] = names.fresh(f"{node.proto.output[0]}.folded")
    if node.proto.name:
        copy.name = names.fresh(f"{node.proto.name}.folded")
    return copy


def _give_parts(op: Operator, copy: NodeProto, made: Requantized, kind: int, patch: Patch, names: Names) -> None:
    for k, (values, of) in _parts(made, kind).items():
        name = names.fresh(f"{copy.input[k]}.folded")
        patch.add_constant(op.node.scope, from_array(values, of, name))
        copy.input[k] = name
    if made.scales.axis is not None:
        kept = [attribute for attribute in copy.attribute if attribute.name != "axis"]
        del copy.attribute[:]
        copy.attribute.extend([*kept, helper.make_attribute("axis", made.scales.axis)])


def _put_new(op: Operator, index: int, made: Requantized, patch: Patch, names: Names) -> None:
    """A bias in integers where there was none."""
    name = names.fresh(hint(op, index, None))
    inputs = [names.fresh(f"{name}_{role}") for role in ("quantized", "scale")]
    for k, (values, kind) in _parts(made, TensorProto.INT32).items():
        patch.add_constant(op.node.scope, from_array(values, kind, inputs[k]))
    new = helper.make_node(DEQUANTIZE, inputs, [name], domain=op.node.proto.domain)
    if made.scales.axis is not None:
        new.attribute.append(helper.make_attribute("axis", made.scales.axis))
    patch.insert_in_front(op.node, new)
    patch.read_instead(op.node, index, name)
