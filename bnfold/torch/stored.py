"""What a module holds of a graph: its parameters, its statistics, and its constants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from onnx import GraphProto
from torch import Tensor

from bnfold.errors import ModelError
from bnfold.model.constants import Constants
from bnfold.model.graph import Graph, Node, Scope, Value
from bnfold.model.tensors import Array, to_array, type_name
from bnfold.torch.arrays import to_tensor
from bnfold.torch.roles import Role, is_numbers, role_of
from bnfold.torch.values import DTYPES, Host


class Stored:
    """The initializers and Constants of one graph.

    Args:
        graph: the view.
        base_dir: the folder that external data is relative to.

    Raises:
        ModelError: one is of a type that torch does not compute with.
    """

    def __init__(self, graph: Graph, base_dir: Path | None) -> None:
        self._base_dir = base_dir
        self._constants = Constants(graph, base_dir, freeze=True)
        self.roles: dict[Value, Role] = {}
        for scope in graph.scopes:
            self.roles.update(self._roles(scope, is_main=scope is graph.main))

    def _roles(self, scope: Scope, *, is_main: bool) -> Iterator[tuple[Value, Role]]:
        for value in scope.values.values():
            if not value.readers and not value.is_output:
                continue
            if value.tensor is not None:
                yield value, role_of(value, value.tensor) if is_main else Role.CONSTANT
            elif value.producer is not None and is_constant(value.producer):
                yield value, Role.CONSTANT
        if isinstance(scope.proto, GraphProto):
            yield from ((scope.values[t.values.name], Role.CONSTANT) for t in scope.proto.sparse_initializer)

    def is_statistic(self, value: Value | None) -> bool:
        """Whether the module keeps the value as a running statistic."""
        return value is not None and self.roles.get(value) is Role.STATISTIC

    def content(self, value: Value) -> Tensor | Host:
        """The value as the module holds it: a tensor, or numbers.

        Raises:
            ModelError: it is of a type that torch does not compute with.
        """
        array, elem_type = self._read(value)
        dtype = dtype_of(elem_type, f"tensor '{value.name}'")
        if self.roles[value] is Role.CONSTANT and is_numbers(value, array.shape, elem_type):
            return Host(tuple(array.reshape(-1).tolist()), array.ndim == 0, dtype)
        return to_tensor(array)

    def _read(self, value: Value) -> tuple[Array, int]:
        if value.tensor is not None:
            return to_array(value.tensor, self._base_dir), value.tensor.data_type
        constant = self._constants.get(value)
        if constant is None:
            raise ModelError(
                f"the constant '{value.name}' is none that has a translation to torch (text, or too large)"
            )
        return constant.values, constant.elem_type


def dtype_of(elem_type: int, what: str) -> torch.dtype:
    """The torch type of an element type.

    Raises:
        ModelError: there is none that torch computes with.
    """
    if elem_type not in DTYPES:
        raise ModelError(f"{what} is of type {type_name(elem_type)}, which torch does not compute with")
    return DTYPES[elem_type]


def is_constant(node: Node) -> bool:
    """Whether the node is a Constant, which is stored and not run."""
    return node.op_type == "Constant" and not node.domain and node.since_version > 0
