"""Writes the graphs on which folding is measured: Conv, BatchNormalization and whatever stands between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

SEED, OPSET, IR_VERSION = 0, 17, 8
IMAGE = 8
"""Height and width of the input."""
STATISTICS = ("scale", "bias", "mean", "var")


class Graph:
    """Nodes and their weights, float32, in the order in which they are added.

    Args:
        channels: of every Conv, in and out.
        data: where the weights of Convs go, as they come; by default they stay in the model.
    """

    def __init__(self, channels: int, data: Path | None = None) -> None:
        self._channels, self._data = channels, data
        self._rng = np.random.default_rng(SEED)
        self._nodes: list[NodeProto] = []
        self._tensors: list[TensorProto] = []
        if data is not None:
            data.write_bytes(b"")

    def pair(self, x: str) -> str:
        """Conv, BatchNormalization and Relu."""
        return self.node("Relu", self.normal(self.conv(x, pads=[1] * 4)))

    def conv(self, x: str, pads: list[int]) -> str:
        """3x3, without a bias."""
        shape = (self._channels, self._channels, 3, 3)
        values = self._rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / (9 * self._channels)))
        name = f"weight{len(self._nodes)}"
        self._tensors.append(numpy_helper.from_array(values, name) if self._data is None else self._put(values, name))
        return self.node("Conv", x, name, kernel_shape=[3, 3], pads=pads)

    def weight(self, *shape: int) -> str:
        """Numbers for a node's input, He by fan-in."""
        name = f"weight{len(self._nodes)}"
        values = self._rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        self._tensors.append(numpy_helper.from_array(values, name))
        return name

    def split(self, x: str, number: int) -> list[str]:
        """So many pieces of the channels, all as long."""
        name = f"split{len(self._nodes)}"
        pieces = [f"{name}_{k}" for k in range(number)]
        sizes = numpy_helper.from_array(np.full(number, self._channels), f"{name}_sizes")
        self._tensors.append(sizes)
        self._nodes.append(helper.make_node("Split", [x, sizes.name], pieces, name, axis=1))
        return pieces

    @property
    def last(self) -> str:
        """The output of the node that was added last."""
        return self._nodes[-1].output[0]

    def normal(self, x: str) -> str:
        """A BatchNormalization."""
        names = [f"{name}{len(self._nodes)}" for name in STATISTICS]
        self._tensors += map(numpy_helper.from_array, self._statistics(), names)
        return self.node("BatchNormalization", x, *names)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 (as onnx has it)
        """Any operator with one output, whose name is given back."""
        name = f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def save(self, path: Path, channels: int | None = None, image: int = IMAGE) -> None:
        """Write it; the last node's output is the graph's, of that many channels, height and width."""
        x = _value("x", self._channels, IMAGE)
        y = _value(self.last, channels or self._channels, image)
        graph = helper.make_graph(self._nodes, path.stem, [x], [y], self._tensors)
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
        path.write_bytes(model.SerializeToString())

    def _statistics(self) -> Iterator[np.ndarray]:
        """Scale, bias, mean and variance, each ``[channels]``, by which the activations stay as large as they are."""
        for draw in (self._rng.uniform(0.5, 1.5, self._channels), *self._rng.normal(0, 0.25, (2, self._channels))):
            yield draw.astype(np.float32)
        yield self._rng.uniform(0.5, 1.5, self._channels).astype(np.float32)

    def _put(self, values: np.ndarray, name: str) -> TensorProto:
        assert self._data is not None
        tensor = TensorProto(name=name, dims=values.shape, data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        with self._data.open("ab") as stream:
            entries = {"location": self._data.name, "offset": stream.tell(), "length": values.nbytes}
            stream.write(values.tobytes())
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor


def _value(name: str, channels: int, image: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, image, image])
