"""A small graph under construction, and the affines in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper
from support import Array


@dataclass
class Drawer:
    """What is drawn so far.

    Attributes:
        rng: where all choices come from.
        opset: that of the graph.
        kind: the element type of its activations.
        shared: how many of its constants are ones that it has already, where it has.
        gain: how often what a bias loses counts in an output, at most.
    """

    rng: np.random.Generator
    opset: int = 21
    kind: int = TensorProto.FLOAT
    shared: float = 0.0
    gain: float = 1.0
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        return helper.tensor_dtype_to_np_dtype(self.kind)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def size(self) -> int:
        return int(self.rng.integers(1, 6))

    def store(self, values: Any) -> str:
        """The name of an initializer: a new one, or one that says the same."""
        array = np.asarray(values)
        same = [k for k, v in self.constants.items() if v.dtype == array.dtype and np.array_equal(v, array)]
        if same and self.chance(self.shared):
            return same[0]
        name = f"k{len(self.constants)}"
        self.constants[name] = array
        return name

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, whose name is given back."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=f"n{name}", **attributes))
        return name

    def numbers(self, *shape: int) -> Array:
        """Of both signs, none of them small."""
        return np.asarray(self.rng.uniform(0.4, 1.6, shape) * self.rng.choice([-1, 1], shape)).astype(self.dtype)

    def tensors(self) -> list[TensorProto]:
        return [numpy_helper.from_array(values, name) for name, values in self.constants.items()]


def affines(d: Drawer, x: str, rank: int, axis: int, size: int, share: float) -> str:
    """None, one or two, along an axis or of one number, now and then along another axis."""
    for _ in range(int(d.pick(1, 1, 2)) if d.chance(share) else 0):
        along = int(d.rng.integers(rank)) if d.chance(0.08) else axis
        if axis == 1 and along == 1 and d.chance(0.5):
            x = _normalization(d, x, size)
        else:
            x = _arithmetic(d, x, rank, along, size)
    return x


def _normalization(d: Drawer, x: str, size: int) -> str:
    scale = d.numbers(size)
    if d.chance(0.15):
        scale = scale * d.rng.integers(0, 2, size).astype(d.dtype)
    return d.add(
        "BatchNormalization",
        x,
        *map(d.store, (scale, d.numbers(size), d.numbers(size), np.abs(scale) + d.dtype.type(0.5))),
    )


def _arithmetic(d: Drawer, x: str, rank: int, along: int, size: int) -> str:
    op_type = str(d.pick("Mul", "Add", "Sub", "Div"))
    laid = [size if k == along else 1 for k in range(rank)]
    values = d.numbers(*d.pick(laid, laid, laid[along:], laid[along:], [], [1], [1] * rank))
    if op_type == "Mul" and values.size > 1 and d.chance(0.1):
        values.reshape(-1)[0] = 0
    pair = [x, _in_integers(d, values) if d.chance(0.12) else d.store(values)]
    if op_type != "Div" and d.chance(0.3):
        pair.reverse()
    return d.add(op_type, *pair)


def _in_integers(d: Drawer, values: Array) -> str:
    """About these numbers, as whole steps of one scale."""
    step = d.dtype.type(1 / 64)
    integers = np.round(values.astype(np.float64) * 64).astype(d.pick(np.int8, np.int32))
    return d.add("DequantizeLinear", d.store(integers), d.store(step))
