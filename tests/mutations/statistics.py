"""A normalization that is folded rightly, but from wrong numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

import bnfold
from mutations.fault import Pair, Plant, chosen, copied, fault
from mutations.graphs import Array, attribute, constants, copy_of, insert_behind, opset, set_attribute, store

Edit: TypeAlias = Callable[[Sequence[Array]], Sequence[Array]]
"""From scale, bias, mean and variance to wrong ones."""


def normalizations(model: ModelProto) -> list[tuple[NodeProto, list[TensorProto]]]:
    """The BatchNormalizations with constant scale, bias, mean and variance."""
    held = constants(model.graph)
    nodes = [node for node in model.graph.node if node.op_type == "BatchNormalization" and len(node.output) == 1]
    return [(node, [held[name] for name in node.input[1:]]) for node in nodes if {*node.input[1:]} <= held.keys()]


def _folded(pair: Pair, wrong: ModelProto) -> Pair:
    return Pair(pair.before, bnfold.fold(wrong).model)


def _statistics(name: str) -> Callable[[Edit], Plant]:
    """Enter an edit of the numbers of one normalization."""

    def entered(edit: Edit) -> Plant:
        @fault(name)
        def plant(pair: Pair, place: float) -> Pair | None:
            wrong = copied(pair.before)
            site = chosen(normalizations(wrong), place)
            if site is None:
                return None
            right = [numpy_helper.to_array(tensor) for tensor in site[1]]
            for tensor, values in zip(site[1], edit([np.array(v, np.float64) for v in right]), strict=True):
                store(tensor, values)
            same = all(np.array_equal(numpy_helper.to_array(t), v) for t, v in zip(site[1], right, strict=True))
            return None if same else _folded(pair, wrong)

        return plant

    return entered


@_statistics("the mean is forgotten")
def no_mean(numbers: Sequence[Array]) -> Sequence[Array]:
    scale, bias, mean, variance = numbers
    return scale, bias, 0 * mean, variance


@_statistics("the mean is added")
def added_mean(numbers: Sequence[Array]) -> Sequence[Array]:
    scale, bias, mean, variance = numbers
    return scale, bias, -mean, variance


@_statistics("the square root of the variance is forgotten")
def no_root(numbers: Sequence[Array]) -> Sequence[Array]:
    scale, bias, mean, variance = numbers
    return scale, bias, mean, variance**2


@_statistics("the shift is forgotten")
def no_shift(numbers: Sequence[Array]) -> Sequence[Array]:
    scale, bias, mean, variance = numbers
    return scale, 0 * bias, mean, variance


@_statistics("the scale is forgotten")
def no_scale(numbers: Sequence[Array]) -> Sequence[Array]:
    scale, bias, mean, variance = numbers
    return np.ones_like(scale), bias, mean, variance


@_statistics("one scale has lost its sign")
def scale_sign(numbers: Sequence[Array]) -> Sequence[Array]:
    scale, bias, mean, variance = numbers
    scale[np.abs(scale).argmax()] *= -1
    return scale, bias, mean, variance


@_statistics("the numbers are those of the next channel")
def next_channel(numbers: Sequence[Array]) -> Sequence[Array]:
    return [np.roll(values, 1) for values in numbers]


@_statistics("the variance is that of a sample: off by n / (n - 1) for n of 1000")
def sample_variance(numbers: Sequence[Array]) -> Sequence[Array]:
    scale, bias, mean, variance = numbers
    return scale, bias, mean, variance * 1000 / 999


@fault("the epsilon is that of Keras: 1e-3")
def epsilon(pair: Pair, place: float) -> Pair | None:
    wrong = copied(pair.before)
    site = chosen(normalizations(wrong), place)
    if site is None:
        return None
    other = 1e-5 if attribute(site[0], "epsilon", 1e-5) > 5e-4 else 1e-3
    set_attribute(site[0], "epsilon", other)
    return _folded(pair, wrong)


@fault("a normalization is left out")
def left_out(pair: Pair, place: float) -> Pair | None:
    wrong = copied(pair.before)
    site = chosen(normalizations(wrong), place)
    if site is None:
        return None
    site[0].op_type = "Identity"
    del site[0].input[1:], site[0].attribute[:]
    return _folded(pair, wrong)


@fault("a normalization is folded twice")
def twice(pair: Pair, place: float) -> Pair | None:
    wrong = copied(pair.before)
    site = chosen(normalizations(wrong), place)
    if site is None:
        return None
    again = copy_of(site[0])
    again.input[0], again.output[0], again.name = "in", "out", f"{again.name}/again"
    insert_behind(wrong.graph, site[0].output[0], again)
    return _folded(pair, wrong)


@fault("training mode")
def training_mode(pair: Pair, place: float) -> Pair | None:
    wrong = copied(pair.before)
    site = chosen(normalizations(wrong), place)
    if site is None or opset(wrong) < 14:
        return None
    node = site[0]
    set_attribute(node, "training_mode", 1)
    node.output.extend([f"{node.output[0]}/mean", f"{node.output[0]}/variance"])
    return _folded(pair, wrong)
