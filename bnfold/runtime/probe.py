"""What is inside a graph, shown: a model that gives away some of its inner values as outputs besides.

Serialized protobufs one behind the other are one message, whose lists are joined (Protocol Buffers, "Last one wins"):
so outputs are added without parsing the model, and its weights, in the file or in others, stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bnfold.errors import ModelError
from bnfold.runtime.sessions import ModelSource

if TYPE_CHECKING:
    from onnx import NodeProto


def showing(model: ModelSource, names: Iterable[str], nodes: Iterable[NodeProto] = ()) -> bytes:
    """A serialized model with more outputs, of types that onnxruntime finds out.

    Args:
        model: a path, or a serialized ModelProto.
        names: values of the main graph that are no outputs, or that `nodes` compute.
        nodes: further nodes of the main graph.

    Raises:
        ModelError: the file can not be read.
    """
    from onnx import GraphProto, ModelProto, ValueInfoProto

    outputs = [ValueInfoProto(name=name) for name in names]
    return _content(model) + ModelProto(graph=GraphProto(node=nodes, output=outputs)).SerializeToString()


def _content(model: ModelSource) -> bytes:
    if isinstance(model, bytes):
        return model
    try:
        with open(model, "rb") as file:
            return file.read()
    except OSError as error:
        raise ModelError(f"the model can not be read: {error}") from error
