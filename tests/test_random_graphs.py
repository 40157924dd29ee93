"""Random graphs of the operators that have rules: folded equals original, whatever the graph.

Each graph is a chain of random operators behind a convolution, with branches that join again, shared weights, second
readers and normalizations put in at random. What was ever found wrong is pinned below the property, by its symptom.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from support import Array, check_fold, op_types, run_reference, widened

import bnfold

CHANNELS = 4


@dataclass
class Builder:
    """A graph under construction; every wire is ``[2, C, H, W]``."""

    rng: np.random.Generator
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"x": (2, 3, 8, 8)})

    def constant(self, *shape: int, low: float = -1.5, high: float = 1.5) -> str:
        name = f"k{len(self.tensors)}"
        values = np.asarray(self.rng.uniform(low, high, shape), np.float32)
        self.tensors[name] = np.where(np.abs(values) < 0.25, np.float32(0.5), values)
        return name

    def add(self, op_type: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> str:
        name = f"w{len(self.shapes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        self.shapes[name] = shape
        return name


Step: TypeAlias = Callable[[Builder, str], str]


def conv(b: Builder, wire: str, weight: str | None = None) -> str:
    n, c, h, w = b.shapes[wire]
    inputs = [wire, weight or b.constant(CHANNELS, c, 3, 3)]
    if b.rng.random() < 0.5:
        inputs.append(b.constant(CHANNELS))
    return b.add("Conv", inputs, (n, CHANNELS, h, w), pads=[1, 1, 1, 1])


def depthwise(b: Builder, wire: str) -> str:
    n, c, h, w = b.shapes[wire]
    return b.add("Conv", [wire, b.constant(c, 1, 3, 3)], (n, c, h, w), pads=[1, 1, 1, 1], group=c)


def normalization(b: Builder, wire: str, *, positive: bool = False) -> str:
    c = b.shapes[wire][1]
    scale = b.constant(c, low=0.5) if positive else b.constant(c)
    parameters = [scale, b.constant(c), b.constant(c), b.constant(c, low=0.5)]
    return b.add("BatchNormalization", [wire, *parameters], b.shapes[wire])


def scale_only(b: Builder, wire: str) -> str:
    return b.add("Mul", [wire, b.constant(b.shapes[wire][1], 1, 1, low=0.5)], b.shapes[wire])


def shift_only(b: Builder, wire: str) -> str:
    return b.add("Sub", [b.constant(1, b.shapes[wire][1], 1, 1), wire], b.shapes[wire])


def unary(op_type: str, **attributes: Any) -> Step:
    return lambda b, wire: b.add(op_type, [wire], b.shapes[wire], **attributes)


def max_pool(b: Builder, wire: str) -> str:
    return b.add("MaxPool", [wire], b.shapes[wire], kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def average_pool(b: Builder, wire: str) -> str:
    return b.add("AveragePool", [wire], b.shapes[wire], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)


def there_and_back(b: Builder, wire: str) -> str:
    n, c, h, w = b.shapes[wire]
    last = b.add("Transpose", [wire], (n, h, w, c), perm=[0, 2, 3, 1])
    scaled = b.add("Add", [last, b.constant(c)], (n, h, w, c))
    return b.add("Transpose", [scaled], (n, c, h, w), perm=[0, 3, 1, 2])


def flat_and_back(b: Builder, wire: str) -> str:
    n, c, h, w = b.shapes[wire]
    for shape in ((n, c, h * w), (n, c, h, w)):
        name = f"k{len(b.tensors)}"
        b.tensors[name] = np.array(shape, np.int64)
        wire = b.add("Reshape", [wire, name], shape)
    return wire


def crop_and_pad(b: Builder, wire: str) -> str:
    n, c, h, w = b.shapes[wire]
    name = f"k{len(b.tensors)}"
    b.tensors[name] = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    mode = str(b.rng.choice(["reflect", "edge", "constant"]))
    padded = b.add("Pad", [wire, name], (n, c, h + 2, w + 2), mode=mode)
    return b.add("AveragePool", [padded], (n, c, h, w), kernel_shape=[3, 3])


def residual(b: Builder, wire: str) -> str:
    left, right = conv(b, wire), conv(b, wire)
    if b.rng.random() < 0.5:
        right = normalization(b, right)
    return b.add(str(b.rng.choice(["Add", "Sub", "Sum"])), [left, right], b.shapes[left])


def branches(b: Builder, wire: str) -> str:
    n, _, h, w = b.shapes[wire]
    parts = [conv(b, wire), normalization(b, conv(b, wire))]
    return b.add("Concat", parts, (n, 2 * CHANNELS, h, w), axis=1)


def twins(b: Builder, wire: str) -> str:
    """Two convolutions with one weight, of which one is normalized."""
    weight = b.constant(CHANNELS, b.shapes[wire][1], 3, 3)
    left, right = conv(b, wire, weight), normalization(b, conv(b, wire, weight))
    return b.add("Add", [left, right], b.shapes[left])


def read_twice(b: Builder, wire: str) -> str:
    return b.add("Mul", [normalization(b, wire), b.add("Sigmoid", [wire], b.shapes[wire])], b.shapes[wire])


STEPS: dict[str, Step] = {
    "conv": conv,
    "depthwise": depthwise,
    "normalization": normalization,
    "positive normalization": lambda b, wire: normalization(b, wire, positive=True),
    "scale": scale_only,
    "shift": shift_only,
    "Relu": unary("Relu"),
    "LeakyRelu": unary("LeakyRelu", alpha=0.1),
    "Abs": unary("Abs"),  # no rule: a barrier, and one that does not magnify rounding as a saturated Tanh does
    "Identity": unary("Identity"),
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "transposed": there_and_back,
    "flattened": flat_and_back,
    "padded": crop_and_pad,
    "residual": residual,
    "branches": branches,
    "twins": twins,
    "read twice": read_twice,
}


def build(steps: list[str], seed: int) -> ModelProto:
    b = Builder(np.random.default_rng(seed))
    wire = conv(b, "x")
    for step in steps:
        wire = STEPS[step](b, wire)
    graph = helper.make_graph(
        b.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 8, 8])],
        [helper.make_tensor_value_info(wire, TensorProto.FLOAT, b.shapes[wire])],
        [numpy_helper.from_array(values, name) for name, values in b.tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=8), st.integers(0, 10**6))
def test_a_random_graph_folds_to_an_equal_one(steps: list[str], seed: int) -> None:
    model = build(steps, seed)
    expected = [kept.code for kept in bnfold.fold(model).kept]
    result = check_fold(model, kept=expected)
    assert len(op_types(result.model)) <= len(op_types(model)), "a fold made the graph larger"
    assert not bnfold.fold(result.model), "folding again still finds something"


@pytest.mark.parametrize("step", sorted(STEPS))
def test_every_step_alone_and_in_front_of_a_normalization(step: str) -> None:
    model = build([step, "normalization"], seed=1)
    check_fold(model, kept=[kept.code for kept in bnfold.fold(model).kept], run=run_reference)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=8), st.integers(0, 10**6))
def test_a_random_graph_in_float64_folds_to_an_equal_one(steps: list[str], seed: int) -> None:
    """Here rounding hides nothing: 1e-11 of max|y| is a hundred thousand epsilon, and a wrong number shows at 1e-3."""
    model = widened(build(steps, seed))
    feeds = {"x": np.random.default_rng(seed).standard_normal((2, 3, 8, 8))}
    (expected,), (made,) = run_reference(model, feeds), run_reference(bnfold.fold(model).model, feeds)
    assert np.abs(made - expected).max() <= 1e-11 * np.abs(expected).max()
