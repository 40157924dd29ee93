"""What an operator needs of the values of one of its inputs: an entry per operator and input.

Where any value will do there is no entry. An input that decides the shape of an output gets the same value in every
draw, else outputs of different draws could not be told apart. Sources: the ONNX operator specification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from onnx import TensorProto

from bnfold.model.constants import Constants
from bnfold.model.graph import ONNX_DOMAIN, Node, Value
from bnfold.model.shapes import Shape, Shapes
from bnfold.model.tensors import FLOATS
from bnfold.runtime.hints import Choice, Extent, Hint, Range

_MOST_AXES = 64  # a longer list is none of axes or of sizes
_ROUNDED = FLOATS | {TensorProto.UNDEFINED}
_END = 2**31 - 1  # "to the end" for Slice, in int32 as well
_ML = "ai.onnx.ml"
_ORT = "com.microsoft"


@dataclass(frozen=True)
class Reader:
    """A node that reads a value.

    Attributes:
        node: The node.
        index: At which of its inputs.
        shapes: Of the graph.
        bindings: In a function, what its parameters stand for.
    """

    node: Node
    index: int
    shapes: Shapes
    bindings: Mapping[Value, Value]

    def value(self, index: int) -> Value | None:
        """What stands at an input of the node, seen from outside of functions; `None` for an omitted one."""
        found = self.node.inputs[index] if index < len(self.node.inputs) else None
        return None if found is None else self.bindings.get(found, found)

    def shape(self, index: int) -> Shape | None:
        """The shape of an input of the node, `None` when not even the rank is known."""
        return self.shapes.shape(self.value(index))

    def extent(self, index: int, axis: int) -> int | Extent | None:
        """The size of an axis of an input of the node, as a number or by the name of an open axis."""
        value, shape = self.value(index), self.shape(index)
        if value is None or shape is None or not -len(shape) <= axis < len(shape):
            return None
        size = shape[axis]
        if size is None and value.is_input and value.scope.parent is None:
            return Extent(f"{value.name}[{axis % len(shape)}]")
        return Extent(size) if isinstance(size, str) else size

    def length(self) -> int | None:
        """How many elements the value itself has, where it is a list of a known length, as of axes."""
        shape = self.shape(self.index)
        if shape is None or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] > _MOST_AXES:
            return None
        return shape[0]

    def integer(self, name: str, default: int) -> int:
        """An attribute of the node."""
        return int(self.node.attribute(name, default))


Rule: TypeAlias = Callable[[Reader], "Hint | None"]


def hint_of(reader: Reader) -> Hint | None:
    """What a reader says of the values that it reads; nothing where it takes any, or is not known."""
    rule = _RULES.get((reader.node.domain, reader.node.op_type, reader.index))
    return None if rule is None or reader.node.refers_to_function_attributes else rule(reader)


def _below(size: int | Extent | None) -> Range | None:
    """Indices into an axis of that size."""
    return None if size is None else Range(0, size + -1)


def _indices(axis: int = 0, *, table: int = 0) -> Rule:
    """Indices into the axis that the attribute `axis` names, by default this one, of the input `table`."""
    return lambda reader: _below(reader.extent(table, reader.integer("axis", axis)))


def _rows(table: int, axis: int = 0) -> Rule:
    """Indices into one and the same axis of the input `table`."""
    return lambda reader: _below(reader.extent(table, axis))


def _tuples(reader: Reader) -> Range | None:
    """Index tuples, `indices[..., k]` into the axes of the data behind the batch."""
    shape, batch = reader.shape(1), reader.integer("batch_dims", 0)
    if not shape or not isinstance(shape[-1], int) or shape[-1] > _MOST_AXES:
        return None
    sizes = [reader.extent(0, batch + axis) for axis in range(shape[-1])]
    known = tuple(size + -1 for size in sizes if size is not None)
    return Range(0, known) if len(known) == len(sizes) else None


def _one_hot(reader: Reader) -> Range | None:
    depth = Constants(reader.shapes.graph, None, shapes=reader.shapes).get(reader.value(1))
    if depth is None or prod(depth.shape) != 1:
        return None
    return Range(0, max(int(depth.load().item()) - 1, 0))


def _lengths(name: str) -> Rule:
    """Lengths of sequences; the attribute names the axis of the first input along which they run."""

    def rule(reader: Reader) -> Range | None:
        size = reader.extent(0, reader.integer(name, 0))
        return None if size is None else Range(1, size)

    return rule


def _always(value: float) -> Rule:
    return lambda _: Range.exactly(value)


def _between(low: float, high: float) -> Rule:
    return lambda _: Range(low, high)


def _divisor(reader: Reader) -> Range | None:
    """An integer that is not 0: onnxruntime divides by 0 as the processor does, which ends the process."""
    return None if reader.shapes.elem_type(reader.value(reader.index)) in _ROUNDED else Range(1, 9)


def _axes(reader: Reader) -> Range | None:
    """Different axes: the first ones."""
    length = reader.length()
    return Range.exactly(0 if length is None else tuple(range(length)))


def _last_axes(reader: Reader) -> Range | None:
    """Different axes: the last ones."""
    length = reader.length()
    return Range.exactly(-1 if length is None else tuple(range(-length, 0)))


def _target_shape(reader: Reader) -> Range | None:
    """A shape for the data's elements: its axes kept (0), and all that are left in one (-1)."""
    length, shape = reader.length(), reader.shape(0)
    if length is None or shape is None:
        return None
    kept = max(min(length, len(shape)) - 1, 0)
    return Range.exactly((*(0,) * kept, -1, *(1,) * (length - kept - 1))) if length else None


def _scales(reader: Reader) -> Range | None:
    """Twice as large behind batch and channels."""
    length = reader.length()
    return Range.exactly(1.0 if length is None else (1.0, 1.0, *(2.0,) * (length - 2))[:length])


def _resized(reader: Reader) -> Range | None:
    """The data's own sizes, which every mode allows."""
    sizes = [reader.extent(0, axis) for axis in range(reader.length() or 0)]
    known = tuple(size for size in sizes if size is not None)
    return Range.exactly(known) if known and len(known) == len(sizes) else None


def _resize_second(reader: Reader) -> Range | None:
    """Resize-10 has its scales where later ones have a region."""
    return _scales(reader) if reader.node.opset < 11 else None


def _parts(reader: Reader) -> Range | None:
    """Parts of one size, the last of what is left over."""
    length, size = reader.length(), reader.extent(0, reader.integer("axis", 0))
    if not length or not isinstance(size, int):
        return None
    part = size // length
    return Range.exactly((*(part,) * (length - 1), size - part * (length - 1)))


def _top(reader: Reader) -> Range | None:
    size = reader.extent(0, reader.integer("axis", -1))
    return Range.exactly(min(size, 5) if isinstance(size, int) else 1)


def _known_to(*names: str) -> Rule:
    """One of the values that an attribute lists: the first of these that is there and of the input's type."""

    def rule(reader: Reader) -> Choice | None:
        strings = reader.shapes.elem_type(reader.value(reader.index)) == TensorProto.STRING
        fitting = [name for name in names if name.endswith("_strings") is strings and reader.node.has_attribute(name)]
        values = reader.node.attribute(fitting[0]) if fitting else ()
        return Choice(tuple(_text(value) for value in values)) if values else None

    return rule


def _text(value: bytes | int) -> str | int:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else int(value)


_CATEGORIES = _known_to("cats_strings", "cats_int64s")

_RULES: dict[tuple[str, str, int], Rule] = {
    **{(ONNX_DOMAIN, name, 1): _indices() for name in ("Gather", "GatherElements", "Scatter", "ScatterElements")},
    **{(ONNX_DOMAIN, name, 1): _tuples for name in ("GatherND", "ScatterND")},
    **{(ONNX_DOMAIN, name, 1): _rows(0, 1) for name in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")},
    (ONNX_DOMAIN, "OneHot", 0): _one_hot,
    (ONNX_DOMAIN, "OneHot", 1): _always(8),
    **{(ONNX_DOMAIN, name, 4): _lengths("layout") for name in ("LSTM", "GRU", "RNN")},
    (ONNX_DOMAIN, "ReverseSequence", 1): _lengths("time_axis"),
    **{(ONNX_DOMAIN, name, 1): _divisor for name in ("Div", "Mod")},
    (ONNX_DOMAIN, "Reshape", 1): _target_shape,
    (ONNX_DOMAIN, "Expand", 1): _always(1),
    (ONNX_DOMAIN, "Tile", 1): _always(1),
    (ONNX_DOMAIN, "ConstantOfShape", 0): _always(2),
    **{(ONNX_DOMAIN, "Range", index): _always(value) for index, value in enumerate((0, 8, 1))},
    (ONNX_DOMAIN, "TopK", 1): _top,
    (ONNX_DOMAIN, "Slice", 1): _always(0),
    (ONNX_DOMAIN, "Slice", 2): _always(_END),
    (ONNX_DOMAIN, "Slice", 3): _axes,
    (ONNX_DOMAIN, "Slice", 4): _always(1),
    (ONNX_DOMAIN, "Split", 1): _parts,
    (ONNX_DOMAIN, "Squeeze", 1): _axes,
    (ONNX_DOMAIN, "Unsqueeze", 1): _axes,
    (ONNX_DOMAIN, "Pad", 1): _always(0),
    (ONNX_DOMAIN, "Upsample", 1): _scales,
    (ONNX_DOMAIN, "Resize", 1): _resize_second,
    (ONNX_DOMAIN, "Resize", 2): _scales,
    (ONNX_DOMAIN, "Resize", 3): _resized,
    (ONNX_DOMAIN, "Loop", 0): _always(3),
    (ONNX_DOMAIN, "Loop", 1): _always(1),
    (ONNX_DOMAIN, "CumSum", 1): _always(0),
    (ONNX_DOMAIN, "CumProd", 1): _always(0),
    (ONNX_DOMAIN, "Trilu", 1): _always(0),
    (ONNX_DOMAIN, "STFT", 1): _always(1),
    (ONNX_DOMAIN, "STFT", 3): _always(4),
    (ONNX_DOMAIN, "NonMaxSuppression", 2): _always(5),
    (ONNX_DOMAIN, "NonMaxSuppression", 3): _between(0.3, 0.7),
    (ONNX_DOMAIN, "NonMaxSuppression", 4): _between(0.0, 0.1),
    (ONNX_DOMAIN, "Dropout", 1): _between(0.1, 0.5),
    (ONNX_DOMAIN, "Dropout", 2): _always(0),
    (ONNX_DOMAIN, "Clip", 1): _between(-1.0, -0.5),
    (ONNX_DOMAIN, "Clip", 2): _between(0.5, 1.0),
    **{
        (ONNX_DOMAIN, f"Reduce{name}", 1): _last_axes
        for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    },
    (_ML, "ArrayFeatureExtractor", 1): _rows(0, -1),
    (_ML, "LabelEncoder", 0): _known_to("keys_strings", "keys_int64s", "classes_strings"),
    (_ML, "CategoryMapper", 0): _CATEGORIES,
    (_ML, "OneHotEncoder", 0): _CATEGORIES,
    (ONNX_DOMAIN, "TfIdfVectorizer", 0): _known_to("pool_strings", "pool_int64s"),
    (_ORT, "EmbedLayerNormalization", 0): _rows(2),
    (_ORT, "EmbedLayerNormalization", 1): _rows(4),
}
