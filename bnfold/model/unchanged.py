"""What of a repeated field is still as it was, and where what is new belongs: linear in the number of elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from onnx import (
    FunctionProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    StringStringEntryProto,
    TensorAnnotation,
    TensorProto,
    ValueInfoProto,
)

from bnfold.values import cached_property, frozen

Key = Callable[[Any], str | bytes]

_KEYS: dict[type, Key] = {
    NodeProto: lambda node: (node.output[:1] or (node.name,))[0],
    TensorProto: lambda tensor: tensor.name,
    ValueInfoProto: lambda entry: entry.name,
    SparseTensorProto: lambda sparse: sparse.values.name,
    FunctionProto: lambda function: function.name,
    OperatorSetIdProto: lambda entry: entry.domain,
    StringStringEntryProto: lambda entry: entry.key,
    TensorAnnotation: lambda annotation: annotation.tensor_name,
}


@frozen
class Elements:
    """What becomes of the elements of one repeated field. Old and new ones are called by their places.

    Attributes:
        kept: per old element, 1 where it goes out as it came in.
        in_front: the new ones to put in front of the first kept one, per its place; those to put last, per None.
        behind: the new ones to put behind a kept one, per its place.
        alone: per old element, 1 where it is kept and has nothing new beside it.
    """

    kept: bytearray
    in_front: dict[int | None, list[int]]
    behind: dict[int, list[int]]

    @cached_property
    def alone(self) -> bytearray:
        """Of most elements nothing else is asked."""
        alone = bytearray(self.kept)
        for place in (*self.in_front, *self.behind):
            if place is not None:
                alone[place] = 0
        return alone


def compared(before: Sequence[Any], after: Sequence[Any]) -> Elements:
    """Which elements of the field stay, and where those stand that do not come from it.

    An element stays where one of the same name has the same bytes, and none that stood behind it comes earlier now.
    Bytes tell more than ``==``, for which 0.0 is -0.0 and no NaN is itself.
    """
    kept = bytearray(len(before))
    leading: list[int] = []
    behind: dict[int, list[int]] = {}
    first = nearest = None
    for place, match in enumerate(_matches(before, after)):
        if match is not None:
            kept[match] = 1
            first, nearest = match if first is None else first, match
        elif nearest is None:
            leading.append(place)
        else:
            behind.setdefault(nearest, []).append(place)
    return Elements(kept, {first: leading}, behind)


def _matches(before: Sequence[Any], after: Sequence[Any]) -> Iterator[int | None]:
    """Per new element, the place of the old one that it is, in rising order; None for one that is none."""
    if not before:
        yield from (None for _ in after)
        return
    key = _KEYS.get(type(before[0]), _no_name)
    candidates = _Places([key(element) for element in before])
    last = -1
    for element in after:
        place = candidates.take(key(element), last)
        if place is None or before[place].SerializeToString() != element.SerializeToString():
            yield None
        else:
            last = place
            yield place


def _no_name(element: object) -> str:
    """The name of what has none: such elements are compared in their order."""
    return ""


class _Places:
    """Where each name stands. A name mostly stands once, so only the others cost a place in a second table."""

    def __init__(self, names: Sequence[str | bytes]) -> None:
        self._first: dict[str | bytes, int] = {}
        self._next: dict[int, int] = {}
        for place in range(len(names) - 1, -1, -1):
            if names[place] in self._first:
                self._next[place] = self._first[names[place]]
            self._first[names[place]] = place

    def take(self, name: str | bytes, behind: int) -> int | None:
        """The first place of the name that is behind another place and was not taken yet."""
        place = self._first.pop(name, None)
        while place is not None and place <= behind:
            place = self._next.get(place)
        if place is not None and place in self._next:
            self._first[name] = self._next[place]
        return place
