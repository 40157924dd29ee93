"""Putting other bytes in the places of tensors, at any depth, without parsing what is around them.

One walk over the headers finds the tensors of a model; it only goes where a message is long enough to hold what is
looked for. What is changed in a message changes its length, and that of the messages around it: these are set right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from typing import NamedTuple, Protocol

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto

from bnfold.model.references import Range, Segment, Source
from bnfold.model.wire import BYTES, Field, Windows, fields, header


class Bytes(Source, Windows, Protocol):
    """A source that can be walked."""


class Kind(Enum):
    """The messages on the way to a tensor."""

    MODEL = auto()
    GRAPH = auto()
    FUNCTION = auto()
    NODE = auto()
    ATTRIBUTE = auto()
    SPARSE = auto()
    TENSOR = auto()


def _numbers(message: type, **kinds: Kind) -> dict[int, Kind]:
    by_name = message.DESCRIPTOR.fields_by_name  # type: ignore[attr-defined]
    return {by_name[name].number: kind for name, kind in kinds.items()}


_WAYS: dict[Kind, dict[int, Kind]] = {
    Kind.MODEL: _numbers(ModelProto, graph=Kind.GRAPH, functions=Kind.FUNCTION),
    Kind.GRAPH: _numbers(GraphProto, node=Kind.NODE, initializer=Kind.TENSOR, sparse_initializer=Kind.SPARSE),
    Kind.FUNCTION: _numbers(FunctionProto, node=Kind.NODE, attribute_proto=Kind.ATTRIBUTE),
    Kind.NODE: _numbers(NodeProto, attribute=Kind.ATTRIBUTE),
    Kind.ATTRIBUTE: _numbers(
        AttributeProto,
        t=Kind.TENSOR,
        tensors=Kind.TENSOR,
        g=Kind.GRAPH,
        graphs=Kind.GRAPH,
        sparse_tensor=Kind.SPARSE,
        sparse_tensors=Kind.SPARSE,
    ),
    Kind.SPARSE: _numbers(SparseTensorProto, values=Kind.TENSOR, indices=Kind.TENSOR),
}
"""Per message, the fields that lead to tensors."""

_ONCE: dict[Kind, set[int]] = {
    Kind.ATTRIBUTE: set(_numbers(AttributeProto, t=Kind.TENSOR, sparse_tensor=Kind.SPARSE)),
    Kind.SPARSE: set(_numbers(SparseTensorProto, values=Kind.TENSOR, indices=Kind.TENSOR)),
}
"""Fields of one message that protobuf merges where they occur more than once; two references can not be merged."""


class Edit(NamedTuple):
    """Other bytes in the place of ``[start, end)``."""

    start: int
    end: int
    new: tuple[Segment, ...] = ()

    @property
    def change(self) -> int:
        """By how many bytes what it is made to becomes longer."""
        return sum(map(length_of, self.new)) - (self.end - self.start)


TensorEdit = Callable[[Bytes, Field], Iterable[Edit]]
"""Says what of a tensor (its field in the source) is to be changed, in the order of the source."""


def length_of(segment: Segment) -> int:
    """How many bytes a segment has."""
    return segment.length if isinstance(segment, Range) else len(segment)


def rewritten(source: Source, edits: Iterable[Edit]) -> Iterator[Segment]:
    """The source with the edits made; what stays is ranges of it."""
    position = 0
    for edit in edits:
        if edit.start > position:
            yield Range(source, position, edit.start - position)
        yield from edit.new
        position = edit.end
    if source.size > position:
        yield Range(source, position, source.size - position)


def tensor_edits(source: Bytes, kind: Kind, change: TensorEdit, least: int) -> list[Edit]:
    """The edits of all tensors of at least `least` bytes in a message, and of the lengths around them, in order.

    Args:
        source: all of it is the message.
        kind: which message it is.
        change: what to do with a tensor.
        least: a message that is shorter is not looked at.

    Raises:
        Unreadable: it is not in the usual form of protobuf's wire format.
    """
    walk = _Walk(source, change, least)
    walk.go_through(Field(0, BYTES, 0, 0, source.size), kind)
    return walk.edits


class _Open(NamedTuple):
    """A message that the walk is in.

    Attributes:
        field: where it stands in the message around it.
        kind: what it is.
        inside: the fields of it that lead on.
        edit: the number of the edit that is kept free for its length.
        change: by how many bytes the source had become longer when it was entered.
    """

    field: Field
    kind: Kind
    inside: Iterator[Field]
    edit: int
    change: int


class _Walk:
    """The way from one tensor to the next, depth first and without recursion."""

    def __init__(self, source: Bytes, change: TensorEdit, least: int) -> None:
        self.edits: list[Edit] = []
        self._source = source
        self._tensor_edits = change
        self._least = least
        self._change = 0

    def go_through(self, message: Field, kind: Kind) -> None:
        stack = [_Open(message, kind, self._inside(message, kind), 0, 0)]
        while stack:
            top = stack[-1]
            field = next(top.inside, None)
            if field is not None:
                self._enter(field, _WAYS[top.kind][field.number], stack)
            elif len(stack) > 1:
                self._leave(stack.pop())
            else:
                return

    def _enter(self, field: Field, kind: Kind, stack: list[_Open]) -> None:
        entered = _Open(field, kind, self._inside(field, kind), len(self.edits), self._change)
        self._add(Edit(field.start, field.start))
        stack.append(entered)
        if kind is Kind.TENSOR:
            for edit in self._tensor_edits(self._source, field):
                self._add(edit)

    def _add(self, edit: Edit) -> None:
        self.edits.append(edit)
        self._change += edit.change

    def _leave(self, message: _Open) -> None:
        """Set the message's length right, if something in it was changed."""
        field = message.field
        if len(self.edits) == message.edit + 1:
            self.edits.pop()
            return
        new = header(field.number, field.length + self._change - message.change)
        edit = Edit(field.start, field.body, (new,))
        self.edits[message.edit] = edit
        self._change += edit.change

    def _inside(self, message: Field, kind: Kind) -> Iterator[Field]:
        """The fields of a message that lead on and are long enough."""
        ways = _WAYS.get(kind)
        if ways is None:
            return iter(())
        once = _ONCE.get(kind)
        if once is None:
            found = fields(self._source, message.body, message.end, self._least)
            return (field for field in found if field.wire == BYTES and field.number in ways)
        every = [f for f in fields(self._source, message.body, message.end) if f.wire == BYTES and f.number in ways]
        single = [field.number for field in every if field.number in once]
        merged = len(single) != len(set(single))
        return iter([] if merged else [field for field in every if field.length >= self._least])
