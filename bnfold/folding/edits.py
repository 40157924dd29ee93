"""A plan as edits: which constants get which numbers, which nodes go, and what their values are called then."""

from __future__ import annotations

from bnfold.folding.placing import put_constant as _put_constant
from bnfold.folding.placing import put_integers
from bnfold.folding.plan import Change, Plan
from bnfold.folding.quantized import Requantized, requantized
from bnfold.folding.sources import Source
from bnfold.folding.wiring import Labels, Wiring
from bnfold.model.graph import Address
from bnfold.model.names import Names
from bnfold.model.patch import Patch
from bnfold.model.recipes import Recipe
from bnfold.model.spool import Spool
from bnfold.ops.rule import NOTHING, Operator, Rescale, laid


def make_patch(plan: Plan, *, freeze: bool, in_place: bool = False, room: int | None = None) -> tuple[Patch, Labels]:
    """The edits that carry out the plan, and what the nodes of each residual are called.

    Args:
        plan: where each affine goes.
        freeze: initializers of the main graph stop being inputs.
        in_place: weights lie in the model's file and not in memory: let the new ones wait in a file too.
        room: how many bytes of constants may come.

    Raises:
        ModelError: more would come.
    """
    if not plan.removed:
        return Patch(), {}
    patch = Patch(spool=Spool() if in_place else None, room=room)
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
        made = requantized(op, change.taken, index)
        if rescale is None:
            patch.read_instead(op.node, index, "")
        elif isinstance(made, Requantized):
            put_integers(op, index, made, patch, names)
        else:
            _write_constant(op, index, rescale, patch, names)
    for name, value in change.taken.attributes.items():
        patch.set_attribute(op.node, name, value)
    if change.taken.op_type is not None:
        patch.op_types[op.node.address] = change.taken.op_type


def _write_constant(op: Operator, index: int, rescale: Rescale, patch: Patch, names: Names) -> None:
    recipe = None if patch.spool is None else _recipe(op, index, rescale)
    values = op.rescaled(index, rescale) if recipe is None else recipe
    _put_constant(op, index, values, op.float_type(index), patch, names)


def _recipe(op: Operator, index: int, rescale: Rescale) -> Recipe | None:
    """The new numbers of a constant that lies in a file and keeps its shape, to be computed when they are written."""
    stored = None if rescale.of == NOTHING else op.base(index, rescale).locate()
    if stored is None:
        return None
    if op.rescaled_shape(index, rescale) != stored.shape:
        return None
    return Recipe(stored, rescale.factor, rescale.offset, op.float_type(index))


def _bias_adds(plan: Plan) -> dict[Address, Source]:
    """Per operator that needs a shift added behind it, the Add that stands there already, if one does."""
    found: dict[Address, Source] = {}
    for source in plan.removed.values():
        producer = source.wire.producer
        if source.node.op_type != "Add" or producer is None or producer.address not in plan.changes:
            continue
        if source.wire in plan.residuals:  # what stays comes between the two
            continue
        if plan.changes[producer.address].taken.behind is not None:
            found[producer.address] = source
    return found


def _fill(change: Change, adding: Source, patch: Patch, names: Names) -> None:
    """The shift that a MatMul can not take, into the Add that stands behind it."""
    op, behind = change.op, change.taken.behind
    if behind is None:
        return
    values = laid(op, behind)
    adder = Operator(adding.node, op.constants, op.shapes)
    index = 1 - adding.edge[1]
    constant = adder.constant(index)
    if constant is not None and _without_leading_ones(constant.shape) == _without_leading_ones(values.shape):
        values = values.reshape(constant.shape)  # along the same axes, so that it can take the place of the present one
    _put_constant(adder, index, values, op.float_type(1), patch, names)


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What of a shape matters for where it is laid."""
    return shape[next((k for k, size in enumerate(shape) if size != 1), len(shape)) :]
