"""The difference between two messages, made in an `onnx_ir` model in place.

A fold is planned and carried out on a ModelProto that says what the onnx_ir model says (`bnfold.model.ir_reading`).
What came of it is carried over here: nodes that only changed stay the objects that they are, weights that did not
change stay the tensors that they are, and everything that a ModelProto can not hold stays where it was. An output that
gets another name gets with it all that was known under that name.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx import FunctionProto, ModelProto

from bnfold.model.ir_reading import nodes_of
from bnfold.model.ir_scope import ScopeEdit

_FIELDS = ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string")


def carry_over(model: ir.Model, before: ModelProto, after: ModelProto) -> None:
    """Make an onnx_ir model say what `after` says.

    Args:
        model: the model, which says what `before` says; it is changed.
        before: marked with the nodes of the model.
        after: what was made of a copy of it; nodes that came from elsewhere have no mark.

    Raises:
        ExternalDataError, ModelError: a weight that is needed can not be read.
    """
    nodes = nodes_of(model)
    for name in _FIELDS:
        if getattr(before, name) != getattr(after, name):
            setattr(model, name, getattr(after, name))
    model.graph.opset_imports.update({entry.domain: entry.version for entry in after.opset_import})
    ScopeEdit(model.graph, before.graph, after.graph, nodes).carry_over()
    _functions(model, before, after, nodes)


def _functions(model: ir.Model, before: ModelProto, after: ModelProto, nodes: Sequence[ir.Node]) -> None:
    were = {_key(function): function for function in before.functions}
    are = {_key(function): function for function in after.functions}
    for key in were.keys() - are.keys():
        del model.functions[key]
    for key, message in are.items():
        function = model.functions[key]
        function.opset_imports.update({entry.domain: entry.version for entry in message.opset_import})
        ScopeEdit(function.graph, were[key], message, nodes).carry_over()


def _key(function: FunctionProto) -> tuple[str, str, str]:
    return function.domain, function.name, function.overload
