"""What flows along the wires of a running graph: tensors, and numbers that are known without one.

Sizes, and what a graph computes from them, are never put on a device: a training step would wait for the device each
time it reads one back, and `torch.compile` could not see through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from onnx import TensorProto
from torch import Tensor

Number: TypeAlias = int | float | bool

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}
"""The element types that torch computes with throughout; its wider unsigned types have hardly an operator."""


class Host(NamedTuple):
    """A scalar or a vector of numbers, held by Python; the sizes among them are symbols under `torch.compile`."""

    values: tuple[Number, ...]
    is_scalar: bool
    dtype: torch.dtype

    def tensor(self, device: torch.device) -> Tensor:
        """The same as a tensor: ``[]`` or ``[n]``."""
        content = self.values[0] if self.is_scalar else list(self.values)
        return torch.tensor(content, dtype=self.dtype, device=device)


Value: TypeAlias = Tensor | Host | None


class Context(NamedTuple):
    """What one run of a graph shares between its nodes.

    Attributes:
        device: where tensors are made.
        float_type: what the graph's float32 is: another type once the module was converted (`module.double()`).
        slots: the values by their places; bodies of control flow use the same.
    """

    device: torch.device
    float_type: torch.dtype
    slots: list[Any]

    def dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The type that stands for the graph's `dtype` in this module."""
        return self.float_type if dtype == torch.float32 else dtype

    def tensor(self, value: Any) -> Any:  # noqa: ANN401 (a tensor, a sequence of them, or an omitted input)
        """The value, as a tensor where it is numbers."""
        if not isinstance(value, Host):
            return value
        return value._replace(dtype=self.dtype(value.dtype)).tensor(self.device)


def numbers(value: Tensor | Host) -> list[Number]:
    """The elements of a vector, or of a scalar."""
    if isinstance(value, Host):
        return list(value.values)
    listed: list[Number] = value.reshape(-1).tolist()
    return listed


def integers(value: Tensor | Host) -> list[int]:
    """The elements of a vector of integers; sizes stay the symbols they are."""
    return cast(list[int], numbers(value))


def number(value: Tensor | Host) -> Number:
    """The one element."""
    return numbers(value)[0]


def sizes(values: Sequence[int]) -> Host:
    """A vector of sizes."""
    return Host(tuple(values), False, torch.int64)
