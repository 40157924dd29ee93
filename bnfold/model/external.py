"""Tensors whose values lie in a file of their own (ONNX external data)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from onnx import ModelProto, TensorProto

from bnfold.errors import ExternalDataError
from bnfold.model.graph import scope_protos
from bnfold.model.tensors import is_external


class Extent(NamedTuple):
    """Where a tensor's bytes lie: ``length`` bytes from ``offset`` on in ``path``."""

    path: Path
    offset: int
    length: int


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of every scope: initializers, sparse ones' values, and those held by attributes."""
    for scope in scope_protos(model):
        yield from getattr(scope, "initializer", ())
        for sparse in getattr(scope, "sparse_initializer", ()):
            yield sparse.values
            yield sparse.indices
        for node in scope.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Those of them whose values are in another file."""
    return (tensor for tensor in all_tensors(model) if is_external(tensor))


def entries(tensor: TensorProto) -> dict[str, str]:
    """The keys and values that say where an external tensor lies."""
    return {entry.key: entry.value for entry in tensor.external_data}


def locate(tensor: TensorProto, base_dir: Path) -> Extent:
    """The bytes of an external tensor.

    Raises:
        ExternalDataError: no location, outside the model's folder, no such file, or the file is too short.
    """
    said = entries(tensor)
    path = _path(tensor, said.get("location", ""), base_dir)
    size = path.stat().st_size
    offset, length = (_number(tensor, said, key) for key in ("offset", "length"))
    if "length" not in said:
        length = size - offset
    if length < 0 or offset + length > size:
        raise ExternalDataError(
            f"tensor '{tensor.name}' wants bytes {offset} to {offset + length} of '{path}', "
            f"which has {size}: the file is cut off or belongs to another model"
        )
    return Extent(path, offset, length)


def _path(tensor: TensorProto, location: str, base_dir: Path) -> Path:
    if not location:
        raise ExternalDataError(f"tensor '{tensor.name}' is external and does not say in which file")
    folder = base_dir.resolve()
    path = (folder / location).resolve()
    if Path(location).is_absolute() or not path.is_relative_to(folder):
        raise ExternalDataError(f"tensor '{tensor.name}' lies in '{location}', outside the model's folder '{base_dir}'")
    if not path.is_file():
        raise ExternalDataError(
            f"tensor '{tensor.name}' lies in '{location}', and there is no such file in '{base_dir}': "
            "keep the data file beside the model"
        )
    return path


def _number(tensor: TensorProto, said: dict[str, str], key: str) -> int:
    text = said.get(key, "0")
    if not text.isdecimal():
        raise ExternalDataError(f"tensor '{tensor.name}': its external data's {key} is '{text}', not a number of bytes")
    return int(text)
