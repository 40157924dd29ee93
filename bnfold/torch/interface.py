"""What a graph takes: names, and what it fixes of types and sizes; and a caller's tensors put in that order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from onnx import ValueInfoProto
from torch import Tensor

from bnfold.errors import ModelError, UsageError
from bnfold.model.graph import Graph
from bnfold.torch.stored import dtype_of


@dataclass(frozen=True)
class Entry:
    """One input.

    Attributes:
        name: its name.
        dtype: its element type.
        shape: a size per axis, None where the graph leaves it open; None where it states no rank.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Interface:
    """The inputs that a caller feeds, and the names of the outputs."""

    inputs: tuple[Entry, ...]
    output_names: tuple[str, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(entry.name for entry in self.inputs)

    @classmethod
    def of(cls, graph: Graph) -> Interface:
        """The interface of the main graph.

        Raises:
            ModelError: an input is no tensor, or of a type that torch does not compute with.
        """
        proto = graph.model.graph
        stored = {tensor.name for tensor in proto.initializer} | {t.values.name for t in proto.sparse_initializer}
        entries = tuple(_entry(entry) for entry in proto.input if entry.name not in stored)
        for output in proto.output:
            if output.type.WhichOneof("value"):  # an output may go without a type
                _refuse_no_tensor(output, "output")
        return cls(entries, tuple(entry.name for entry in proto.output))


def _entry(info: ValueInfoProto) -> Entry:
    _refuse_no_tensor(info, "input")
    tensor = info.type.tensor_type
    dtype = dtype_of(tensor.elem_type, f"input '{info.name}'")
    if not tensor.HasField("shape"):
        return Entry(info.name, dtype, None)
    return Entry(info.name, dtype, tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim))


def _refuse_no_tensor(info: ValueInfoProto, side: str) -> None:
    if not info.type.HasField("tensor_type"):
        raise ModelError(f"{side} '{info.name}' is no tensor, and has no translation to torch")


def bind(interface: Interface, given: Sequence[Any], named: Mapping[str, Any]) -> list[Tensor]:
    """The tensors in the order of the graph's inputs.

    Raises:
        UsageError: they are not what the graph takes.
    """
    if len(given) == 1 and isinstance(given[0], Mapping):
        return bind(interface, (), {**given[0], **named})
    names = interface.input_names
    tensors = dict(zip(names, given, strict=False)) | dict(named)
    if len(given) + len(named) != len(names) or tensors.keys() != set(names):
        said = [*names[: len(given)], *named] if len(given) <= len(names) else f"{len(given)} tensors"
        raise UsageError(f"the graph takes the inputs {list(names)}, and was given {said}")
    for entry in interface.inputs:
        _refuse_what_does_not_fit(entry, tensors[entry.name])
    return [tensors[name] for name in names]


def _refuse_what_does_not_fit(entry: Entry, tensor: Any) -> None:  # noqa: ANN401 (whatever the caller gave)
    if not isinstance(tensor, Tensor):
        raise UsageError(f"input '{entry.name}' takes a torch.Tensor, not {type(tensor).__name__}")
    if tensor.is_floating_point() != entry.dtype.is_floating_point or (
        tensor.dtype != entry.dtype and not entry.dtype.is_floating_point
    ):
        raise UsageError(f"input '{entry.name}' takes {entry.dtype}, not {tensor.dtype}")
    if entry.shape is None:
        return
    fits = len(entry.shape) == tensor.ndim and all(
        size is None or size == found for size, found in zip(entry.shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in entry.shape)
        raise UsageError(f"input '{entry.name}' takes the shape [{wanted}], not {list(tensor.shape)}")
