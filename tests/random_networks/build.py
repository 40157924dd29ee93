"""From a seed to a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, shape_inference
from random_graphs.bodies import DOMAIN
from random_graphs.builder import Builder, Unfit, Whole, Wire, dtype
from random_graphs.options import Options
from random_graphs.steps import STEPS
from support import Array

from random_networks.families import FAMILIES, Family
from random_networks.heads import HEADS
from random_networks.layers import Net
from random_networks.style import Style, options_drawn
from random_networks.wrapping import Block, wrapped

VARIED = 0.3
"""How many networks have constants in every form that exporters know, and shared ones."""
MOST_TRIES = 40
BATCHES, COMPARED = 6, 2
"""How many sets of inputs are measured over, and how many of them are compared."""


@dataclass(frozen=True)
class Network:
    """A random network.

    Attributes:
        model: the model.
        family: the name of its family.
        options: its opset, its type, and how it is written down.
        style: its size and habits.
        data: sets of inputs to measure over; conditions are true and false in turn.
        feeds: the first of them, which outputs are compared on.
        used: its operators, those of bodies and functions among them.
    """

    model: ModelProto
    family: str
    options: Options
    style: Style
    data: tuple[dict[str, Array], ...]
    used: Counter[str]

    @property
    def feeds(self) -> tuple[dict[str, Array], ...]:
        return self.data[:COMPARED]


def build(seed: int, *, number: int = 0, most: int | None = None) -> Network:
    """The network of a seed.

    Args:
        seed: of a campaign.
        number: of the network in it.
        most: how many blocks it may have at most, to find the fewest that show something.
    """
    rng = np.random.default_rng([seed, number])
    options = options_drawn(rng)
    style = Style.drawn(rng, options)
    name = str(rng.choice(sorted(FAMILIES)))
    whole = Whole(options, rng, {"x"}, simple=1.0, shared=0.0, quantized=0.0)
    if rng.random() < VARIED and options.opset >= 9:  # before it, a Constant node has no integers
        whole.simple, whole.shared, whole.quantized = 0.75, 0.1, float(rng.choice([0.0, 0.1]))
    net = Net(Builder(whole), style)
    first = Wire("x", _input_shape(rng, FAMILIES[name]), options.kind)
    whole.rng = np.random.default_rng([seed, number, 1])
    wire = _grown(net, first, FAMILIES[name], most)
    if not net.b.nodes or wire.name == "x":
        wire = net.b.unary("Identity", wire)
    inputs, wire = _paired(net, first, wire)
    wires = {out.name: out for out in (wire, *net.b.outputs)}
    model = _model(net.b, style, inputs, list(wires.values()))
    return Network(model, name, options, style, _data(whole, inputs, [seed, number, 2]), Counter(whole.used))


def _input_shape(rng: np.random.Generator, family: Family) -> tuple[int, ...]:
    rank = int(rng.choice(family.ranks))
    batch, channels = int(rng.integers(2, 5)), int(rng.choice((3, 4, 6)))
    if rank == 2:
        return (2 * batch, 2 * channels)
    sizes = {3: (6, 8, 12), 4: (4, 6, 8), 5: (2, 4)}[rank]
    return (batch, channels, *(int(rng.choice(sizes)) for _ in range(rank - 2)))


def _grown(net: Net, wire: Wire, family: Family, most: int | None) -> Wire:
    """Stem, blocks until the network is large enough, head.

    Each draws from a seed of its own, so that networks shrink.
    """
    whole = net.b.whole
    base = int(whole.rng.integers(2**31))
    wire = _tried(net, wire, family.stem)
    for number in range(MOST_TRIES if most is None else most):
        if len(whole.used) >= net.style.size - 4:
            break
        whole.rng = np.random.default_rng([base, number])
        block = family.block
        if whole.rng.random() < net.style.wrapped:
            block = _wrapping(block)
        wire = _tried(net, wire, block)
        if whole.rng.random() < net.style.odd:
            wire = _tried(net, wire, _odd(whole.rng))
        if whole.rng.random() < 0.04 and wire.name != "x":
            net.b.outputs.append(wire)
    whole.rng = np.random.default_rng([base, MOST_TRIES])
    return _tried(net, wire, HEADS[str(whole.rng.choice(family.heads))])


def _wrapping(block: Block) -> Block:
    return lambda net, wire: wrapped(net, wire, block)


def _odd(rng: np.random.Generator) -> Block:
    """Any step of random graphs that leaves as many axes as there were."""
    step = STEPS[str(rng.choice(sorted(STEPS)))]

    def block(net: Net, wire: Wire) -> Wire:
        result = step(net.b, wire)
        net.b.require(result.rank == wire.rank and result.kind == wire.kind)
        return result

    return block


def _tried(net: Net, wire: Wire, block: Block) -> Wire:
    """The wire behind a block; itself where the block does not fit."""
    undo: Callable[[], None] = net.b.mark()
    try:
        return block(net, wire)
    except Unfit:
        undo()
        return wire


def _paired(net: Net, first: Wire, wire: Wire) -> tuple[list[Wire], Wire]:
    """The inputs: at times two, that go through the same network, whose results are compared (Siamese)."""
    whole = net.b.whole
    if wire.rank != 2 or net.b.outputs or whole.rng.random() > 0.2:
        return [first], wire
    other = replace(first, name=whole.name("z"))
    undo = net.b.mark()
    try:
        twin = net.renamed(0, first, other, wire)
        return [first, other], net.dense(net.both(str(whole.rng.choice(["Sub", "Mul"])), wire, twin), 3)
    except Unfit:
        undo()
        return [first], wire


def _model(main: Builder, style: Style, inputs: list[Wire], outputs: list[Wire]) -> ModelProto:
    options = main.whole.options
    entries = [_entry(wire, options.open_axes) for wire in inputs]
    entries += [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in main.whole.conditions]
    listed = [t for t in main.initializers if style.lists_initializers or t.name in main.whole.overridable]
    entries += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in listed]
    results = [_result(out, options) for out in outputs]
    graph = helper.make_graph(main.nodes, "random", entries, results, main.initializers)
    imports = [helper.make_opsetid("", options.opset)]
    imports += [helper.make_opsetid(DOMAIN, 1)] if main.whole.functions else []
    version = 3 if style.lists_initializers else 8 if options.opset < 20 else 10
    model = helper.make_model(graph, opset_imports=imports, ir_version=version, functions=main.whole.functions)
    return shape_inference.infer_shapes(model) if options.declared else model


def _entry(wire: Wire, open_axes: str) -> ValueInfoProto:
    known = {"none": range(wire.rank), "batch": range(1, wire.rank), "space": [1], "all": []}[open_axes]
    shape = [size if k in known else f"size{k}" for k, size in enumerate(wire.shape)]
    return helper.make_tensor_value_info(wire.name, wire.kind, shape)


def _result(wire: Wire, options: Options) -> ValueInfoProto:
    """Of an output only the rank is said where a size is open."""
    return helper.make_tensor_value_info(wire.name, wire.kind, [None] * wire.rank if options.open_batch else wire.shape)


def _data(whole: Whole, inputs: list[Wire], seed: list[int]) -> tuple[dict[str, Array], ...]:
    rng = np.random.default_rng(seed)
    sets: list[dict[str, Array]] = []
    for number in range(BATCHES):
        drawn = {wire.name: rng.standard_normal(wire.shape).astype(dtype(wire.kind)) for wire in inputs}
        sets.append({**drawn, **{name: np.array(number % 2 == 0) for name in whole.conditions}})
    return tuple(sets)
