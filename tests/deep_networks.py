"""Deep random networks with normalizations, a small function per kind, whose right fold has to pass for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

WIDTH, IMAGE = 8, 10


class _Network:
    """A graph that grows node by node; activations keep a size near one, whatever the depth."""

    def __init__(self, seed: int, dtype: npt.DTypeLike, scale: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        self.scale = scale
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []

    def constant(self, values: npt.ArrayLike) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(values).astype(self.dtype), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def conv(self, x: str, channels: int, *, kernel: int = 3, group: int = 1) -> str:
        """A Conv, scaled by fan-in (He) times `scale`, which the normalization behind it takes out again."""
        fan_in = channels // group * kernel**2
        weights = self.rng.standard_normal((WIDTH, channels // group, kernel, kernel)) * np.sqrt(2 / fan_in)
        bias = self.rng.standard_normal(WIDTH) * self.scale / 4
        pads = [kernel // 2] * 4
        return self.add("Conv", x, self.constant(weights * self.scale), self.constant(bias), pads=pads, group=group)

    def norm(self, x: str, channels: int = WIDTH, by: float | None = None) -> str:
        """A BatchNormalization whose statistics fit what is in front of it, within a factor of two."""
        scale = self.rng.uniform(0.7, 1.4, channels) * self.rng.choice([1, 1, 1, -1], channels)
        spread = (self.scale if by is None else by) ** 2
        numbers = (
            scale,
            self.rng.standard_normal(channels) / 4,
            self.rng.standard_normal(channels) * np.sqrt(spread) / 4,
            self.rng.uniform(0.5, 2, channels) * spread,
        )
        return self.add("BatchNormalization", x, *(self.constant(values) for values in numbers))


def _chain(net: _Network, depth: int) -> str:
    x = net.add("Relu", net.norm(net.conv("x", 3)))
    for _ in range(depth - 1):
        x = net.add("Relu", net.norm(net.conv(x, WIDTH)))
    return x


def _residual(net: _Network, depth: int) -> str:
    x = net.add("Relu", net.norm(net.conv("x", 3)))
    for _ in range(depth // 2):
        inner = net.add("Relu", net.norm(net.conv(x, WIDTH)))
        half = net.norm(net.conv(inner, WIDTH))
        x = net.add("Relu", net.norm(net.add("Add", x, half), by=1.4))
    return x


def _depthwise(net: _Network, depth: int) -> str:
    x = net.norm(net.conv("x", 3))
    for _ in range(depth // 2):
        x = net.add("Relu", net.norm(net.conv(x, WIDTH, group=WIDTH)))
        x = net.norm(net.conv(x, WIDTH, kernel=1))
    return x


def _joined(net: _Network, depth: int) -> str:
    x = net.norm(net.conv("x", 3))
    for _ in range(depth):
        both = net.add("Concat", x, net.add("Relu", net.norm(net.conv(x, WIDTH))), axis=1)
        x = net.norm(net.conv(net.add("Relu", both), 2 * WIDTH, kernel=1))
    return x


def _dense(net: _Network, depth: int) -> str:
    x, width = "x", 3
    for layer in range(depth):
        weights = net.constant(net.rng.standard_normal((width, 32)) * np.sqrt(2 / width) * net.scale)
        bias = net.constant(net.rng.standard_normal(32) * net.scale / 4)
        made = net.add("Gemm", x, weights, bias) if layer % 2 else net.add("Add", net.add("MatMul", x, weights), bias)
        x, width = net.add("Relu", net.norm(made, 32)), 32
    return x


Body: TypeAlias = Callable[[_Network, int], str]

KINDS: dict[str, Body] = {
    "chain": _chain,
    "dense": _dense,
    "depthwise": _depthwise,
    "joined": _joined,
    "residual": _residual,
}


def random_network(kind: str, *, depth: int, scale: float, seed: int, dtype: npt.DTypeLike = np.float32) -> ModelProto:
    """A network.

    Args:
        kind: One of `KINDS`.
        depth: How many layers, about.
        scale: How strong the weights are; the normalizations expect that.
        seed: Of all numbers.
        dtype: float32 or float16.
    """
    net = _Network(seed, dtype, scale)
    last = KINDS[kind](net, depth)
    net.nodes.append(helper.make_node("Identity", [last], ["y"]))
    element = helper.np_dtype_to_tensor_dtype(net.dtype)
    shape: list[int | str] = ["N", 3] if kind == "dense" else ["N", 3, IMAGE, IMAGE]
    graph = helper.make_graph(
        net.nodes,
        kind,
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", element, None)],
        net.tensors,
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
