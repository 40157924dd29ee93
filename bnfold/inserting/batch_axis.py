"""A batch that was frozen when the model was exported, opened again; and shown to be right by running the model.

The first axis of the inputs gets a name, as do the axes of outputs that follow from it, and the constants that hold
the size are written for every size. Then the model has to give, at the size that it had, what it gave, to the last
bit; and at other sizes, for each sample, what it gave for that sample before. Where it does not, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, ModelProto, ValueInfoProto

from bnfold.inserting.batch_constants import settle_constants
from bnfold.inserting.batch_frozen import Frozen, batch_axis_of, dims_of, find_frozen
from bnfold.inserting.batch_showing import require_same_samples
from bnfold.model.container import Container
from bnfold.model.graph import Graph, scope_protos
from bnfold.model.patch import Patch, apply
from bnfold.model.shapes import Shape, Shapes


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
    require_same_samples(container, model, changed, frozen)
    return changed


def _open_inputs(model: ModelProto, frozen: Frozen) -> None:
    """Name the axis at the inputs, and forget it where the model declares inner values, which are inferred anew."""
    for entry in model.graph.input:
        if entry.name in frozen.inputs:
            dims_of(entry)[0].dim_param = frozen.symbol
    for graph in _graphs(model):
        for entry in graph.value_info:
            if dims_of(entry):
                dims_of(entry)[0].Clear()


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
        axis = batch_axis_of(shapes.shape(graph.main.find(entry.name)), frozen.symbol)
        if axis is not None and axis < len(dims_of(entry)) and dims_of(entry)[axis].dim_value == frozen.size:
            dims_of(entry)[axis].dim_param = frozen.symbol


def _take(entry: ValueInfoProto, shape: Shape | None) -> None:
    if shape is None or len(shape) != len(dims_of(entry)):
        return
    for dim, found in zip(dims_of(entry), shape, strict=True):
        if isinstance(found, int):
            dim.dim_value = found
        elif found is None:
            dim.Clear()
        else:
            dim.dim_param = found
