"""Models whose files leave their weights out, with weights: as they come, all weights of a shape are the same.

onnx ships networks of its test suite so, with a ConstantOfShape for each weight. onnxruntime runs Convs with equal
weights that read one value once, so that the time of such a file says little of the network's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

SEED = 0
SUFFIX = "_with_weights"


def filled(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Files of those among the models whose weights are left out, with weights; made in the folder once."""
    for path in paths:
        target = folder / f"{path.stem}{SUFFIX}.onnx"
        if not target.exists():
            model = onnx.load(path)
            if not leaves_weights_out(model):
                continue
            folder.mkdir(parents=True, exist_ok=True)
            onnx.save(with_weights(model), target)
        yield target


def leaves_weights_out(model: ModelProto) -> bool:
    """Whether the weights of a Conv are all the same number."""
    made = {name for node in model.graph.node if node.op_type == "ConstantOfShape" for name in node.output}
    return any(node.op_type == "Conv" and node.input[1] in made for node in model.graph.node)


def with_weights(model: ModelProto) -> ModelProto:
    """The model with a random tensor in place of every ConstantOfShape; the same each time."""
    rng = np.random.default_rng(SEED)
    filled = ModelProto()
    filled.CopyFrom(model)
    graph = filled.graph
    sizes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    parameters = {name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[1:]}
    left_out = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    for node in left_out:
        name, shape = node.output[0], tuple(int(size) for size in sizes[node.input[0]])
        values = _random(shape, rng, is_parameter=name in parameters)
        graph.initializer.append(numpy_helper.from_array(values, name))
        if filled.ir_version < 4:  # there every initializer is an input as well
            graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    del graph.node[:]
    graph.node.extend(kept)
    return filled


def _random(shape: tuple[int, ...], rng: np.random.Generator, *, is_parameter: bool) -> npt.NDArray[np.float32]:
    """Numbers that keep activations near one: variances and scales near one, weights by fan-in (arXiv:1502.01852)."""
    if is_parameter or len(shape) < 2:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    fan_in = max(1, int(np.prod(shape[1:])))
    return np.asarray(rng.standard_normal(shape) * np.sqrt(2 / fan_in), np.float32)
