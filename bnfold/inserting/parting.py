"""A model in training mode, made fit to be run: its running statistics parted from everything else.

onnxruntime (1.32, seen at opsets 9, 13 and 15) writes the new running mean and variance into the memory of the old ones
when no one asks for them, though these are initializers. Exporters merge equal tensors, so that the variance may be the
scale as well: then every run changes the scale, and what stands behind is measured with other weights in each batch.
"""

from __future__ import annotations

from onnx import ModelProto

from bnfold.inserting.training_forms import MEAN, VARIANCE, is_normalization, is_training
from bnfold.inserting.view import View
from bnfold.model.constant import Constant
from bnfold.model.container import Container
from bnfold.model.graph import Node, Value
from bnfold.model.names import Names
from bnfold.model.patch import Patch, apply
from bnfold.model.tensors import from_array


def parted(container: Container, model: ModelProto) -> ModelProto:
    """The model with an initializer of its own for every statistic of a node in training mode.

    The same model where each has its own already. Statistics that the graph computes stay as they are.
    """
    view = View(container, model)
    patch, names = Patch(), Names(view.graph)
    for node in view.graph.nodes():
        if is_normalization(node) and node.since_version and is_training(node):
            _part(view, patch, names, node)
    return apply(patch, view.graph) if patch.added else model


def is_own(value: Value) -> bool:
    """Whether a value is an initializer that one input of one node reads, and nothing else."""
    return value.tensor is not None and len(value.readers) == 1 and not value.is_output


def add_own(patch: Patch, names: Names, node: Node, value: Value, constant: Constant) -> str:
    """Add an initializer for a statistic to the scope of its node; its name."""
    name = names.fresh(f"{value.name}.calibrated")
    patch.add_constant(node.scope, from_array(constant.wide, constant.elem_type, name))
    return name


def _part(view: View, patch: Patch, names: Names, node: Node) -> None:
    for index, value in zip((MEAN, VARIANCE), node.inputs[MEAN:], strict=False):
        constant = view.constants.get(value)
        if value is None or constant is None or not constant.is_float or is_own(value):
            continue
        patch.read_instead(node, index, add_own(patch, names, node, value, constant))
