"""The trained values back into the graph that they came from."""

from __future__ import annotations

import os

import numpy as np
from onnx import ModelProto, TensorProto

from bnfold.errors import ModelError
from bnfold.model.container import ModelLike, open_model
from bnfold.model.graph import Graph, Value
from bnfold.model.patch import Patch, apply
from bnfold.model.tensors import to_array, with_values
from bnfold.torch.arrays import to_float64
from bnfold.torch.module import GraphModule


def to_onnx(module: GraphModule, model: ModelLike, *, base_dir: str | os.PathLike[str] | None = None) -> ModelProto:
    """The model with the module's values: of its initializers, those that training moved, and nothing else.

    Args:
        module: what `to_module` made of the model, trained, on any device and in any floating type.
        model: the graph that it came from; not changed.
        base_dir: where external data lies; a path's own folder unless said otherwise.

    Returns:
        A copy. A value that changed is rounded once to the initializer's own type and written inline, even if the
        old one was external; where nothing changed, the very bytes stay.

    Raises:
        ModelError: the module has a parameter of a name or shape that the model does not have.
        ExternalDataError: a file that holds weights is missing, too short or out of bounds.
    """
    container = open_model(model, base_dir=base_dir)
    graph, patch = Graph(container.proto), Patch()
    for name, initializer in module.onnx_names.items():
        value, tensor = _initializer(graph, initializer)
        trained, stored = to_float64(getattr(module, name)), to_array(tensor, container.base_dir)
        if trained.shape != stored.shape:
            raise ModelError(
                f"'{initializer}' is {list(stored.shape)} in the model and {list(trained.shape)} in the module"
            )
        fresh = with_values(tensor, trained)
        if not np.array_equal(to_array(fresh, None), stored, equal_nan=True):
            patch.replace_constant(value, fresh)
    return apply(patch, graph)


def _initializer(graph: Graph, name: str) -> tuple[Value, TensorProto]:
    value = graph.main.values.get(name)
    if value is None or value.tensor is None:
        raise ModelError(
            f"the module has a parameter '{name}', and the model no initializer of that name: give the one"
        )
    return value, value.tensor
