"""A batch that was frozen when the model was exported, opened again; and shown to be right by running the model.

The first axis of the inputs gets a name, as do the axes of outputs that follow from it, and the constants that hold
the size are written for every size. Then the model has to give, at the size that it had, what it gave, to the last
bit; and at other sizes, for each sample, what it gave for that sample before. Where it does not, nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, ValueInfoProto

from bnfold.errors import ModelError
from bnfold.inserting.batch_constants import settle_constants, shape_constant
from bnfold.inserting.statistics import Feeds
from bnfold.inserting.trial import drawn, is_near, is_same, opened
from bnfold.inserting.view import View
from bnfold.model.container import Container
from bnfold.model.graph import Graph, scope_protos
from bnfold.model.patch import Patch, apply
from bnfold.model.shapes import Shape, Shapes
from bnfold.runtime import Session

Array = npt.NDArray[Any]

SYMBOL = "batch"

_NODE = re.compile(r"(?:running \w+ node\. Name:'|Node ?\(')([^']+)'|Node \(([^)]+)\) Op")
"""How onnxruntime names the node in which it failed, when it runs a model and when it loads one."""


@dataclass(frozen=True)
class Frozen:
    """A batch with a size that can not be changed.

    Attributes:
        size: how many samples.
        inputs: the inputs whose first axis it is.
        symbol: what the axis will be called.
    """

    size: int
    inputs: frozenset[str]
    symbol: str


def symbolic_batch(container: Container, model: ModelProto) -> ModelProto:
    """A copy of a model that takes batches of every size, or the model itself, where its batch is not frozen.

    Args:
        container: where its external weights lie.
        model: not changed.

    Raises:
        ModelError: the batch can not be opened, or not be shown to be; the text names the node that holds it.
    """
    frozen = find_frozen(model)
    if frozen is None:
        return model
    copy = apply(Patch(), Graph(model))
    _open_inputs(copy, frozen)
    changed = settle_constants(container, copy, frozen.size, frozen.symbol)
    _declare(changed, frozen)
    _Showing(container, model, changed, frozen).run()
    return changed


def find_frozen(model: ModelProto) -> Frozen | None:
    """The batch of a model: the first axis of its first input that has two axes or more, else of one that has one.

    Inputs with another first axis have no batch. `None` where there is no such input, or its first axis is open.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    held |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    ranked = [entry for entry in model.graph.input if entry.name not in held and _dims(entry)]
    first = next((entry for entry in ranked if len(_dims(entry)) > 1), ranked[0] if ranked else None)
    size = 0 if first is None else _dims(first)[0].dim_value
    if size <= 0:
        return None
    inputs = frozenset(entry.name for entry in ranked if _dims(entry)[0].dim_value == size)
    return Frozen(size, inputs, _unused(model))


def _dims(entry: ValueInfoProto) -> Any:  # noqa: ANN401 (protobuf's repeated field)
    return entry.type.tensor_type.shape.dim


def _unused(model: ModelProto) -> str:
    """A name that no axis of the model has."""
    entries = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    taken = {dim.dim_param for entry in entries for dim in _dims(entry)}
    candidates = (SYMBOL, *(f"{SYMBOL}_{number}" for number in range(1, len(taken) + 2)))
    return next(name for name in candidates if name not in taken)


def _open_inputs(model: ModelProto, frozen: Frozen) -> None:
    """Name the axis at the inputs, and forget it where the model declares inner values, which are inferred anew."""
    for entry in model.graph.input:
        if entry.name in frozen.inputs:
            _dims(entry)[0].dim_param = frozen.symbol
    for graph in _graphs(model):
        for entry in graph.value_info:
            if _dims(entry):
                _dims(entry)[0].Clear()


def _graphs(model: ModelProto) -> Iterator[GraphProto]:
    return (scope for scope in scope_protos(model) if isinstance(scope, GraphProto))


def _declare(model: ModelProto, frozen: Frozen) -> None:
    """Declare the shapes that follow for outputs and inner values; an output that is left open has to be shown."""
    graph = Graph(model)
    shapes = Shapes(graph)
    for scope, proto in zip(graph.scopes, scope_protos(model), strict=True):
        if not isinstance(proto, GraphProto):
            continue
        for entry in proto.value_info:
            _take(entry, shapes.shape(scope.find(entry.name)))
    for entry in model.graph.output:
        axis = _batch_axis(shapes.shape(graph.main.find(entry.name)), frozen.symbol)
        if axis is not None and axis < len(_dims(entry)) and _dims(entry)[axis].dim_value == frozen.size:
            _dims(entry)[axis].dim_param = frozen.symbol


def _take(entry: ValueInfoProto, shape: Shape | None) -> None:
    if shape is None or len(shape) != len(_dims(entry)):
        return
    for dim, found in zip(_dims(entry), shape, strict=True):
        if isinstance(found, int):
            dim.dim_value = found
        elif found is None:
            dim.Clear()
        else:
            dim.dim_param = found


def _batch_axis(shape: Shape | None, symbol: str) -> int | None:
    """Where an output has the batch; the first axis where inference leaves that open, `None` where there is none."""
    if shape is not None and symbol in shape:
        return shape.index(symbol)
    return None if shape is not None and (not shape or isinstance(shape[0], int)) else 0


class _Showing:
    """The runs that show that a model with an open batch computes for each sample what it computed.

    Args:
        container: where external weights lie.
        before: the model as it was.
        after: the model with an open batch.
        frozen: the batch.
    """

    def __init__(self, container: Container, before: ModelProto, after: ModelProto, frozen: Frozen) -> None:
        self.container = container
        self.before = before
        self.after = after
        self.frozen = frozen
        graph = Graph(after)
        shapes = Shapes(graph)
        found = {entry.name: shapes.shape(graph.main.find(entry.name)) for entry in after.graph.output}
        self.axes = {name: _batch_axis(shape, frozen.symbol) for name, shape in found.items()}

    def run(self) -> None:
        """Run both, at the size that was frozen and at others."""
        session, size = opened(self.container, self.before), self.frozen.size
        draws = self._sharing(drawn(session, self.before, 3))
        wanted = [session.run(feeds) for feeds in draws]
        try:
            changed = opened(self.container, self.after)
            for feeds, results in zip(draws, wanted, strict=True):
                self._require(changed.run(feeds), results, exactly=True)
            for samples in sorted({size + 1, 2 * size, 2 * size + 1}):
                self._require(self._run(changed, draws, samples), self._joined(wanted, samples), exactly=False)
        except ModelError as error:
            raise ModelError(
                f"the batch of {size} of {self.container.name} can not be made symbolic, and nothing was changed: "
                f"{self._culprit(str(error))}"
            ) from error

    def _sharing(self, draws: list[Feeds]) -> list[Feeds]:
        """The draws with one value for each input that has no batch."""
        common = {name: array for name, array in draws[0].items() if name not in self.frozen.inputs}
        return [{**feeds, **common} for feeds in draws]

    def _run(self, session: Session, draws: Sequence[Feeds], samples: int) -> Mapping[str, Array]:
        feeds = dict(draws[0])
        for name in self.frozen.inputs & feeds.keys():
            feeds[name] = np.concatenate([each[name] for each in draws])[:samples]
        return session.run(feeds)

    def _joined(self, results: Sequence[Mapping[str, Array]], samples: int) -> Mapping[str, Array]:
        """What each output has to be for the first samples of all draws."""
        joined = dict(results[0])
        for name, axis in self.axes.items():
            if axis is None:
                continue
            if joined[name].ndim <= axis or joined[name].shape[axis] != self.frozen.size:
                raise ModelError(f"output '{name}' has no axis that is the batch alone, {list(joined[name].shape)}")
            everything = np.concatenate([each[name] for each in results], axis)
            joined[name] = everything.take(range(samples), axis)
        return joined

    def _require(self, found: Mapping[str, Array], wanted: Mapping[str, Array], *, exactly: bool) -> None:
        same = is_same if exactly else is_near
        why = "differs at the size that it had" if exactly else "of a sample changes with the others of its batch"
        for name, result in wanted.items():
            if found[name].shape != result.shape:
                raise ModelError(f"output '{name}' has the shape {list(found[name].shape)}, not {list(result.shape)}")
            if not same(found[name], result):
                raise ModelError(f"output '{name}' {why}")

    def _culprit(self, reason: str) -> str:
        """The node that holds the batch, with its constant, as far as it can be told."""
        view = View(self.container, self.after)
        matched = _NODE.search(reason)
        name = (matched[1] or matched[2]) if matched else None
        constants = [(node, shape_constant(view.operator(node))) for node in view.graph.nodes()]
        held = [(node, entries) for node, entries in constants if entries and self.frozen.size in entries]
        named = [(node, entries) for node, entries in constants if entries and node.proto.name == name]
        for node, entries in named or ([] if name else held[:1]):
            shape = node.proto.input[1]
            return f"{node.op_type} '{node.label}' holds it in its constant '{shape}', {entries} ({reason})"
        return f"node '{name}' holds it or needs it ({reason})" if name else reason
