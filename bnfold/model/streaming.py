"""Writing a model that was opened in place: what is unchanged is copied from the file that it came from.

The result is a list of segments, ranges of open files and new bytes between them, whose length is known before anything
is written. Of the model and of its main graph each element (a node, an initializer, a name, ...) is looked at by
itself: one that is as it was goes out as it came in, byte for byte and in its place, and so does every field that ONNX
does not know. New elements stand right behind the nearest one that stayed and was in front of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from onnx import GraphProto, ModelProto, TensorProto

from bnfold.model.external import MARK, is_reference
from bnfold.model.mapped_file import BytesSource
from bnfold.model.references import Range, Segment, extent_of, materialized, released
from bnfold.model.rewriting import Bytes, Edit, Kind, length_of, rewritten, tensor_edits
from bnfold.model.skeleton import Skeleton
from bnfold.model.unchanged import compared
from bnfold.model.wire import BYTES, VARINT, Field, Unreadable, fields, header

Level: TypeAlias = ModelProto | GraphProto
"""The two messages that are written element by element."""

_KIND = {ModelProto: Kind.MODEL, GraphProto: Kind.GRAPH}
_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_RAW_DATA = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
_MARK = MARK.encode()
_TEXTS = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}


def segments(model: ModelProto, origin: Skeleton | None) -> list[Segment]:
    """The model's file, all tensors inline.

    Args:
        model: what to write; it may hold references, which are copied from where they point to.
        origin: what it was made from by changing a copy of ``origin.proto``, or None.

    Raises:
        ModelError: a reference is to a source that is gone.
    """
    if origin is None:
        return _joined(_inline(model))
    try:
        return _joined(_model_segments(model, origin))
    except Unreadable:
        unchanged = model.SerializeToString() == origin.proto.SerializeToString()
        return [Range(origin.source, 0, origin.source.size)] if unchanged else _joined(_inline(model))


def size_of(pieces: Iterable[Segment]) -> int:
    """How long a file of these segments is."""
    return sum(map(length_of, pieces))


def _model_segments(after: ModelProto, origin: Skeleton) -> Iterator[Segment]:
    source, before = origin.source, origin.proto
    graphs = [field for field in fields(source, 0, source.size) if (field.number, field.wire) == (_GRAPH, BYTES)]
    if len(graphs) != 1:
        raise Unreadable("protobuf merges several graphs into one")
    graph = graphs[0]
    inside = _joined(_level(before.graph, after.graph, source, graph))
    length = size_of(inside)
    head = _range(source, graph.start, graph.body) if length == graph.length else header(_GRAPH, length)
    whole = Field(0, BYTES, 0, 0, source.size)
    return _level(before, after, source, whole, [head, *inside])


def _level(
    before: Level, after: Level, source: Bytes, message: Field, graph: Iterable[Segment] = ()
) -> Iterator[Segment]:
    """The fields of a message in the order in which they came, and the new ones between them.

    Args:
        before: the message as it came in.
        after: as it goes out.
        source: what it came in with.
        message: where it stands there.
        graph: of a model, what goes out in the place of its graph.
    """
    names = [entry.name for entry in before.DESCRIPTOR.fields if entry.number != _GRAPH or not graph]
    known = {entry.number: entry for entry in (_Known(name, before, after) for name in names)}
    start = message.body  # from here on all stays
    for field in fields(source, message.body, message.end):
        known_field = known.get(field.number)
        if known_field is not None and known_field.wire == field.wire:
            if known_field.goes_on():
                continue
            other = known_field.around(source, field)
        elif graph and (field.number, field.wire) == (_GRAPH, BYTES):
            other = graph
        else:
            continue
        if field.start > start:
            yield _range(source, start, field.start)
        yield from other
        start = field.end
    if message.end > start:
        yield _range(source, start, message.end)
    for known_field in known.values():
        yield from known_field.rest()


class _Known:
    """A field that ONNX defines: its elements one after the other, as the file has them.

    Attributes:
        number: the field's.
        wire: the wire type that protobuf takes for the field; with another one, protobuf does not know it.
    """

    def __init__(self, name: str, before: Level, after: Level) -> None:
        field = before.DESCRIPTOR.fields_by_name[name]
        self.number = field.number
        self._name = name
        self._parent = type(after)
        self._is_message = field.message_type is not None
        self._after = self._values(after)
        self.wire = BYTES if self._is_message or field.type in _TEXTS else VARINT
        if self._is_message:
            self._elements = compared(self._values(before), self._after)
            self._alone = self._elements.alone
        else:
            self._stays = list(self._values(before)) == list(self._after)
        self._place = -1

    def _values(self, message: Level) -> Sequence[Any]:
        if self._is_message:
            values: Sequence[Any] = getattr(message, self._name)
            return values
        return [getattr(message, self._name)] if message.HasField(self._name) else []

    def goes_on(self) -> bool:
        """Step to the next element; whether it goes out as it came in, with nothing new beside it."""
        self._place += 1
        if not self._is_message:  # of a number that occurs more than once the last one counts: all stay, or none
            return self._stays
        return bool(self._alone[self._place])

    def around(self, source: Bytes, old: Field) -> Iterable[Segment]:
        """What goes out in the place of that element, which stood there in the source."""
        place = self._place
        if not self._is_message:
            return ()
        made: list[Segment] = [_range(source, old.start, old.end)] if self._elements.kept[place] else []
        if place in self._elements.in_front:
            made[:0] = self._fresh(self._elements.in_front[place])
        if place in self._elements.behind:
            made += self._fresh(self._elements.behind[place])
        return made

    def rest(self) -> Iterator[Segment]:
        """What has no place."""
        if self._is_message:
            yield from self._fresh(self._elements.in_front.get(None, ()))
        elif not self._stays:
            yield from self._fresh(range(len(self._after)))

    def _fresh(self, places: Iterable[int]) -> Iterator[Segment]:
        for place in places:
            element = self._after[place]
            if self._is_message:
                raw = element.SerializeToString()
                if _MARK not in raw:
                    yield header(self.number, len(raw)) + raw
                    continue
            holder = self._parent()
            if self._is_message:
                getattr(holder, self._name).append(element)
            else:
                setattr(holder, self._name, element)
            yield from _inline(holder)


def _range(source: Bytes, start: int, end: int) -> Range:
    return Range(source, start, end - start)


def _joined(pieces: Iterable[Segment]) -> list[Segment]:
    """The same with neighbouring ranges, and neighbouring bytes, made one."""
    joined: list[Segment] = []
    loose: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            loose.append(piece)
            continue
        if loose:
            joined.append(b"".join(loose))
            loose.clear()
        last = joined[-1] if joined else None
        if isinstance(last, Range) and last.source is piece.source and last.offset + last.length == piece.offset:
            joined[-1] = Range(last.source, last.offset, last.length + piece.length)
        else:
            joined.append(piece)
    return [*joined, b"".join(loose)] if loose else joined


def _inline(message: Level) -> list[Segment]:
    """The message as protobuf writes it, with ranges in the places of references."""
    raw = message.SerializeToString()
    if _MARK not in raw:
        return [raw]
    source = BytesSource(raw)
    try:
        return list(rewritten(source, tensor_edits(source, _KIND[type(message)], _filled, len(_MARK))))
    except Unreadable:  # a field that ONNX does not know, in a message too short to be looked at when it was opened
        return [_whole(message)]


def _whole(message: Level) -> bytes:
    """The message as protobuf writes it, all tensors in memory."""
    copy = ModelProto(graph=message) if isinstance(message, GraphProto) else message
    whole = materialized(copy)
    return bytes((whole.graph if isinstance(message, GraphProto) else whole).SerializeToString())


def _filled(source: Bytes, place: Field) -> list[Edit]:
    """A range in the place of a reference."""
    raw = source.read(place.body, place.length)
    if _MARK not in raw:
        return []
    tensor = TensorProto.FromString(raw)
    if not is_reference(tensor):
        return []
    extent = extent_of(tensor)
    front = released(tensor).SerializeToString() + header(_RAW_DATA, extent.length)
    return [Edit(place.body, place.end, (front, extent))]
