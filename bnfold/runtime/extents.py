"""What the weights of a graph say of the sizes that it leaves open: a Conv has as many input channels as its W.

Looked for behind each input through operators that leave the axis in question as it is; the first one that says
something of an axis is believed. Sources: the ONNX operator specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from onnx import ModelProto

from bnfold.errors import ModelError
from bnfold.model.graph import ONNX_DOMAIN, Graph, Node, Value
from bnfold.model.shapes import Shapes
from bnfold.runtime.axes import axis_key
from bnfold.runtime.sessions import Port

Axes: TypeAlias = tuple["int | None", ...]
"""Per axis of a value, which axis of the graph's input it is, if it is one."""

_ELEMENTWISE = frozenset(
    {
        *("BatchNormalization", "Cast", "CastLike", "Clip", "DequantizeLinear", "Dropout", "Elu", "Erf", "Gelu"),
        *("HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Mish"),
        *("PRelu", "QuantizeLinear", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Tanh"),
    }
)
_ARITHMETIC = frozenset({"Add", "Div", "Mul", "Sub"})
_KEEPS_CHANNELS = frozenset(
    {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LRN", "LpPool", "MaxPool", "Pad", "Resize", "Upsample"}
)
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})


def settled(model: ModelProto, ports: Iterable[Port]) -> dict[str, int]:
    """What `bnfold.runtime.sizes.implied_sizes` says."""
    found: dict[str, int] = {}
    unsettled = [port for port in ports if not all(isinstance(size, int) for size in port.shape)]
    if not unsettled:
        return found
    try:
        graph = Graph(model)
        shapes = Shapes(graph)
        for port in unsettled:
            for axis, size in _sizes(graph.main.values[port.name], len(port.shape), shapes):
                if not isinstance(port.shape[axis], int):
                    found.setdefault(axis_key(port, axis), size)
    except ModelError:
        return {}  # as of hints: whoever runs the model says what is wrong with it
    return found


def _sizes(start: Value, rank: int, shapes: Shapes) -> Iterator[tuple[int, int]]:
    """(axis of the input, size), the nearest reader first."""
    pending: list[tuple[Value, Axes]] = [(start, tuple(range(rank)))]
    seen = {start}
    for value, axes in pending:  # grows on the way
        for node, index in value.readers:
            if node.domain != ONNX_DOMAIN:
                continue
            for place, size in _said(node, index, len(axes), shapes):
                origin = axes[place] if -len(axes) <= place < len(axes) else None
                if origin is not None:
                    yield origin, size
            behind, output = _behind(node, index, axes), next(iter(node.outputs), None)
            if behind is not None and output is not None and output not in seen:
                seen.add(output)
                pending.append((output, behind))


def _behind(node: Node, index: int, axes: Axes) -> Axes | None:
    """The same axes in the node's first output; None where they are lost."""
    if node.op_type in _ELEMENTWISE and index == 0:
        return axes
    if node.op_type in _ARITHMETIC and all(value is None or value.tensor is not None for value in _others(node, index)):
        return axes
    if node.op_type in _KEEPS_CHANNELS and index == 0:
        return (*axes[:2], *(None,) * (len(axes) - 2))
    if node.op_type == "Transpose":
        order = node.attribute("perm") or range(len(axes))[::-1]
        return tuple(axes[place] for place in order) if sorted(order) == list(range(len(axes))) else None
    return None


def _others(node: Node, index: int) -> list[Value | None]:
    return [value for place, value in enumerate(node.inputs) if place != index]


def _said(node: Node, index: int, rank: int, shapes: Shapes) -> Iterator[tuple[int, int]]:
    """(axis of the value, size) that a reader needs."""
    rule = _RULES.get((node.op_type, index))
    if rule is None or node.refers_to_function_attributes:
        return
    weights = [shapes.shape(value) for value in node.inputs]
    for place, size in rule(node, rank, {k: shape for k, shape in enumerate(weights) if shape}):
        if isinstance(size, int):
            yield place, size


Said: TypeAlias = "Iterator[tuple[int, object]]"
Rule: TypeAlias = Callable[[Node, int, Mapping[int, tuple[object, ...]]], Said]


def _conv(node: Node, _: int, weights: Mapping[int, tuple[object, ...]]) -> Said:
    """W: [O, I/g, *k]."""
    if len(weights.get(1, ())) > 1 and isinstance(weights[1][1], int):
        yield 1, weights[1][1] * int(node.attribute("group", 1))


def _first_of(weight: int, place: int) -> Rule:
    """The axis is as long as the first one of a weight: [I, ...], or [C]."""

    def rule(_: Node, __: int, weights: Mapping[int, tuple[object, ...]]) -> Said:
        if weight in weights:
            yield place, weights[weight][0]

    return rule


def _gemm(node: Node, _: int, weights: Mapping[int, tuple[object, ...]]) -> Said:
    """A: [M, K], B: [K, N], either one turned."""
    if len(weights.get(1, ())) == 2:
        yield 1 - int(node.attribute("transA", 0)), weights[1][int(node.attribute("transB", 0))]


def _matmul(_: Node, rank: int, weights: Mapping[int, tuple[object, ...]]) -> Said:
    """A: [..., M, K], B: [..., K, N] or [K]."""
    if 1 in weights:
        yield rank - 1, weights[1][-2:][0]


def _recurrent(node: Node, rank: int, weights: Mapping[int, tuple[object, ...]]) -> Said:
    """X: [T, N, I], W: [directions, gates * H, I]."""
    if len(weights.get(1, ())) == 3:
        yield rank - 1, weights[1][2]


_RULES: dict[tuple[str, int], Rule] = {
    ("Conv", 0): _conv,
    ("ConvTranspose", 0): _first_of(1, 1),
    ("BatchNormalization", 0): _first_of(1, 1),
    ("InstanceNormalization", 0): _first_of(1, 1),
    ("Gemm", 0): _gemm,
    ("MatMul", 0): _matmul,
    **{(name, 0): _recurrent for name in _RECURRENT},
}
