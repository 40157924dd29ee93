"""The operators, and the whole graph around one or two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper
from support import Array

from random_quantized.constants import bias, weight
from random_quantized.drawer import Drawer, affines

OPSETS = (10, 13, 13, 19, 21, 21, 23)


@dataclass(frozen=True)
class Drawn:
    """A graph, its input, and how often what a bias loses counts in an output, at most."""

    model: ModelProto
    feeds: dict[str, Array]
    gain: float


@dataclass(frozen=True)
class Wires:
    """Outputs of one operator, or of twins, with the axis of their channels."""

    names: list[str]
    weight: str
    weight_rank: int
    rank: int
    axis: int
    channels: int


def draw(seed: int, number: int) -> Drawn:
    """The graph of that number. Of all its sizes, more than half of the graphs have one alone."""
    rng = np.random.default_rng([seed, number])
    d = Drawer(rng, opset=int(rng.choice(OPSETS)), shared=float(rng.choice([0.0, 0.7])))
    if d.opset >= 19 and d.chance(0.12):
        d.kind = TensorProto.FLOAT16
    same, sizes = d.size(), [d.size() for _ in range(4)]
    layer = d.pick(_Convolution, _Convolution, _Gemm, _Gemm, _MatMul)(d, [same] * 4 if d.chance(0.6) else sizes)
    x, scale = _activation(d, layer)
    wires = layer.put(d, x, scale)
    ends = [affines(d, name, wires.rank, wires.axis, wires.channels, 0.85) for name in wires.names]
    if d.chance(0.15):
        ends[0] = _another(d, ends[0], wires)
    outputs = [helper.make_tensor_value_info(name, d.kind, [None] * wires.rank) for name in ends]
    if d.chance(0.05):
        outputs.append(helper.make_tensor_value_info(wires.weight, d.kind, [None] * wires.weight_rank))
    inputs = [helper.make_tensor_value_info("x", d.kind, layer.shape)]
    graph = helper.make_graph(d.nodes, "quantized", inputs, outputs, d.tensors())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", d.opset)], ir_version=10)
    return Drawn(model, {"x": rng.standard_normal(layer.shape).astype(d.dtype)}, d.gain)


def _activation(d: Drawer, layer: Any) -> tuple[str, float | None]:
    """The input of the operator, and its scale where it comes in integers."""
    at = (len(layer.shape), layer.axis, layer.shape[layer.axis])
    if not d.chance(0.75):
        return affines(d, "x", *at, 0.5), None
    x = affines(d, "x", *at, 0.1) if d.kind == TensorProto.FLOAT else "x"
    scale = np.asarray(d.rng.uniform(0.01, 0.03)).astype(d.dtype)
    zero = np.uint8(d.rng.integers(100, 150)) if d.chance(0.5) else np.int8(d.rng.integers(-20, 20))
    both = [d.store(scale), d.store(zero)]
    x = d.add("DequantizeLinear", d.add("QuantizeLinear", x, *both), *both)
    return affines(d, x, *at, 0.2), float(scale)


def _another(d: Drawer, x: str, wires: Wires) -> str:
    """A second operator of weights in integers, along the same channels, and as many of them behind it."""
    size, rank = wires.channels, wires.rank
    d.gain *= 100.0
    if wires.axis == rank - 1:
        x = d.add("MatMul", x, weight(d, [size, size])[0])
    elif rank > 2:
        x = d.add("Conv", x, weight(d, [size, size, *[1] * (rank - 2)])[0])
    return affines(d, x, rank, wires.axis, size, 0.8)


def _put(d: Drawer, op_type: str, inputs: list[str], **attributes: Any) -> list[str]:
    """The operator, and now and then a second one of the same constants."""
    names = [d.add(op_type, *inputs, **attributes)]
    if d.chance(0.2):
        again = [d.add("Identity", name) if d.chance(0.3) else name for name in inputs]
        names.append(d.add(op_type, *again, **attributes))
    return names


class _Convolution:
    """Conv or ConvTranspose."""

    axis = 1

    def __init__(self, d: Drawer, sizes: list[int]) -> None:
        batch, inputs, outputs, space = sizes
        self.group = int(d.pick(1, 1, 2, inputs))
        self.inputs, self.outputs = (
            size if size % self.group == 0 else max(1, size // self.group) * self.group for size in (inputs, outputs)
        )
        self.kernel = [int(d.pick(1, min(space, 2), space)) for _ in range(int(d.pick(1, 2)))]
        self.shape = [batch, self.inputs, *[space] * len(self.kernel)]
        self.transposed = d.chance(0.33)

    def put(self, d: Drawer, x: str, scale: float | None) -> Wires:
        shape = [self.outputs, self.inputs // self.group, *self.kernel]
        if self.transposed:
            shape = [self.inputs, self.outputs // self.group, *self.kernel]
        name, scales = weight(d, shape)
        groups = self.group if self.transposed else 1
        inputs = [x, name, *bias(d, [self.outputs], 0, scale, scales, int(self.transposed), groups)]
        pads = {"pads": [int(d.chance(0.5)) for _ in self.kernel * 2]} if d.chance(0.4) else {}
        names = _put(d, "ConvTranspose" if self.transposed else "Conv", inputs, group=self.group, **pads)
        return Wires(names, name, len(self.shape), len(self.shape), 1, self.outputs)


class _Gemm:
    """With the weight as B mostly, else as A."""

    def __init__(self, d: Drawer, sizes: list[int]) -> None:
        self.rows, self.inputs, self.outputs, _ = sizes
        self.left = d.chance(0.12)
        self.trans = {"transA": int(d.chance(0.3)), "transB": int(d.chance(0.5))}
        turned = self.trans["transB"] if self.left else self.trans["transA"]
        columns = self.rows if self.left else self.inputs
        rows = self.inputs if self.left else self.rows
        self.shape = [columns, rows] if turned else [rows, columns]
        self.axis = int(not self.left) ^ turned

    def put(self, d: Drawer, x: str, scale: float | None) -> Wires:
        turned = self.trans["transA"] if self.left else 1 - self.trans["transB"]
        name, scales = weight(d, [self.inputs, self.outputs] if turned else [self.outputs, self.inputs])
        rows, columns = (self.outputs, self.rows) if self.left else (self.rows, self.outputs)
        shape = d.pick([columns], [columns], [1, columns], [rows, columns], [rows, columns], [rows, 1])
        addend = bias(d, shape, len(shape) - 1, scale, scales, turned)
        if not addend and d.opset < 11:
            addend = [d.store(d.numbers(columns))]
        factors = {key: float(d.numbers()) for key in ("alpha", "beta") if d.chance(0.15)}
        d.gain = max(1.0, abs(factors.get("beta", 1.0)))
        inputs = [*([name, x] if self.left else [x, name]), *addend]
        return Wires(_put(d, "Gemm", inputs, **self.trans, **factors), name, 2, 2, int(not self.left), self.outputs)


class _MatMul:
    """With the weight on the right mostly, and of three axes now and then."""

    def __init__(self, d: Drawer, sizes: list[int]) -> None:
        self.batch, self.inputs, self.outputs, space = sizes
        self.left, self.rank = d.chance(0.2), int(d.pick(2, 3))
        self.shape = [*[self.batch] * (self.rank - 2), *([self.inputs, space] if self.left else [space, self.inputs])]
        self.axis = self.rank - 2 if self.left else self.rank - 1

    def put(self, d: Drawer, x: str, scale: float | None) -> Wires:
        many = [self.batch] if self.rank == 3 and d.chance(0.3) else []
        name, _ = weight(d, [*many, *([self.outputs, self.inputs] if self.left else [self.inputs, self.outputs])])
        names = _put(d, "MatMul", [name, x] if self.left else [x, name])
        return Wires(names, name, 2 + len(many), self.rank, self.axis, self.outputs)
