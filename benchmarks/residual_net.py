"""What the graphs of the residual benchmark are built of: numbers, an affine in each written form, a small builder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

Array: TypeAlias = npt.NDArray[Any]
Attribute: TypeAlias = int | float | str | list[int]
Written: TypeAlias = "Callable[[Net, str, Numbers, Laid], str]"
"""Writes an affine behind a wire in some form."""
Laid: TypeAlias = Callable[[Array], Array]
"""Gives a vector over the channels the shape that broadcasts along the channel axis."""

OPSET, IR_VERSION = 20, 10
EPSILON = 1e-5


class Net:
    """Builds one graph node by node; arrays among the inputs of a node become initializers, rounded once."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, op_type: str, *inputs: str | Array, **attributes: Attribute) -> str:
        """Append a node.

        Returns:
            The name of its output.
        """
        names = [entry if isinstance(entry, str) else self._constant(entry) for entry in inputs]
        output = f"{op_type.lower()}{len(self._nodes)}"
        node = helper.make_node(op_type, names, [output])
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self._nodes.append(node)
        return output

    def _constant(self, values: Array) -> str:
        name = f"k{len(self._constants)}"
        rounded = values.astype(np.float32) if values.dtype == np.float64 else values
        self._constants.append(numpy_helper.from_array(rounded, name))
        return name

    def model(self, shape: tuple[int, ...], output: str) -> ModelProto:
        """The graph from `x` of that shape to that wire."""
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self._nodes, "residual", inputs, outputs, self._constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        inferred = onnx.shape_inference.infer_shapes(made, data_prop=True)
        made.graph.output[0].CopyFrom(inferred.graph.output[0])
        return made


@dataclass(frozen=True)
class Numbers:
    """The affine of a scenario, in float64: positive scales, so that every form of it is exact.

    Attributes:
        gain: what BatchNormalization calls scale.
        beta: what it calls bias.
        mean: the mean.
        var: the variance.
    """

    gain: Array
    beta: Array
    mean: Array
    var: Array

    @property
    def scale(self) -> Array:
        """The affine's scale."""
        return np.asarray(self.gain / np.sqrt(self.var + np.float32(EPSILON)))

    @property
    def shift(self) -> Array:
        """The affine's shift."""
        return np.asarray(self.beta - self.mean * self.scale)

    def part(self, begin: int, end: int) -> Numbers:
        """The affine over some of the channels."""
        return Numbers(*(values[begin:end] for values in (self.gain, self.beta, self.mean, self.var)))


def numbers(channels: int, seed: int = 0) -> Numbers:
    """An affine that is nothing special."""
    rng = np.random.default_rng([seed, channels])
    gain, var = rng.uniform(0.5, 1.5, channels), rng.uniform(0.5, 1.5, channels)
    return Numbers(gain, rng.normal(size=channels), 0.5 * rng.normal(size=channels), var)


def weights(*shape: int, seed: int = 0) -> Array:
    """Normal numbers that keep the size of what they are applied to."""
    fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
    return np.asarray(np.random.default_rng([seed, *shape]).normal(size=shape) / np.sqrt(fan_in))


def channels_first(values: Array) -> Array:
    """[C] -> [C, 1, 1]."""
    return values.reshape(-1, 1, 1)


def channels_last(values: Array) -> Array:
    """[C] as it is."""
    return values


def normalization(net: Net, wire: str, affine: Numbers, laid: Laid) -> str:
    """One BatchNormalization; the channels have to be axis 1."""
    return net.add("BatchNormalization", wire, affine.gain, affine.beta, affine.mean, affine.var, epsilon=EPSILON)


def mul_add(net: Net, wire: str, affine: Numbers, laid: Laid) -> str:
    """Mul, Add."""
    return net.add("Add", net.add("Mul", wire, laid(affine.scale)), laid(affine.shift))


def sub_mul_add(net: Net, wire: str, affine: Numbers, laid: Laid) -> str:
    """Sub, Mul, Add, as Keras 3 exports a BatchNormalization."""
    centred = net.add("Sub", wire, laid(affine.mean))
    return net.add("Add", net.add("Mul", centred, laid(affine.scale)), laid(affine.beta))


def add_only(net: Net, wire: str, affine: Numbers, laid: Laid) -> str:
    """One Add: `a * x + b == a * (x + b / a)`, where what follows takes the scale."""
    return net.add("Add", wire, laid(affine.shift / affine.scale))


def add_shift(net: Net, wire: str, affine: Numbers, laid: Laid) -> str:
    """One Add, where what stands in front has taken the scale."""
    return net.add("Add", wire, laid(affine.shift))


def max_only(net: Net, wire: str, affine: Numbers, laid: Laid) -> str:
    """One Max in place of a Relu and the affine: `a * relu(z) + b == max(a * z + b, b)`."""
    return net.add("Max", wire, laid(affine.shift))


def nothing(net: Net, wire: str, affine: Numbers, laid: Laid) -> str:
    """The wire as it is."""
    return wire
