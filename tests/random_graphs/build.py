"""From a list of steps and a seed to a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, shape_inference
from support import Array

from random_graphs.bodies import DOMAIN
from random_graphs.builder import Builder, Whole, Wire, dtype
from random_graphs.options import Options
from random_graphs.steps import taken

CHANNELS = (1, 2, 3, 4, 4, 5, 6, 7, 8)
SPACE = (1, 2, 3, 4, 5, 6, 7)
RANKS = (2, 3, 4, 4, 5)
MOST_PLACES = 60


@dataclass(frozen=True)
class Built:
    """A random graph.

    Attributes:
        model: the model.
        options: what holds of all of it.
        used: the operators that were put in.
        feeds: inputs, two sets where a condition is among them.
    """

    model: ModelProto
    options: Options
    used: Counter[str]
    feeds: tuple[dict[str, Array], ...]


def build(steps: Sequence[str], seed: int) -> Built:
    """The graph of the steps, one behind the other. Each step draws from a seed of its own, so that lists shrink."""
    rng = np.random.default_rng([seed, 0])
    whole = Whole(Options.drawn(rng), rng, {"x"})
    main = Builder(whole)
    wire = first = Wire("x", _input_shape(rng), whole.options.kind)
    before: Counter[str] = Counter()
    for name in steps:
        whole.rng = np.random.default_rng([seed, 1, crc32(name.encode()), before[name]])
        before[name] += 1
        wire = taken(main, name, wire)
    whole.rng = np.random.default_rng([seed, 2])
    if wire.name == "x":
        wire = main.unary("Identity", wire)
    outputs = [wire, *(out for out in main.outputs if out.name != wire.name)]
    return Built(_model(main, first, outputs), whole.options, Counter(whole.used), _feeds(whole, first, seed))


def _input_shape(rng: np.random.Generator) -> tuple[int, ...]:
    rank = int(rng.choice(RANKS))
    batch, channels = int(rng.integers(1, 4)), int(rng.choice(CHANNELS))
    space = [int(rng.choice(SPACE)) for _ in range(rank - 2)]
    if rng.random() < 0.15:
        space = [channels] * len(space)  # a constant along the last axis could be one along the channels
    while np.prod(space, dtype=np.int64) > MOST_PLACES:
        space[int(np.argmax(space))] //= 2
    return (batch, channels, *space)


def _model(main: Builder, first: Wire, outputs: list[Wire]) -> ModelProto:
    options = main.whole.options
    inputs = [_entry(first, options.open_axes)]
    inputs += [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in main.whole.conditions]
    overridable = [t for t in main.initializers if t.name in main.whole.overridable]
    inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in overridable]
    nodes = list(main.nodes)
    if options.unsorted:
        nodes = [nodes[int(k)] for k in main.rng.permutation(len(nodes))]
    graph = helper.make_graph(nodes, "random", inputs, [_result(out, options) for out in outputs], main.initializers)
    opsets = [helper.make_opsetid("", options.opset)]
    if main.whole.functions:
        opsets.append(helper.make_opsetid(DOMAIN, 1))
    functions = main.whole.functions
    version = 8 if options.opset < 20 else 10
    model = helper.make_model(graph, opset_imports=opsets, ir_version=version, functions=functions)
    return shape_inference.infer_shapes(model) if options.declared else model


def _entry(wire: Wire, open_axes: str) -> ValueInfoProto:
    known = {"none": range(wire.rank), "batch": range(1, wire.rank), "space": [1], "all": []}[open_axes]
    shape = [size if k in known else f"size{k}" for k, size in enumerate(wire.shape)]
    return helper.make_tensor_value_info(wire.name, wire.kind, shape)


def _result(wire: Wire, options: Options) -> ValueInfoProto:
    """Of an output only the rank is said where a size is open."""
    return helper.make_tensor_value_info(wire.name, wire.kind, [None] * wire.rank if options.open_batch else wire.shape)


def _feeds(whole: Whole, first: Wire, seed: int) -> tuple[dict[str, Array], ...]:
    values = np.random.default_rng([seed, 3]).standard_normal(first.shape).astype(dtype(first.kind))
    choices = (True, False) if whole.conditions else (True,)
    return tuple({"x": values, **{name: np.array(choice) for name in whole.conditions}} for choice in choices)
