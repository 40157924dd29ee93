"""Tensors whose values lie in a file of their own (ONNX external data)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, TensorProto

from bnfold.errors import ExternalDataError
from bnfold.model.graph import bodies


class Extent(NamedTuple):
    """Where a tensor's bytes lie: ``length`` bytes from ``offset`` on in ``path``."""

    path: Path
    offset: int
    length: int


MARK = f"\0bnfold-{os.urandom(8).hex()}-"
"""How the location of a reference begins (`bnfold.model.references`). No path holds a null character, and no file that
somebody made knows what follows: a tensor that says it lies there was made by this process."""


_MOST_DIGITS = 100
"""Python takes long for more of them, and from 4300 on none."""


def is_external(tensor: TensorProto) -> bool:
    """Whether the tensor's values lie in a file of their own."""
    return tensor.data_location == TensorProto.EXTERNAL and not is_reference(tensor)


def is_reference(tensor: TensorProto) -> bool:
    """Whether the tensor's bytes lie in a source of this process: inline, in what is written."""
    if tensor.data_location != TensorProto.EXTERNAL or len(tensor.external_data) != 1:
        return False
    place = tensor.external_data[0].value  # bytes where it is no text
    return isinstance(place, str) and place.startswith(MARK)


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor: initializers, sparse ones' parts, those held by attributes, and those of the training graphs."""
    pending: list[GraphProto | FunctionProto] = [model.graph, *model.functions]
    for training in model.training_info:
        pending += [training.initialization, training.algorithm]
    for scope in pending:  # grows by the bodies that are found on the way
        if isinstance(scope, GraphProto):
            yield from scope.initializer
            for sparse in scope.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        else:
            yield from _held_by(scope.attribute_proto)
        for node in scope.node:
            if attributes := node.attribute[:]:
                yield from _held_by(attributes)
                pending += bodies(attributes)


def _held_by(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        if attribute.tensors:
            yield from attribute.tensors
        if attribute.HasField("sparse_tensor"):
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        for sparse in attribute.sparse_tensors[:]:
            yield from (sparse.values, sparse.indices)


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Those of them whose values are in another file."""
    return (tensor for tensor in all_tensors(model) if is_external(tensor))


def stored_bytes(model: ModelProto, base_dir: Path | None) -> int:
    """How many bytes the model's tensors take, each file of them once.

    Raises:
        ExternalDataError: a file is missing.
    """
    inline, files = 0, set[Path]()
    for tensor in all_tensors(model):
        if is_external(tensor):
            files.add(locate(tensor, base_dir or Path()).path)
        else:
            inline += tensor.ByteSize() + _length_of_reference(tensor)
    return inline + sum(file.stat().st_size for file in files)


def _length_of_reference(tensor: TensorProto) -> int:
    """How many bytes lie where a reference says; 0 for any other tensor."""
    return int(tensor.external_data[0].value.split("/")[2]) if is_reference(tensor) else 0


def entries(tensor: TensorProto) -> dict[str, str]:
    """The keys and values that say where an external tensor lies.

    Raises:
        ExternalDataError: one of them is no text, which protobuf gives as bytes.
    """
    said = {entry.key: entry.value for entry in tensor.external_data}
    for key, value in said.items():
        if isinstance(key, bytes) or isinstance(value, bytes):
            raise ExternalDataError(f"tensor '{tensor.name}' is damaged: where it lies, {value!r}, is no text")
    return said


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


def read(tensor: TensorProto, base_dir: Path) -> bytes:
    """The bytes of an external tensor.

    Raises:
        ExternalDataError: as `locate`, or the file can not be read.
    """
    extent = locate(tensor, base_dir)
    try:
        with extent.path.open("rb") as file:
            file.seek(extent.offset)
            data = file.read(extent.length)
    except OSError as error:
        raise ExternalDataError(f"tensor '{tensor.name}': '{extent.path}' can not be read: {error.strerror}") from error
    if len(data) < extent.length:
        raise ExternalDataError(f"tensor '{tensor.name}': '{extent.path}' was cut off while it was read")
    return data


def _path(tensor: TensorProto, location: str, base_dir: Path) -> Path:
    """The file, symbolic links followed; neither its name nor a link may lead out of the model's folder."""
    if not location:
        raise ExternalDataError(f"tensor '{tensor.name}' is external and does not say in which file")
    folder = _resolved(base_dir, os.getcwd())
    if not {"/", os.sep}.intersection(location) and _is_plain_file(folder / location):
        return folder / location  # what most are like; there may be thousands
    try:
        path = (folder / location).resolve()
        found = path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long, a circle of links, no name at all
        path, found = folder, False
    lexical = Path(os.path.normpath(location))
    if lexical.is_absolute() or ".." in lexical.parts or not path.is_relative_to(folder):
        raise ExternalDataError(
            f"tensor '{tensor.name}' lies in {_brief(location)}, outside the model's folder '{base_dir}'"
        )
    if not found:
        raise ExternalDataError(
            f"tensor '{tensor.name}' lies in {_brief(location)}, and there is no such file in '{base_dir}': "
            "keep the data file beside the model"
        )
    return path


@lru_cache(maxsize=16)
def _resolved(folder: Path, where: str) -> Path:
    """The folder with its links followed; a relative one is meant from `where`."""
    return Path(where, folder).resolve()


def _is_plain_file(path: Path) -> bool:
    """Whether that is a file itself, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # none, or no name at all
        return False


def _number(tensor: TensorProto, said: dict[str, str], key: str) -> int:
    text = said.get(key, "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise ExternalDataError(
            f"tensor '{tensor.name}': its external data's {key} is {_brief(text)}, not a number of bytes"
        )
    return int(text)


def _brief(text: str) -> str:
    """The text in quotes; the beginning of one that is longer than any name."""
    return f"{text[:256]!r}..." if len(text) > 256 else repr(text)
