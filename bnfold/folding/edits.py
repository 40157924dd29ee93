"""A plan as edits: which constants get which numbers, which nodes go, and what their values are called then."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from bnfold.folding.plan import Change, Plan
from bnfold.folding.sources import Source
from bnfold.folding.wiring import Labels, Wiring
from bnfold.model.graph import Address, Value
from bnfold.model.names import Names
from bnfold.model.patch import Patch
from bnfold.model.tensors import Array, from_array, with_values
from bnfold.ops.rule import Operator, Placed, Rescale, laid


def make_patch(plan: Plan, *, freeze: bool) -> tuple[Patch, Labels]:
    """The edits that carry out the plan, and what the nodes of each residual are called.

    Args:
        plan: where each affine goes.
        freeze: initializers of the main graph stop being inputs.
    """
    patch = Patch()
    if not plan.removed:
        return patch, {}
    names = Names(plan.graph)
    for address in sorted(plan.changes):
        _change(plan.changes[address], patch, names)
    kept = _bias_adds(plan)
    labels = Wiring(plan, patch, names, kept).wire_up()
    for address, source in kept.items():
        _fill(plan.changes[address], source, patch, names)
    if freeze:
        patch.delisted = {v.name for v in plan.graph.main.values.values() if plan.graph.is_overridable(v)}
    return patch, labels


def _change(change: Change, patch: Patch, names: Names) -> None:
    """New constants and attributes of an operator that stays."""
    op = change.op
    for index, rescale in change.taken.constants.items():
        if rescale is None:
            patch.read_instead(op.node, index, "")
        else:
            _write_constant(op, index, rescale, patch, names)
    for name, value in change.taken.attributes.items():
        patch.set_attribute(op.node, name, value)
    if change.taken.op_type is not None:
        patch.op_types[op.node.address] = change.taken.op_type


def _write_constant(op: Operator, index: int, rescale: Rescale, patch: Patch, names: Names) -> None:
    _put_constant(op, index, op.rescaled(index, rescale), op.float_type(index), patch, names)


def _put_constant(op: Operator, index: int, values: Array, kind: int, patch: Patch, names: Names) -> None:
    """New numbers for an input: in place where nobody else sees the old ones, else as a constant of their own."""
    present = op.input(index)
    tensor = None if present is None else _own(op, present, values, kind)
    if present is not None and tensor is not None:
        patch.replaced[present] = with_values(tensor, values)
        return
    name = names.fresh(_hint(op, index, present))
    patch.add_constant(op.node.scope, from_array(values, kind, name))
    patch.read_instead(op.node, index, name)


def _own(op: Operator, value: Value, values: Array, kind: int) -> TensorProto | None:
    """The initializer that can take the new numbers under its own name: one reader, same type and shape."""
    tensor = value.tensor
    if tensor is None or not value.has_one_reader or not op.constants.is_stored(value):
        return None
    return tensor if tensor.data_type == kind and tuple(tensor.dims) == values.shape else None


def _hint(op: Operator, index: int, present: Value | None) -> str:
    """What to call a new constant: after the one it replaces, else after the operator's weight."""
    if present is not None:
        return f"{present.name}.folded"
    weights = (op.input(k) for k in range(len(op.node.inputs)) if (c := op.constant(k)) is not None and c.is_float)
    stem = next((value.name for value in weights if value is not None), op.node.label)
    return f"{stem.removesuffix('.weight')}.{'bias' if index == 2 else f'input{index}'}"


def _bias_adds(plan: Plan) -> dict[Address, Source]:
    """Per operator that needs a shift added behind it, the Add that stands there already, if one does."""
    found: dict[Address, Source] = {}
    for source in plan.removed.values():
        producer = source.wire.producer
        if source.node.op_type != "Add" or producer is None or producer.address not in plan.changes:
            continue
        if plan.changes[producer.address].taken.behind is not None:
            found[producer.address] = source
    return found


def _fill(change: Change, adding: Source, patch: Patch, names: Names) -> None:
    """The shift that a MatMul can not take, into the Add that stands behind it."""
    op, behind = change.op, change.taken.behind
    if behind is None:
        return
    values = laid(op, behind) if isinstance(behind, Placed) else behind
    adder = Operator(adding.node, op.constants, op.shapes)
    index = 1 - adding.edge[1]
    constant = adder.constant(index)
    if constant is not None and np.prod(constant.shape) == values.size:
        values = values.reshape(constant.shape)
    _put_constant(adder, index, values, op.float_type(1), patch, names)
