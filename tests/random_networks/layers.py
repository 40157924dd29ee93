"""The layers of networks: linear operators, normalizations, activations and pools, in the style of one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto
from random_graphs.builder import Builder, Wire
from random_graphs.numbers import constant, laid, positive, product, vector, weight

from random_networks.style import TRAINING_SINCE, Style

HARD_SWISH_SINCE = 14
ALIKE = 0.8
"""How many activations of a network are the one that it mostly has."""


@dataclass(frozen=True)
class Net:
    """A scope under construction, and the style of the network.

    Attributes:
        b: the scope.
        style: the network's.
    """

    b: Builder
    style: Style

    def inside(self, *, in_function: bool = False) -> Net:
        """A scope inside this one."""
        return Net(self.b.body(in_function=in_function), self.style)

    def unit(
        self, wire: Wire, channels: int, kernel: int = 3, *, stride: int = 1, group: int = 1, acts: bool = True
    ) -> Wire:
        """A convolution with its normalization and its activation, in the order of the network."""
        order = self.style.order
        if order == "mixed":
            order = str(self.b.pick("conv-norm-act", "conv-act-norm", "norm-act-conv", "norm-conv-act"))
        for part in order.split("-"):
            if part == "conv":
                wire = self.conv(wire, channels, kernel, stride=stride, group=group)
            elif part == "norm":
                wire = self.norm(wire)
            elif acts:
                wire = self.act(wire)
        return wire

    def conv(self, wire: Wire, channels: int, kernel: int = 3, *, stride: int = 1, group: int = 1) -> Wire:
        """Same size, or that divided by the stride, rounded up."""
        b, space = self.b, wire.shape[2:]
        b.require(3 <= wire.rank <= 5 and wire.shape[1] % group == 0 and channels % group == 0)
        dilation = 2 if kernel == 3 and stride == 1 and b.chance(0.08) else 1
        pad = dilation * (kernel - 1) // 2
        attributes: dict[str, Any] = {"kernel_shape": [kernel] * len(space)}
        if dilation == 1 and b.chance(0.12):
            attributes["auto_pad"] = str(b.pick("SAME_UPPER", "SAME_LOWER"))
            sizes = [-(-size // stride) for size in space]
        else:
            attributes["pads"] = [pad] * (2 * len(space))
            sizes = [(size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for size in space]
        attributes |= {"dilations": [dilation] * len(space)} if dilation > 1 else {}
        attributes |= {"strides": [stride] * len(space)} if stride > 1 or b.chance(0.5) else {}
        attributes |= {"group": group} if group > 1 else {}
        shape = (channels, wire.shape[1] // group, *[kernel] * len(space))
        inputs = [wire.name, weight(b, *shape, terms=product(shape[1:]), kind=wire.kind)]
        inputs += [self.bias(channels, wire.kind)] if b.chance(self.style.biased) else []
        return b.add("Conv", inputs, (wire.shape[0], channels, *sizes), wire.kind, **attributes)

    def conv_transpose(self, wire: Wire, channels: int) -> Wire:
        """Twice the size."""
        b, space = self.b, wire.shape[2:]
        group = 2 if channels % 2 == 0 and wire.shape[1] % 2 == 0 and b.chance(0.3) else 1
        kernel = int(b.pick(2, 4))
        shape = (wire.shape[1], channels // group, *[kernel] * len(space))
        terms = wire.shape[1] // group * (kernel // 2) ** len(space)
        inputs = [wire.name, weight(b, *shape, terms=terms, kind=wire.kind)]
        inputs += [self.bias(channels, wire.kind)] if b.chance(self.style.biased) else []
        pads = [kernel // 2 - 1] * (2 * len(space))
        attributes: dict[str, Any] = {"group": group} if group > 1 else {}
        sizes = [2 * size for size in space]
        attributes |= {"kernel_shape": [kernel] * len(space), "strides": [2] * len(space), "pads": pads}
        return b.add("ConvTranspose", inputs, (wire.shape[0], channels, *sizes), wire.kind, **attributes)

    def dense(self, wire: Wire, width: int) -> Wire:
        """A Gemm where the rank is 2, mostly; else a MatMul and an Add."""
        b, inner = self.b, wire.shape[-1]
        bias = self.bias(width, wire.kind)
        if wire.rank == 2 and b.chance(0.65):
            transposed = b.chance(0.6)
            shape = (width, inner) if transposed else (inner, width)
            inputs = [wire.name, weight(b, *shape, terms=inner, kind=wire.kind), bias]
            attributes = {"transB": 1} if transposed else {}
            return b.add("Gemm", inputs, (wire.shape[0], width), wire.kind, **attributes)
        matrix = weight(b, inner, width, terms=inner, kind=wire.kind)
        made = b.add("MatMul", [wire.name, matrix], (*wire.shape[:-1], width), wire.kind)
        if not b.chance(max(self.style.biased, 0.5)):
            return made
        inputs = [made.name, bias] if b.chance(0.7) else [bias, made.name]
        return b.add("Add", inputs, made.shape, wire.kind)

    def integers(self, values: Sequence[int]) -> str:
        """A constant of int64; a Constant node has none before opset 9."""
        return self.b.integers(values) if self.b.opset >= 9 else self.b.stored(np.asarray(values, np.int64))

    def bias(self, channels: int, kind: int) -> str:
        return constant(self.b, self.b.rng.normal(0, 0.3, channels), kind)

    def norm(self, wire: Wire) -> Wire:
        """A BatchNormalization; now and then the map that it is, as Mul and Add."""
        b = self.b
        b.require(wire.rank >= 2)
        if b.chance(0.08):
            return self._written_out(wire)
        mixed = b.opset >= 15 and wire.kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16) and b.chance(0.3)
        parameters = self._parameters(wire.shape[1], wire.kind, TensorProto.FLOAT if mixed else wire.kind)
        epsilon = float(b.pick(1e-5, 1e-3)) if b.chance(0.6) else None
        momentum = 0.9 if b.chance(0.3) else None
        inputs = [wire.name, *parameters]
        if self._trains():
            return self._in_training(inputs, wire, epsilon)
        return b.add("BatchNormalization", inputs, wire.shape, wire.kind, epsilon=epsilon, momentum=momentum)

    def _parameters(self, channels: int, kind: int, statistics: int) -> list[str]:
        """(scale, bias, mean, var), which fit values near one."""
        b = self.b
        scale = positive(b, channels, kind=kind) if b.chance(0.7) else vector(b, channels, kind=kind)
        mean = constant(b, b.rng.normal(0, 0.3, channels), statistics)
        return [scale, self.bias(channels, kind), mean, positive(b, channels, kind=statistics)]

    def _trains(self) -> bool:
        """In a body or a function the running statistics would be nobody's."""
        in_main = self.b.outer is None and not self.b.in_function
        return self.style.training and in_main and self.b.opset >= TRAINING_SINCE and self.b.chance(0.9)

    def _in_training(self, inputs: list[str], wire: Wire, epsilon: float | None) -> Wire:
        b = self.b
        made = b.add("BatchNormalization", inputs, wire.shape, wire.kind, epsilon=epsilon, training_mode=1)
        b.nodes[-1].output.extend(b.whole.name("running") for _ in range(2))
        return made

    def _written_out(self, wire: Wire) -> Wire:
        b = self.b
        shape = laid(wire.shape[1], 1, wire.rank)[int(b.pick(0, 1)) :]
        factor, shift = positive(b, *shape, kind=wire.kind), vector(b, *shape, kind=wire.kind)
        scaled = b.add("Mul", [wire.name, factor], wire.shape, wire.kind)
        return b.add("Add", [scaled.name, shift], wire.shape, wire.kind)

    def norm_last(self, wire: Wire) -> Wire:
        """Over the last axis of `[N, T, C]`: between two Transposes."""
        swapped = self.transposed(wire, (0, 2, 1))
        return self.transposed(self.norm(swapped), (0, 2, 1))

    def act(self, wire: Wire) -> Wire:
        b = self.b
        name = self.style.activation if b.chance(ALIKE) else str(b.pick("Relu", "LeakyRelu", "Sigmoid", "Clip"))
        if name == "LeakyRelu":
            return b.unary(name, wire, alpha=0.1)
        if name == "PRelu":
            slope = positive(b, *laid(wire.shape[1], 1, wire.rank)[1:], kind=wire.kind)
            return b.add(name, [wire.name, slope], wire.shape, wire.kind)
        if name == "Clip":
            return self._relu6(wire)
        if name == "HardSwish":
            return self._hard_swish(wire)
        if name == "SiLU":
            return b.add("Mul", [wire.name, b.unary("Sigmoid", wire).name], wire.shape, wire.kind)
        return self._gelu(wire) if name == "GELU" else b.unary(name, wire)

    def _relu6(self, wire: Wire) -> Wire:
        b = self.b
        if b.opset < 11:
            return b.unary("Clip", wire, min=0.0, max=6.0)
        bounds = [constant(b, np.asarray(bound), wire.kind) for bound in (0.0, 6.0)]
        return b.add("Clip", [wire.name, *bounds], wire.shape, wire.kind)

    def _hard_swish(self, wire: Wire) -> Wire:
        b = self.b
        if b.opset >= HARD_SWISH_SINCE:
            return b.unary("HardSwish", wire)
        gate = b.unary("HardSigmoid", wire, alpha=1 / 6, beta=0.5)
        return b.add("Mul", [wire.name, gate.name], wire.shape, wire.kind)

    def _gelu(self, wire: Wire) -> Wire:
        """With Erf where there is one, else by tanh."""
        b = self.b
        half, one = (constant(b, np.asarray(value), wire.kind) for value in (0.5, 1.0))
        root = constant(b, np.asarray(2.0**-0.5), wire.kind)
        inner = b.add("Mul", [wire.name, root], wire.shape, wire.kind)
        curve = b.unary("Erf" if b.opset >= 9 else "Tanh", inner)
        raised = b.add("Add", [curve.name, one], wire.shape, wire.kind)
        gated = b.add("Mul", [wire.name, raised.name], wire.shape, wire.kind)
        return b.add("Mul", [gated.name, half], wire.shape, wire.kind)

    def pool(self, wire: Wire, kernel: int = 2, stride: int = 2) -> Wire:
        """Of two elements side by side, or of three around each place."""
        b, dims = self.b, wire.rank - 2
        b.require(3 <= wire.rank <= 5 and min(wire.shape[2:]) >= kernel)
        pad = kernel // 2 if kernel % 2 else 0
        sizes = [(size + 2 * pad - kernel) // stride + 1 for size in wire.shape[2:]]
        attributes = {"kernel_shape": [kernel] * dims, "strides": [stride] * dims, "pads": [pad] * (2 * dims)}
        op_type = str(b.pick("MaxPool", "AveragePool"))
        return b.add(op_type, [wire.name], (*wire.shape[:2], *sizes), wire.kind, **attributes)

    def mean_of_space(self, wire: Wire) -> Wire:
        """`[N, C, 1, ...]`."""
        b = self.b
        shape = (*wire.shape[:2], *[1] * (wire.rank - 2))
        axes = list(range(2, wire.rank))
        if b.chance(0.75):
            return b.add("GlobalAveragePool", [wire.name], shape, wire.kind)
        if b.opset >= 18:
            return b.add("ReduceMean", [wire.name, self.integers(axes)], shape, wire.kind, keepdims=1)
        return b.add("ReduceMean", [wire.name], shape, wire.kind, axes=axes, keepdims=1)

    def flat(self, wire: Wire) -> Wire:
        """`[N, C]` for what has no space, `[N, C * ...]` for what has one."""
        shape = (wire.shape[0], product(wire.shape[1:]))
        if self.b.chance(0.6):
            return self.b.add("Flatten", [wire.name], shape, wire.kind)
        return self.b.add("Reshape", [wire.name, self.integers([0, -1])], shape, wire.kind)

    def reshaped(self, wire: Wire, stated: Sequence[int], shape: Sequence[int]) -> Wire:
        return self.b.add("Reshape", [wire.name, self.integers(stated)], shape, wire.kind)

    def transposed(self, wire: Wire, perm: Sequence[int]) -> Wire:
        shape = [wire.shape[k] for k in perm]
        return self.b.add("Transpose", [wire.name], shape, wire.kind, perm=list(perm))

    def joined(self, wires: Sequence[Wire], axis: int = 1) -> Wire:
        """Side by side along an axis."""
        size = sum(wire.shape[axis] for wire in wires)
        shape = [size if k == axis else n for k, n in enumerate(wires[0].shape)]
        return self.b.add("Concat", [wire.name for wire in wires], shape, wires[0].kind, axis=axis)

    def both(self, op_type: str, one: Wire, other: Wire) -> Wire:
        """Of two wires, the first of which has the shape of the result."""
        return self.b.add(op_type, [one.name, other.name], one.shape, one.kind)

    def upsampled(self, wire: Wire) -> Wire:
        """Twice the size, by Resize, or by Upsample before there was one."""
        b, dims = self.b, wire.rank - 2
        factors = [1.0, 1.0, *[2.0] * dims]
        shape = (*wire.shape[:2], *(2 * size for size in wire.shape[2:]))
        if b.opset < 9:
            return b.add("Upsample", [wire.name], shape, wire.kind, scales=factors, mode="nearest")
        scales = b.stored(np.asarray(factors, np.float32))
        if b.opset < 11:
            op_type = "Upsample" if b.opset < 10 else "Resize"
            return b.add(op_type, [wire.name, scales], shape, wire.kind, mode="nearest")
        roi = "" if b.opset >= 13 else b.stored(np.zeros(0, np.float32))
        mode = str(b.pick("nearest", "linear"))
        ways = {"coordinate_transformation_mode": str(b.pick("half_pixel", "asymmetric"))}
        return b.add("Resize", [wire.name, roi, scales], shape, wire.kind, mode=mode, **ways)

    def renamed(self, first: int, before: Wire, other: Wire, result: Wire) -> Wire:
        """The nodes from the `first` on once more, with the same constants, on another wire."""
        names = {before.name: other.name}
        for node in list(self.b.nodes[first:]):
            self.b.require(not any(attribute.HasField("g") for attribute in node.attribute))  # bodies capture names
            if node.op_type == "Constant":
                continue
            copy = type(node)()
            copy.CopyFrom(node)
            for index, name in enumerate(node.input):
                copy.input[index] = names.get(name, name)
            for index, name in enumerate(node.output):
                names[name] = copy.output[index] = self.b.whole.name("w") if name else ""
            copy.name = self.b.whole.name(copy.op_type) if copy.name else ""
            self.b.nodes.append(copy)
        return Wire(names[result.name], result.shape, result.kind)
