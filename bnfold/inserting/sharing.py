"""Weights that several nodes share only because an exporter found them equal: each gets its own, so that it can train.

Exporters merge equal tensors into one: the scale of a BatchNormalization then *is* its variance, both ones. Trained,
that one tensor would be moved by two roles at once. A true tie is kept: the same four parameters in two nodes (a layer
that is applied twice), or a weight that has been trained, which two layers would not come to share by chance.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto

from bnfold.inserting.options import LINEAR
from bnfold.inserting.view import View
from bnfold.model.graph import Node, Value
from bnfold.model.names import Names
from bnfold.model.patch import Patch

_PARAMETERS = (1, 2, 3, 4)


def unshare(view: View, patch: Patch, names: Names) -> tuple[str, ...]:
    """Give every merged initializer's further users copies of their own; the names of what was shared."""
    shared = []
    for value in _initializers(view):
        users = [(node, index) for node, index in value.value_readers if _still_reads(patch, node, index)]
        if len(users) < 2 or not _is_merged(view, value, users):
            continue
        shared.append(value.name)
        for node, index in users[1:]:
            own = _copied(value, names.fresh(f"{value.name}.own"))
            patch.add_constant(node.scope, own)
            patch.read_instead(node, index, own.name)
    return tuple(shared)


def _still_reads(patch: Patch, node: Node, index: int) -> bool:
    """Whether a node is to read there what it has read: not so a bias that goes into a mean."""
    return node.address not in patch.removed and index not in patch.inputs.get(node.address, {})


def _copied(value: Value, name: str) -> TensorProto:
    """The initializer under another name; what is external stays where it is."""
    own = TensorProto.FromString(value.tensor.SerializeToString() if value.tensor is not None else b"")
    own.name = name
    return own


def _initializers(view: View) -> Iterator[Value]:
    """Those of the main graph that hold numbers for a parameter: what a caller may override stays as it is."""
    for value in view.graph.main.values.values():
        if value.tensor is not None and not view.graph.is_overridable(value) and not value.is_output:
            yield value


def _is_merged(view: View, value: Value, users: list[tuple[Node, int]]) -> bool:
    normalizing = [(node, index) for node, index in users if _is_parameter(node, index)]
    if normalizing:
        return len(normalizing) < len(users) or not _is_tie(normalizing)
    return all(node.op_type in LINEAR for node, _ in users) and _is_uniform(view, value)


def _is_parameter(node: Node, index: int) -> bool:
    return node.op_type == "BatchNormalization" and index in _PARAMETERS


def _is_tie(users: list[tuple[Node, int]]) -> bool:
    """Whether the same four parameters stand in all the nodes, each in its own role."""
    first, place = users[0]
    wanted = [first.inputs[index] for index in _PARAMETERS]
    same = all([node.inputs[index] for index in _PARAMETERS] == wanted for node, _ in users)
    return same and len({id(value) for value in wanted}) == len(_PARAMETERS) and all(at == place for _, at in users)


def _is_uniform(view: View, value: Value) -> bool:
    """Whether a weight is one number all over, as a fresh bias is."""
    constant = view.constants.get(value)
    if constant is None or not constant.is_float:
        return False
    numbers = constant.wide
    return numbers.size > 1 and bool((numbers == numbers.flat[0]).all())
