"""What the graph computes from its own constants alone, evaluated in float64.

Exporters write a parameter as an initializer, as a Constant node, or as a small expression over those (a reshaped
vector, a Sqrt of a variance). Here each of them is the same thing: an array and the element type it has in the graph.

What is computed is held, up to `MAX_MADE` elements in all, or as many as the model has bytes of weights if those are
more: beyond, a value counts as one that is computed when the model runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
from onnx import AttributeProto, GraphProto, TensorProto, helper

from bnfold.model.constant import Constant as Constant
from bnfold.model.evaluators import EVALUATORS, cast_to, moved, piece
from bnfold.model.external import stored_bytes
from bnfold.model.graph import ONNX_DOMAIN, Graph, Node, Value
from bnfold.model.pieces import MAX_MADE
from bnfold.model.quantized import derived
from bnfold.model.shapes import Shapes


class Constants:
    """Evaluates constant expressions of one graph; each computed one once.

    Args:
        graph: the view.
        base_dir: the folder that external data is relative to.
        freeze: treat initializers that are graph inputs as constants, though a caller may override them.
        shapes: tells the types of values that are no constants, for CastLike.
    """

    def __init__(
        self, graph: Graph, base_dir: Path | None, *, freeze: bool = False, shapes: Shapes | None = None
    ) -> None:
        self.graph = graph
        self.base_dir = base_dir
        self.freeze = freeze
        self.shapes = shapes or Shapes(graph, freeze=freeze)
        self._held = 0
        self._inputs: dict[Node, tuple[int, ...]] = {}
        self._found: dict[Value, Constant | None] = dict(_sparse_initializers(graph, base_dir, freeze=freeze))

    def inputs_of(self, node: Node) -> tuple[int, ...]:
        """Which inputs of a node are constants; looked at once, since there may be thousands.

        Raises:
            ExternalDataError, ModelError: a stored tensor can not be read.
        """
        if node not in self._inputs:
            self._inputs[node] = tuple(k for k, value in enumerate(node.inputs) if self.get(value) is not None)
        return self._inputs[node]

    def is_stored(self, value: Value) -> bool:
        """Whether the value is an initializer that nobody can override."""
        return value.tensor is not None and (self.freeze or not self.graph.is_overridable(value))

    def get(self, value: Value | None) -> Constant | None:
        """The constant that the value always is, or None.

        Raises:
            ExternalDataError, ModelError: a stored tensor can not be read.
        """
        if value is None:
            return None
        if value not in self._found:
            if value.tensor is None:
                self._find(value)
            else:
                self._found[value] = self._stored(value, value.tensor)
        return self._found[value]

    def _stored(self, value: Value, tensor: TensorProto) -> Constant | None:
        return Constant.stored(tensor, self.base_dir) if self.is_stored(value) else None

    def _find(self, value: Value) -> None:
        """Enter what the value is, and what it is computed from."""
        pending, seen = [value], set[Value]()
        while pending:  # depth first without recursion: a constant expression may be any number of nodes deep
            current = pending[-1]
            if current in self._found:
                pending.pop()
                continue
            if current.tensor is not None:
                self._found[current] = self._stored(current, current.tensor)
                continue
            # Seen before and not computed: its operands are, or it is one of its own operands and no constant.
            missing = [] if current in seen else self._operands_to_find(current)
            seen.add(current)
            if missing:
                pending.extend(missing)
                continue
            self._found[current] = self._evaluate(current)
            pending.pop()

    def _operands_to_find(self, value: Value) -> list[Value]:
        """Operands that are not known yet; none where one of them never will be a constant."""
        node = value.producer
        if node is None or not _is_evaluable(node):
            return []
        operands = [v for v in _looked_at(node) if v not in self._found]
        hopeless = any(v.tensor is None and (v.producer is None or not _is_evaluable(v.producer)) for v in operands)
        return [] if hopeless else operands

    def _evaluate(self, value: Value) -> Constant | None:
        """What the value is, if there is room for it."""
        made = self._computed(value)
        if made is None or not made.is_held or any(made is self._found.get(v) for v in _operands(value)):
            return made
        self._held += prod(made.shape)
        return made if self._held <= MAX_MADE or self._held <= self._stored_bytes else None

    @cached_property
    def _stored_bytes(self) -> int:
        """How many bytes of weights the model has."""
        return stored_bytes(self.graph.model, self.base_dir)

    def _computed(self, value: Value) -> Constant | None:
        node = value.producer
        if node is None or not _is_evaluable(node) or node.refers_to_function_attributes:
            return None
        operands = [self._found.get(v) for v in _looked_at(node)]
        known = [operand for operand in operands if operand is not None]
        if len(known) != len(operands):
            return None
        try:
            if node.op_type == "Constant":
                return _constant(node, self.base_dir)
            if node.op_type == "CastLike":
                to = self.shapes.elem_type(node.inputs[1])
                return derived(node, known, lambda: cast_to(known[0], to))
            if node.op_type == "Split":
                return derived(node, known, lambda: moved(node, known, piece(value.output_index)))
            return derived(node, known, lambda: EVALUATORS[node.op_type](node, known))
        except (ValueError, IndexError, TypeError):  # shapes that do not fit: the model is broken here, not constant
            return None


def _sparse_initializers(
    graph: Graph, base_dir: Path | None, *, freeze: bool
) -> Iterator[tuple[Value, Constant | None]]:
    """Those that nobody can override."""
    for scope in graph.scopes:
        if not isinstance(scope.proto, GraphProto):
            continue
        for tensor in scope.proto.sparse_initializer:
            value = scope.values[tensor.values.name]
            overridable = value.is_input and graph.model.ir_version >= 4 and not freeze
            yield value, None if overridable else Constant.sparse(tensor, base_dir)


def _is_evaluable(node: Node) -> bool:
    return node.domain == ONNX_DOMAIN and node.op_type in _EVALUABLE and node.since_version > 0


def _operands(value: Value) -> list[Value]:
    return [] if value.producer is None else _looked_at(value.producer)


def _looked_at(node: Node) -> list[Value]:
    """The inputs whose elements the operator looks at. CastLike looks at the type of its second one alone."""
    inputs = node.inputs[:1] if node.op_type == "CastLike" else node.inputs
    return [value for value in inputs if value is not None]


def _constant(node: Node, base_dir: Path | None) -> Constant | None:
    if len(node.proto.attribute) != 1:
        return None
    (attribute,) = node.proto.attribute
    if attribute.type == AttributeProto.TENSOR:
        return Constant.stored(attribute.t, base_dir)
    if attribute.type == AttributeProto.SPARSE_TENSOR:
        return Constant.sparse(attribute.sparse_tensor, base_dir)
    value = helper.get_attribute_value(attribute)
    if attribute.name in {"value_float", "value_floats"}:
        return Constant.of(np.array(value, np.float32), TensorProto.FLOAT)
    if attribute.name in {"value_int", "value_ints"}:
        return Constant.of(np.array(value, np.int64), TensorProto.INT64)
    return None


_SPECIAL = frozenset({"Constant", "CastLike", "Split"})
"""Evaluated by `Constants` itself: they need the model's folder, the type of a value that is no constant, or which
output is meant."""

_EVALUABLE = _SPECIAL | EVALUATORS.keys()
