"""A plan as edits: which constants get which numbers, which nodes go, and what their values are called then."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import NodeProto, TensorProto, helper

from bnfold.folding.placing import hint as _hint
from bnfold.folding.placing import put_constant as _put_constant
from bnfold.folding.placing import put_integers
from bnfold.folding.plan import Change, Plan
from bnfold.folding.quantized import Requantized, requantized
from bnfold.folding.sources import Source
from bnfold.model.graph import Address, Node, Value
from bnfold.model.names import Names
from bnfold.model.patch import Patch
from bnfold.model.tensors import Array, from_array
from bnfold.ops.rule import Operator, Placed, Rescale


def make_patch(plan: Plan, *, freeze: bool) -> Patch:
    """The edits that carry out the plan.

    Args:
        plan: where each affine goes.
        freeze: initializers of the main graph stop being inputs.
    """
    patch = Patch()
    if not plan.removed:
        return patch
    names = Names(plan.graph)
    for address in sorted(plan.changes):
        _change(plan.changes[address], patch, names)
    kept = _bias_adds(plan)
    _remove_sources(plan, patch, {source.node.address for source in kept.values()})
    for address in sorted(plan.changes):
        behind = plan.changes[address].taken.behind
        if behind is not None:
            _add_behind(plan.changes[address].op, behind, kept.get(address), patch, names)
    if freeze:
        patch.delisted = {v.name for v in plan.graph.main.values.values() if plan.graph.is_overridable(v)}
    return patch


def _change(change: Change, patch: Patch, names: Names) -> None:
    """New constants and attributes of an operator that stays."""
    op = change.op
    for index, rescale in change.taken.constants.items():
        made = requantized(op, change.taken, index)
        if rescale is None:
            patch.read_instead(op.node, index, "")
        elif isinstance(made, Requantized):
            put_integers(op, index, made, patch, names)
        else:
            _write_constant(op, index, rescale, patch, names)
    for name, value in change.taken.attributes.items():
        patch.set_attribute(op.node, name, value)


def _write_constant(op: Operator, index: int, rescale: Rescale, patch: Patch, names: Names) -> None:
    _put_constant(op, index, op.rescaled(index, rescale), op.float_type(index), patch, names)


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


def _remove_sources(plan: Plan, patch: Patch, kept: set[Address]) -> None:
    """Take sources out of the graph.

    What reads a pushed source reads what stands in front of it. What stands in front of a chain of pulled ones produces
    the chain's last name.
    """
    patch.removed |= set(plan.removed) - kept
    pushed = {address: plan.removed[address] for address in sorted(plan.pushed - kept)}
    pulled = {address: plan.removed[address] for address in sorted(patch.removed) if address not in pushed}
    for source in pushed.values():
        _read_in_front(source, pushed, patch)
    for source in pulled.values():
        if source.wire.producer is not None and source.wire.producer.address not in pulled:
            _produce_last(source, pulled, patch)


def _read_in_front(source: Source, pushed: Mapping[Address, Source], patch: Patch) -> None:
    front = source.wire
    while front.producer is not None and front.producer.address in pushed:
        front = pushed[front.producer.address].wire
    for reader, index in source.output.readers:
        patch.read_instead(reader, index, front.name)


def _produce_last(source: Source, pulled: Mapping[Address, Source], patch: Patch) -> None:
    producer, wires = source.wire.producer, [source.wire, source.output]
    while (following := _removed_reader(wires[-1], pulled)) is not None:
        wires.append(following.output)
    last = wires.pop()
    if producer is not None:
        patch.produce_instead(producer, source.wire.output_index, last.name)
    for reader, index in (read for wire in wires for read in wire.shape_readers):
        patch.read_instead(reader, index, last.name)


def _removed_reader(value: Value, pulled: Mapping[Address, Source]) -> Source | None:
    """The source that reads the value and was pulled, if its one reader is such."""
    return pulled.get(value.value_readers[0][0].address) if value.has_one_reader else None


def _add_behind(op: Operator, behind: Placed, present: Source | None, patch: Patch, names: Names) -> None:
    """The shift that a MatMul can not take: into the Add behind it, or into a new one."""
    values, kind = _laid(op, behind), op.float_type(1)
    if present is not None:
        adding = Operator(present.node, op.constants, op.shapes)
        index = next(k for k, value in enumerate(present.node.inputs) if value is not present.wire)
        constant = adding.constant(index)
        if constant is not None and np.prod(constant.shape) == values.size:
            values = values.reshape(constant.shape)
        _put_constant(adding, index, values, kind, patch, names)
        return
    _insert_add(op.node, from_array(values, kind, names.fresh(_hint(op, 2, None))), patch, names)


def _laid(op: Operator, behind: Placed) -> Array:
    """The shift in a shape that broadcasts along its axis: ``[C] -> [C, 1, ...]``; a uniform one is a scalar."""
    if behind.is_uniform:
        return behind.affine.shift.reshape(())
    trailing = (op.output_rank() or 0) - behind.axis - 1
    return behind.affine.shift.reshape((-1,) + (1,) * trailing)


def _insert_add(node: Node, shift: TensorProto, patch: Patch, names: Names) -> None:
    """A new Add right behind the node. It produces what the node would have, the node a name of its own."""
    patch.add_constant(node.scope, shift)
    output = patch.outputs.get(node.address, {}).get(0, node.proto.output[0])
    product = node.proto.output[0] if output != node.proto.output[0] else names.fresh(f"{output}.product")
    patch.produce_instead(node, 0, product)
    patch.insert_behind(node, _add_node(node, product, shift.name, output, names))


def _add_node(node: Node, product: str, shift: str, output: str, names: Names) -> NodeProto:
    name = names.fresh(f"{node.proto.name}.bias") if node.proto.name else ""
    new = helper.make_node("Add", [product, shift], [output], name=name, domain=node.proto.domain)
    if node.opset < 7:
        new.attribute.append(helper.make_attribute("broadcast", 1))
    return new
