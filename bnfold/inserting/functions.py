"""Functions with linear operators are put in the place of their calls: a function has no initializers to train.

Its parameters would be shared by all of its calls, which see different data, and its weights often come as arguments,
so that only the call says how many channels there are. Each call has normalizations of its own then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from onnx import ModelProto

from bnfold.inserting.options import Options
from bnfold.model.call_paths import call_paths, calls_of_main
from bnfold.model.calls import Calls
from bnfold.model.graph import ONNX_DOMAIN, Graph, Node
from bnfold.model.inlining import CallPath, inline, node_at


def put_in_place(model: ModelProto, options: Options) -> tuple[ModelProto, tuple[str, ...]]:
    """A copy of a model with the bodies of such functions in the place of calls, and remarks; or the model itself.

    Calls that can not be replaced (`bnfold.model.inlining.may_inline`) stay.

    Args:
        model: not changed.
        options: the caller's, which say what operators are meant.
    """
    if not model.functions:
        return model, ()
    calls = Calls(Graph(model))

    def is_linear(node: Node) -> bool:
        return node.domain == ONNX_DOMAIN and node.op_type in options.ops

    chosen = frozenset(call_paths(calls, calls_of_main(calls), is_linear))
    if not chosen:
        return model, ()
    return inline(calls, chosen).model, tuple(_remarks(calls, chosen))


def _remarks(calls: Calls, chosen: Collection[CallPath]) -> Iterator[str]:
    """One per function: its calls may be many."""
    for name in dict.fromkeys(node_at(calls, path[-1]).op_type for path in sorted(chosen)):
        count = sum(node_at(calls, path[-1]).op_type == name for path in chosen)
        where = "its call" if count == 1 else f"its {count} calls"
        yield f"put the body of function '{name}' in the place of {where}: a function has no initializers to train"
