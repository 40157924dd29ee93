"""What a file of a model is without its large weights: a model whose large tensors are references to the file.

The large ``raw_data`` of tensors are found by a walk over the headers, and protobuf parses the file with references in
their places. The walk never decides whether a file is a model: what it can not follow it leaves as it is, and where
protobuf does not take the result, protobuf is given the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from bnfold.model.references import THRESHOLD, Range, location, referring
from bnfold.model.rewriting import Bytes, Edit, Kind, rewritten, tensor_edits
from bnfold.model.wire import BYTES, VARINT, Field, Unreadable, fields

_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = (
    TensorProto.DESCRIPTOR.fields_by_name[name].number for name in ("raw_data", "external_data", "data_location")
)
_OF_THE_DATA = {_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION}


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A model, and the bytes that it came from.

    Attributes:
        proto: the model; large tensors are references to `source`. Not to be changed.
        source: all bytes of the file.
    """

    proto: ModelProto
    source: Bytes


def skeleton_from(source: Bytes) -> Skeleton:
    """The skeleton of the model in `source`.

    Raises:
        DecodeError: protobuf can not parse it.
        ModelError: the file has changed since it was opened.
    """
    with suppress(Unreadable, DecodeError):
        # A DecodeError need not be the file's: a reference is one message deeper than raw bytes, and 100 are allowed.
        return Skeleton(ModelProto.FromString(_without_weights(source)), source)
    return Skeleton(ModelProto.FromString(source.read(0, source.size)), source)


def _without_weights(source: Bytes) -> bytes:
    edits = tensor_edits(source, Kind.MODEL, _reference, THRESHOLD)
    pieces = rewritten(source, edits)
    return b"".join(piece.read() if isinstance(piece, Range) else piece for piece in pieces)


def _reference(source: Bytes, tensor: Field) -> Iterator[Edit]:
    """A reference in the place of a tensor's bytes, if it holds many, once, and says nothing else of them."""
    held = [field for field in fields(source, tensor.body, tensor.end) if field.number in _OF_THE_DATA]
    raw = [field for field in held if (field.number, field.wire) == (_RAW_DATA, BYTES)]
    said = [field for field in held if field.number == _DATA_LOCATION]
    if len(raw) != 1 or raw[0].length < THRESHOLD or len(held) != 1 + len(said):
        return
    if not all(_says_default(source, field) for field in said):
        return
    place = location(source.name, raw[0].body, raw[0].length, says_default=bool(said))
    reference = referring(TensorProto(), place).SerializeToString()
    yield Edit(raw[0].start, raw[0].end)
    yield Edit(tensor.end, tensor.end, (reference,))


def _says_default(source: Bytes, field: Field) -> bool:
    return field.wire == VARINT and source.read(field.body, field.length) == b"\0"
