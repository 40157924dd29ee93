"""onnxruntime puts the bodies of functions in the place of their calls; there are models with which that never ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

_FUNCTIONS = 25  # the field of a ModelProto: that a file has none is seen by its headers


def refuse_endless_calls(model: str | os.PathLike[str] | bytes, name: str) -> None:
    """Look at the functions of a model that onnxruntime is about to load. What can not be read, that will tell.

    Raises:
        ModelError: functions call each other, or there would be too many nodes with all bodies in their places.
    """
    from bnfold.model.calls import DEEPEST, MOST_PUT_IN, Calls
    from bnfold.model.graph import Graph

    proto = _with_functions(model)
    if proto is not None and not Calls(Graph(proto)).can_all_be_put_in:
        raise ModelError(
            f"{name} can not be loaded: two of its functions have one name, or they call themselves, or one another "
            f"more than {DEEPEST} calls deep, or so often that all bodies together have more than {MOST_PUT_IN} nodes"
        )


def _with_functions(model: str | os.PathLike[str] | bytes) -> ModelProto | None:
    """The model, if it has functions and can be parsed."""
    from google.protobuf.message import DecodeError

    from bnfold.model.mapped_file import BytesSource, open_source
    from bnfold.model.skeleton import skeleton_from
    from bnfold.model.wire import LIMIT, Unreadable, fields

    try:
        source = BytesSource(model) if isinstance(model, bytes) else open_source(Path(model))
        try:
            if not any(field.number == _FUNCTIONS for field in fields(source, 0, source.size)):
                return None
        except Unreadable:
            pass
        return skeleton_from(source).proto if source.size <= LIMIT else None
    except (OSError, ValueError, ModelError, DecodeError):
        return None
