"""Model-local functions put in the place of their calls, so that what is left has nodes alone."""

from __future__ import annotations

from onnx import ModelProto

from bnfold.errors import ModelError
from bnfold.model.calls import Calls
from bnfold.model.graph import Graph
from bnfold.model.inlining import inline, may_inline


def without_calls(model: ModelProto) -> ModelProto:
    """The model with every function in the place of its calls; itself where nothing is called.

    Raises:
        ModelError: a function can not be put in place; the text names it.
    """
    while True:  # each round puts in the functions of one depth; what they call stands in the main graph then
        calls = Calls(Graph(model))
        if not calls.is_sound:
            raise ModelError("the model's functions call each other in a circle, or two have one name")
        direct = calls.calls_in(calls.graph.main)
        if not direct:
            return model
        for node, function in direct:
            if not may_inline(node, function, node.scope.opsets):
                raise ModelError(
                    f"function '{node.op_type}' can not be put in the place of its call '{node.label}': it imports "
                    "another opset than the model, or is given a graph; try onnx.inliner first"
                )
        model = inline(calls, [(node.address,) for node, _ in direct]).model
