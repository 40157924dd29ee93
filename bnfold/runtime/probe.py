"""What is inside a graph, shown: a model that gives away some of its inner values as outputs besides.

Serialized protobufs one behind the other are one message, whose lists are joined (Protocol Buffers, "Last one wins"):
so outputs are added without parsing the model, and its weights, in the file or in others, stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from bnfold.errors import ModelError
from bnfold.runtime.sessions import ModelSource


def showing(model: ModelSource, values: Iterable[tuple[str, int]]) -> bytes:
    """A serialized model with more outputs.

    Args:
        model: a path, or a serialized ModelProto.
        values: names of values of the main graph that are no outputs, each with its element type as ONNX numbers them.

    Raises:
        ModelError: the file can not be read.
    """
    from onnx import GraphProto, ModelProto, helper

    outputs = [helper.make_tensor_value_info(name, elem_type, None) for name, elem_type in values]
    return _content(model) + ModelProto(graph=GraphProto(output=outputs)).SerializeToString()


def _content(model: ModelSource) -> bytes:
    if isinstance(model, bytes):
        return model
    try:
        with open(model, "rb") as file:
            return file.read()
    except OSError as error:
        raise ModelError(f"the model can not be read: {error}") from error
