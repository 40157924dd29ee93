"""From an input of a graph to the operators that need something of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from bnfold.errors import ModelError
from bnfold.model.calls import Calls
from bnfold.model.graph import ONNX_DOMAIN, Graph, Node, Scope, Value
from bnfold.model.shapes import Shapes
from bnfold.runtime.consumers import Reader, hint_of
from bnfold.runtime.hints import Hint, Hints, Range

_SAME = frozenset({("Cast", 0), ("Identity", 0), ("CastLike", 0)})
_REARRANGING = frozenset(
    {
        *((name, 0) for name in ("Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice", "Split")),
        *((name, 0) for name in ("Expand", "Tile", "Gather", "GatherElements", "GatherND", "Compress")),
        *(("Where", index) for index in (1, 2)),
    }
)
_FIRST_OF_BODY = {"Loop": 2, "Scan": 0}
"""Where an operator hands its inputs to a body: the index of the first; those in a Loop go behind two of its own."""


@dataclass(frozen=True, eq=False)
class _Place:
    """A value that holds an input's values.

    Attributes:
        value: The value.
        in_order: Whether it has the input's shape, element for element.
        bindings: Of the functions on the way here, what each parameter stands for.
    """

    value: Value
    in_order: bool = True
    bindings: Mapping[Value, Value] = field(default_factory=dict)


def trace_inputs(model: ModelProto) -> Hints:
    """What `bnfold.runtime.hints.hints_of` says."""
    try:
        graph = Graph(model)
        calls = Calls(graph)
        if not calls.is_sound:
            return {}
        tracer = _Tracer(calls, Shapes(graph))
        names = [entry.name for entry in model.graph.input]
        found = {name: tracer.hints(graph.main.values[name]) for name in names}
    except ModelError:
        return {}  # a hint is a convenience: whoever runs the model says what is wrong with it
    return {name: hints for name, hints in found.items() if hints}


class _Tracer:
    """The ways from one value to its readers, and what they say."""

    def __init__(self, calls: Calls, shapes: Shapes) -> None:
        self.calls = calls
        self.shapes = shapes

    def hints(self, start: Value) -> tuple[Hint, ...]:
        """One per reader that says something, each once, in the order in which they are met."""
        found: dict[Hint, None] = {}
        pending = [_Place(start)]
        seen = {(start, True)}
        while pending:
            place = pending.pop(0)
            for node, index in place.value.readers:
                hint = hint_of(Reader(node, index, self.shapes, place.bindings))
                if isinstance(hint, Range) and not place.in_order:
                    hint = hint.for_any_order()
                if hint is not None:
                    found[hint] = None
                for following in self._behind(node, index, place):
                    if (following.value, following.in_order) not in seen:
                        seen.add((following.value, following.in_order))
                        pending.append(following)
        return tuple(found)

    def _behind(self, node: Node, index: int, place: _Place) -> Iterator[_Place]:
        """Where the values are found again behind, or inside of, one of their readers."""
        function = self.calls.called(node)
        if function is not None:
            yield from _inside(function, node, index, place)
        elif node.domain == ONNX_DOMAIN and node.op_type in _FIRST_OF_BODY:
            yield from self._in_body(node, index, place)
        elif node.domain == ONNX_DOMAIN and ((node.op_type, index) in _SAME | _REARRANGING or node.op_type == "Concat"):
            in_order = place.in_order and (node.op_type, index) in _SAME
            for output in node.outputs:
                if output is not None:
                    yield _Place(output, in_order, place.bindings)

    def _in_body(self, node: Node, index: int, place: _Place) -> Iterator[_Place]:
        if index < _FIRST_OF_BODY[node.op_type]:
            return
        for body in self.calls.bodies.get(node.address, ()):
            names = [entry.name for entry in body.proto.input if not isinstance(entry, str)]
            if index < len(names):
                # A Scan hands out slices; which of its inputs these are does not matter to what they hold.
                yield _Place(body.values[names[index]], False, place.bindings)


def _inside(function: Scope, call: Node, index: int, place: _Place) -> Iterator[_Place]:
    """The parameter of a function that an input of a call is handed to."""
    parameters = [function.values[str(name)] for name in function.proto.input]
    if index >= len(parameters):
        return
    # What a parameter stands for is seen from outside of all functions, so that one look-up is enough.
    bound = {
        parameter: place.bindings.get(value, value)
        for parameter, value in zip(parameters, call.inputs, strict=False)
        if value is not None
    }
    yield _Place(parameters[index], place.in_order, {**place.bindings, **bound})
