"""The BatchNormalizations of a graph whose statistics can be estimated, and those where they can not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnfold.inserting.sites import Skipped
from bnfold.inserting.training_forms import MEAN, VARIANCE, is_normalization, is_training
from bnfold.inserting.view import View
from bnfold.model.constant import Constant
from bnfold.model.graph import Node, Value

Vector = npt.NDArray[np.float64]

SPATIAL_ALWAYS = 9
"""Up to this opset, spatial = 0 asked for a mean per element."""


@dataclass(frozen=True, eq=False)
class Normalization:
    """A BatchNormalization of the main graph with constant statistics.

    Attributes:
        node: the node.
        value: what it normalizes, with the channels on axis 1.
        mean: [C], as the file has it.
        variance: [C], as the file has it; in opset 15 these two may have another type than the rest.
    """

    node: Node
    value: Value
    mean: Constant
    variance: Constant

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return self.mean.shape[0]

    @property
    def epsilon(self) -> float:
        """What is added to the variance."""
        return float(self.node.attribute("epsilon"))


def find_normalizations(view: View) -> tuple[list[Normalization], list[Skipped]]:
    """The BatchNormalizations of a model in the order of the file, and those that stay as they are, with reasons."""
    found: list[Normalization] = []
    skipped: list[Skipped] = []
    for node in view.graph.nodes():
        if not is_normalization(node):
            continue
        one = _normalization(view, node)
        if isinstance(one, Normalization):
            found.append(one)
        else:
            skipped.append(one)
    return found, skipped


def skip(node: Node, code: str, text: str) -> Skipped:
    """A BatchNormalization that stays as it is; `text` goes on after ``BatchNormalization 'name'``."""
    return Skipped(node.label, node.op_type, code, f"{node.op_type} '{node.label}' {text}")


def unknown_form(node: Node) -> Skipped | None:
    """Why the mode of a BatchNormalization can not be told; `None` where it can."""
    if not node.since_version:
        return skip(node, "opset", f"belongs to opset {node.opset}, which the installed onnx does not know")
    if node.refers_to_function_attributes:
        return skip(node, "function-attribute", "takes an attribute from the call of the function that it stands in")
    if len(node.inputs) != VARIANCE + 1 or None in node.inputs or not any(node.outputs[:1]):
        return skip(node, "malformed", "lacks one of its five inputs or its output; onnx.checker says what is wrong")
    return None


def _normalization(view: View, node: Node) -> Normalization | Skipped:
    if unknown := unknown_form(node):
        return unknown
    if node.scope is not view.graph.main:
        return _inside(node)
    if node.since_version < SPATIAL_ALWAYS and not node.attribute("spatial", 1):
        return skip(node, "spatial", "has spatial = 0: one mean per element, not per channel")
    value = node.inputs[0]
    mean, variance = (view.constants.get(node.inputs[index]) for index in (MEAN, VARIANCE))
    if value is None or mean is None or variance is None:
        return skip(node, "dynamic-parameter", f"has a mean or variance that the graph computes{_mode(node)}")
    if not (mean.is_float and variance.is_float) or mean.rank != 1 or mean.shape != variance.shape:
        return skip(node, "channels", "has a mean and a variance that are no two vectors of one length")
    if view.shapes.rank(value) == 1:
        return skip(node, "channels", "normalizes a vector, which has no axis of channels")
    return Normalization(node, value, mean, variance)


def _inside(node: Node) -> Skipped:
    if node.scope.is_function:
        text = "stands in a function, where no data can be measured; inline the functions first, with onnx.inliner"
        return skip(node, "function", text + _mode(node))
    return skip(
        node, "body", f"stands in the body of a control-flow operator, where no data can be measured{_mode(node)}"
    )


def _mode(node: Node) -> str:
    return (
        ", and stays in training mode; --keep-statistics turns it into an inference node" if is_training(node) else ""
    )
