"""What a graph costs, and what an attempt would save: nodes, then elements touched at run time, then new bytes.

The order, and what is added to it, is what `benchmarks/residuals.py` measures on onnxruntime's CPU provider:

* A node less pays, and among forms with as many nodes the one that touches fewer elements does.
* A Relu behind a Conv or Gemm costs nothing, since onnxruntime runs it inside of them; a Max in its place does. Between
  Transposes too: with a Max in place of Relu, Sub, Mul, Add an export of Keras was slower than with one node left.
* A constant map behind a Conv costs what two passes over its output do: it takes the Conv out of the layout that
  onnxruntime keeps between convolutions.
* A BatchNormalization stays in that layout and an Add or Mul does not, so that it is the faster one node.
* A Relu that alone reads a BatchNormalization costs nothing there, since onnxruntime makes the two one depthwise Conv.
  Behind a Concat it is a pass of its own, so that a part of the map in one branch costs more than it spares.

The last but one and bytes of constants decide between ways that are equal otherwise; neither is a reason to change a
graph.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from typing import TypeAlias

import numpy as np
from onnx import TensorProto

from bnfold.folding.plan import Change, Residual
from bnfold.folding.sources import BATCH_NORMALIZATION, Source
from bnfold.folding.state import State
from bnfold.model.graph import Node, Value
from bnfold.model.shapes import Shapes
from bnfold.model.tensors import item_size
from bnfold.ops.rule import Operator, Placed, Rescale
from bnfold.values import cached_property

Elements: TypeAlias = Counter[tuple[str, ...]]
"""Number of elements per unit of the sizes that are not known: ``N x 64 x H x W`` is 64 of (H, N, W)."""

_FUSING = frozenset({"Conv", "Gemm"})
"""Operators into which onnxruntime takes a Relu that stands behind them."""

_TAKING_RELU = _FUSING | {BATCH_NORMALIZATION}
"""The same, and the operator into which it takes one between convolutions."""

_INSIDE = frozenset({"HardSigmoid", "HardSwish", "Relu", "Sigmoid", "Tanh"})
"""Operators that onnxruntime runs inside a BatchNormalization between convolutions; not Clip, LeakyRelu, Elu, Gelu."""

_MOVED_AWAY = frozenset({"Cast", "Identity", "Transpose"})
"""Operators that onnxruntime takes out, or moves past a Relu, before it looks for what stands behind a Conv."""


@dataclass
class Price:
    """What some nodes cost.

    Attributes:
        shapes: the shapes of what they write; asked only where elements are.
        normalizations: how many of them are BatchNormalizations.
        nodes: how many there are.
        arithmetic: how many of them are Add, Mul and the like.
        bytes: how many bytes of constants they bring.
        passes: what they write, and how often; below 0 how often less.
        activations: what activations behind them write that a BatchNormalization does not run inside, likewise.
    """

    shapes: Shapes
    normalizations: int = 0
    nodes: int = 0
    arithmetic: int = 0
    bytes: int = 0
    passes: list[tuple[Value, int]] = field(default_factory=list)
    activations: list[tuple[Value, int]] = field(default_factory=list)

    def add(self, written: Value, *, nodes: int = 1, normalizations: int = 0, passes: int | None = None) -> None:
        """Take in nodes that write a value of that shape, each once unless it is said how often together."""
        self.normalizations += normalizations
        self.nodes += nodes
        self.arithmetic += nodes - normalizations
        self.passes.append((written, nodes if passes is None else passes))

    def minus(self, other: Price) -> Price:
        """What is saved when this goes and the other comes."""
        return Price(
            self.shapes,
            self.normalizations - other.normalizations,
            self.nodes - other.nodes,
            self.arithmetic - other.arithmetic,
            self.bytes - other.bytes,
            [*self.passes, *((value, -times) for value, times in other.passes)],
            [*self.activations, *((value, -times) for value, times in other.activations)],
        )

    @cached_property
    def elements(self) -> Elements:
        """How many elements they write. To be asked when all is taken in."""
        found: Elements = Counter()
        alone = (each for each in self.activations if _is_of_images(each[0], self.shapes))
        for value, times in chain(self.passes, alone):
            key, count = _elements(value, self.shapes)
            found[key] += times * count
        return Counter({key: count for key, count in found.items() if count})

    @property
    def element_sign(self) -> int:
        """1 when fewer elements are certain, -1 when more are possible, 0 when they are as many."""
        counts = self.elements.values()
        if any(count < 0 for count in counts):
            return -1
        return int(any(count > 0 for count in counts))


@dataclass(frozen=True)
class Preference:
    """What a fold is to come to: "speed", or "no-batchnorm", where no BatchNormalization is worth more than speed."""

    name: str = "speed"

    @property
    def avoids_normalizations(self) -> bool:
        """Whether a BatchNormalization less is worth more than anything else."""
        return self.name == "no-batchnorm"

    @property
    def is_for_onnxruntime(self) -> bool:
        """Whether what onnxruntime runs in one pass counts as one node; quantizers and accelerators count otherwise."""
        return not self.avoids_normalizations

    def gains(self, saved: Price) -> bool:
        """Whether that is worth a change of the graph."""
        if self.avoids_normalizations and saved.normalizations:
            return saved.normalizations > 0
        return saved.nodes > 0 or (saved.nodes == 0 and saved.element_sign > 0)

    def is_better(self, saved: Price, than: Price) -> bool:
        """Whether the one way saves more than the other."""
        if self.avoids_normalizations and saved.normalizations != than.normalizations:
            return saved.normalizations > than.normalizations
        if saved.nodes != than.nodes:
            return saved.nodes > than.nodes
        sign = saved.minus(than).element_sign
        back = than.minus(saved).element_sign
        if sign > 0 or back > 0:
            return sign > 0
        if sign or back:
            return False
        return (saved.arithmetic, saved.bytes) > (than.arithmetic, than.bytes)


def saved_by(made: State, present: State, shapes: Shapes, preference: Preference) -> Price:
    """What a graph saves by an attempt, compared with what has been decided before it."""
    gone, come = Price(shapes), Price(shapes)
    removed = [source for address, source in made.removed.items() if address not in present.removed]
    for source in removed:
        gone.add(source.output, normalizations=int(source.is_normalization))
        gone.bytes += source.channels * (16 if source.is_normalization else 4)
    for residual in made.residuals.values():
        _add_residual(come, residual)
    if preference.is_for_onnxruntime:
        _add_activations(gone, come, removed, made)
    for address, change in made.changes.items():
        _add_change(come, change, made, preference)
        if address in present.changes:
            _add_change(gone, present.changes[address], present, preference)
    return gone.minus(come)


def _add_residual(price: Price, residual: Residual) -> None:
    normalizations = residual.forms.count("BatchNormalization")
    price.add(residual.wire, nodes=len(residual.forms), normalizations=normalizations)
    if residual.moved is None:  # as if all were float32: the type hardly matters here
        price.bytes += 4 * (4 * residual.channels if normalizations else len(residual.forms) * _numbers(residual))


def _add_activations(gone: Price, come: Price, removed: list[Source], made: State) -> None:
    """The activations that read what goes, where they run by themselves, before and after."""
    for source in removed:
        readers = source.output.value_readers
        node = readers[0][0] if source.output.has_one_reader else None
        output = None if node is None or not node.outputs else node.outputs[0]
        if node is None or output is None or node.op_type not in _INSIDE:
            continue
        if not source.is_normalization:
            gone.activations.append((output, 1))
        if _in_front(node, made) not in _TAKING_RELU:
            come.activations.append((output, 1))


def _numbers(residual: Residual) -> int:
    return residual.placed.affine.channels


def _add_change(price: Price, change: Change, state: State, preference: Preference) -> None:
    op, output = change.op, change.op.node.outputs[0]
    if output is None:
        return
    if change.taken.behind is not None:
        price.add(output, passes=1 if isinstance(change.taken.behind, Placed) else 2)
    if change.taken.op_type is not None and preference.is_for_onnxruntime and _in_front(op.node, state) in _FUSING:
        price.add(output)
    for index, rescale in change.taken.constants.items():
        price.bytes += 0 if rescale is None else new_bytes(op, index, rescale)
    if change.taken.behind is not None:
        price.bytes += behind_elements(change.taken.behind) * 4


def behind_elements(behind: Placed | np.ndarray) -> int:
    """How many numbers a shift behind an operator has."""
    return behind.affine.channels if isinstance(behind, Placed) else int(behind.size)


def new_bytes(op: Operator, index: int, rescale: Rescale) -> int:
    """The bytes of a constant that has to be written beside the present one; 0 where it takes its place."""
    shape = op.rescaled_shape(index, rescale)
    present = op.input(index)
    takes_its_place = (
        present is not None
        and present.tensor is not None
        and present.has_one_reader
        and op.constants.is_stored(present)
        and tuple(present.tensor.dims[:]) == shape
    )
    kind = TensorProto.UNDEFINED if takes_its_place else op.float_type(index)
    return 0 if kind == TensorProto.UNDEFINED else prod(shape) * item_size(kind)


def _in_front(node: Node, state: State) -> str:
    """The operator that comes to stand in front of a node, once onnxruntime has moved the layout away, or nothing."""
    value, edge = node.inputs[0], (node, 0)
    while value is not None:
        residual, producer = state.residuals.get(value), value.producer
        if residual is not None and edge in residual.edges:
            return residual.forms[-1]
        if producer is None:
            break
        if producer.address in state.removed:
            source = state.removed[producer.address]
            value, edge = source.wire, source.edge
        elif producer.op_type in _MOVED_AWAY:
            value, edge = producer.inputs[0], (producer, 0)
        else:
            return producer.op_type
    return ""


def _is_of_images(value: Value, shapes: Shapes) -> bool:
    """Whether it may be in the layout between convolutions, which is for images in float32."""
    return shapes.rank(value) == 4 and shapes.elem_type(value) == TensorProto.FLOAT


def _elements(value: Value, shapes: Shapes) -> tuple[tuple[str, ...], int]:
    shape = shapes.shape(value)
    if shape is None:
        return (f"all of {value.name}",), 1
    unknown = sorted("?" if size is None else size for size in shape if not isinstance(size, int))
    return tuple(unknown), prod(size for size in shape if isinstance(size, int))
