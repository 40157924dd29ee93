"""Wrong weights and biases of a linear operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import ml_dtypes
import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from mutations.fault import Pair, Plant, chosen, copied, fault
from mutations.graphs import FLOATS, Array, attribute, constants, store

Edit: TypeAlias = Callable[[Array], Array | None]
"""From the right values to the wrong ones; `None` where they would stay the same."""

_OUTPUTS: dict[str, Callable[[NodeProto], int]] = {
    "Conv": lambda node: 0,
    "ConvTranspose": lambda node: 1,
    "Gemm": lambda node: 0 if attribute(node, "transB", 0) else 1,
    "MatMul": lambda node: -1,
}
"""Where the channels of the result are in the weights."""


def weight_sites(graph: GraphProto) -> list[tuple[NodeProto, TensorProto]]:
    """The linear operators with constant weights of two or more dimensions."""
    held = constants(graph)
    found = [(node, held.get(node.input[1])) for node in graph.node if node.op_type in _OUTPUTS]
    return [(n, t) for n, t in found if t is not None and len(t.dims) >= 2 and t.data_type in FLOATS]


def bias_sites(graph: GraphProto) -> list[tuple[NodeProto, TensorProto]]:
    """The linear operators with a constant bias, in them or in an Add behind them."""
    held = constants(graph)
    linear = {node.output[0] for node in graph.node if node.op_type in _OUTPUTS}
    inside = [(n, held.get(n.input[2])) for n in graph.node if n.op_type in _OUTPUTS and len(n.input) > 2]
    behind = [(n, held.get(name)) for n in graph.node if n.op_type == "Add" and linear & {*n.input} for name in n.input]
    return [(n, t) for n, t in inside + behind if t is not None and t.data_type in FLOATS]


def _weights(name: str, *, only: Callable[[NodeProto], bool] = lambda node: True) -> Callable[[Edit], Plant]:
    """Enter an edit of weights, the channels of the result first: ``[outputs, ...]``."""

    def entered(edit: Edit) -> Plant:
        @fault(name)
        def plant(pair: Pair, place: float) -> Pair | None:
            after = copied(pair.after)
            site = chosen([found for found in weight_sites(after.graph) if only(found[0])], place)
            if site is None:
                return None
            node, tensor = site
            axis = _OUTPUTS[node.op_type](node)
            return _edited(pair, after, tensor, lambda values: _put_back(edit, values, axis))

        return plant

    return entered


def _put_back(edit: Edit, values: Array, axis: int) -> Array | None:
    wrong = edit(np.moveaxis(values, axis, 0))
    return None if wrong is None else np.moveaxis(wrong, 0, axis)


def _biases(name: str) -> Callable[[Edit], Plant]:
    """Enter an edit of a bias, as a vector."""

    def entered(edit: Edit) -> Plant:
        @fault(name)
        def plant(pair: Pair, place: float) -> Pair | None:
            after = copied(pair.after)
            site = chosen(bias_sites(after.graph), place)
            return site and _edited(pair, after, site[1], lambda values: edit(values.reshape(-1)))

        return plant

    return entered


def _edited(pair: Pair, after: ModelProto, tensor: TensorProto, edit: Edit) -> Pair | None:
    right = numpy_helper.to_array(tensor)
    wrong = edit(right.astype(np.float64))
    if wrong is None:
        return None
    store(tensor, wrong)
    return None if np.array_equal(numpy_helper.to_array(tensor), right) else Pair(pair.before, after)


def _largest(values: Array) -> tuple[int, ...]:
    """The index of the largest magnitude."""
    return tuple(int(index) for index in np.unravel_index(np.abs(values).argmax(), values.shape))


@_weights("one weight off by 1e-3 of the largest of its tensor")
def one_weight(values: Array) -> Array:
    """The largest itself, which is the one that is off by 1e-3 of itself too."""
    values[_largest(values)] *= 1 + 1e-3
    return values


@_weights("one weight of median size off by 1e-3 of the largest")
def a_middling_weight(values: Array) -> Array:
    order = np.abs(values).reshape(-1).argsort()
    values.reshape(-1)[order[len(order) // 2]] += 1e-3 * np.abs(values).max()
    return values


@_weights("one weight is zero")
def no_weight(values: Array) -> Array:
    values[_largest(values)] = 0
    return values


@_weights("the sign of one weight")
def weight_sign(values: Array) -> Array:
    values[_largest(values)] *= -1
    return values


@_weights("two output channels swapped")
def swapped_outputs(values: Array) -> Array | None:
    if len(values) < 2:
        return None
    values[[0, -1]] = values[[-1, 0]]
    return values


@_weights("two input channels swapped")
def swapped_inputs(values: Array) -> Array | None:
    if values.shape[1] < 2:
        return None
    values[:, [0, -1]] = values[:, [-1, 0]]
    return values


@_weights("every output channel takes the weights of the next")
def rolled(values: Array) -> Array | None:
    return np.roll(values, 1, axis=0) if len(values) > 1 else None


@_weights("one output channel scaled by 1.001")
def scaled_channel(values: Array) -> Array:
    values[len(values) // 2] *= 1.001
    return values


@_weights("the kernel is flipped", only=lambda node: node.op_type in ("Conv", "ConvTranspose"))
def flipped(values: Array) -> Array | None:
    return values[..., ::-1] if values.shape[-1] > 1 else None


@_weights("one channel of a depthwise Conv scaled by 1.01", only=lambda node: attribute(node, "group", 1) > 1)
def depthwise(values: Array) -> Array:
    values[len(values) // 3] *= 1.01
    return values


@_weights("square weights transposed", only=lambda node: node.op_type in ("Gemm", "MatMul"))
def transposed(values: Array) -> Array | None:
    return values.T if values.ndim == 2 and values.shape[0] == values.shape[1] else None


@_weights("the weights rounded to bfloat16")
def rounded(values: Array) -> Array:
    return values.astype(ml_dtypes.bfloat16).astype(np.float64)


@_biases("the sign of one bias")
def bias_sign(values: Array) -> Array:
    values[_largest(values)] *= -1
    return values


@_biases("one bias is forgotten")
def no_bias(values: Array) -> Array:
    values[_largest(values)] = 0
    return values


@_biases("one bias off by 1e-3 of the largest")
def bias_off(values: Array) -> Array:
    values[len(values) // 2] += 1e-3 * np.abs(values).max()
    return values


@_biases("every bias goes to the next channel")
def rolled_bias(values: Array) -> Array:
    return np.roll(values, 1)
