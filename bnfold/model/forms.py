"""The two forms of a model: its weights in the protobuf file, or in one data file beside it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from enum import StrEnum
from pathlib import PurePath

from onnx import FunctionProto, GraphProto, ModelProto, TensorProto

from bnfold.errors import UsageError
from bnfold.model.external import entries, external_tensors, is_external, is_reference
from bnfold.model.graph import scope_protos
from bnfold.model.references import extent_of
from bnfold.model.tensors import item_size

EXTERNAL_THRESHOLD = 1024
"""Tensors of at least this many bytes go to the data file of a model that has one; onnx.save's own threshold."""

INLINE_LIMIT = 2**31 - 2**20
"""Protobuf can not hold 2 GiB; beyond this, less a margin for the graph itself, weights go to a file."""


class Form(StrEnum):
    """What is asked for of a file that is written.

    Attributes:
        AS_IT_CAME: what was inline stays so, and so does what was external; in doubt a new tensor does as the others.
        EXTERNAL: every tensor of at least `EXTERNAL_THRESHOLD` bytes is in one data file beside the model.
        INLINE: every tensor is in the model's own file.
    """

    AS_IT_CAME = "as-it-came"
    EXTERNAL = "external"
    INLINE = "inline"

    @classmethod
    def called(cls, name: str) -> Form:
        """The form of that name.

        Raises:
            UsageError: there is none.
        """
        if name not in list(cls):
            raise UsageError(f"'{name}' is no form of a model; give one of {', '.join(cls)}")
        return cls(name)


def has_form(model: ModelProto, form: Form) -> bool:
    """Whether the model has the form already, so that its file can be copied as it is."""
    if form is Form.INLINE:
        return not any(external_tensors(model))
    if form is Form.AS_IT_CAME:
        return not is_too_large(model)
    files = {entries(tensor).get("location", "") for tensor in external_tensors(model)}
    return not any(_large(model)) and len(files) <= 1 and all(PurePath(file).name == file for file in files)


def is_too_large(model: ModelProto) -> bool:
    """Whether one protobuf file can not hold the large tensors that are inline."""
    return sum(map(inline_bytes, _large(model))) > INLINE_LIMIT


def tensors_for_a_file(
    model: ModelProto, fresh: Collection[str], form: Form, *, had_data: bool = False
) -> list[TensorProto]:
    """Which tensors of a model go to its data file, in the order of the model.

    Args:
        model: the model to be written.
        fresh: names of tensors that are new; the large ones go where the external ones are.
        form: what is asked for; a model that is too large is external whatever it was.
        had_data: the model came with external tensors, and all of them may be among the new ones.
    """
    external = list(external_tensors(model))
    if form is Form.EXTERNAL or is_too_large(model):
        return external + list(_large(model))
    if not external and not had_data:
        return []
    return external + [tensor for tensor in _large(model) if tensor.name in fresh]


MOST_BYTES_PER_STORED = 8
"""A number of 8 bytes may be stored in one (``int64_data``): no tensor of typed fields holds more than it has so."""


def inline_bytes(tensor: TensorProto) -> int:
    """How many bytes of values the tensor holds itself; none where they are external, or strings."""
    if is_reference(tensor):
        return extent_of(tensor).length
    if is_external(tensor) or tensor.data_type in {TensorProto.STRING, TensorProto.UNDEFINED}:
        return 0
    if tensor.raw_data or tensor.HasField("segment"):
        return len(tensor.raw_data)
    declared = math.prod(tensor.dims[:]) * item_size(tensor.data_type)
    return min(declared, MOST_BYTES_PER_STORED * tensor.ByteSize())


def _large(model: ModelProto) -> Iterator[TensorProto]:
    """Those that can be moved to a file and are worth it."""
    for scope in scope_protos(model):
        yield from (tensor for tensor in _dense(scope) if inline_bytes(tensor) >= EXTERNAL_THRESHOLD)


def _dense(scope: GraphProto | FunctionProto) -> Iterator[TensorProto]:
    """Initializers and the values of Constant nodes; of sparse tensors, runtimes take no external ones."""
    yield from getattr(scope, "initializer", ())
    for node in scope.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))
