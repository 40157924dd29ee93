"""Writing a model: lossless and atomic. A killed process leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto

from bnfold.errors import TargetError
from bnfold.model.copying import write
from bnfold.model.external import Extent, entries, external_tensors, is_external, is_reference, locate
from bnfold.model.graph import scope_protos
from bnfold.model.references import Range, Segment, extent_of
from bnfold.model.skeleton import Skeleton
from bnfold.model.streaming import segments

EXTERNAL_THRESHOLD = 1024
"""New tensors of at least this many bytes go to the data file of a model that has one; onnx.save's own threshold."""

INLINE_LIMIT = 2**31 - 2**20
"""Protobuf can not hold 2 GiB; beyond this, less a margin for the graph itself, weights go to a file."""

ALIGNMENT = 4096
"""Tensors in a data file start at a page, so that runtimes can map them."""

CHUNK = 1 << 24
"""How many bytes are copied at a time."""


@dataclass
class Staged:
    """Files that are written and not yet in place.

    Attributes:
        model: the temporary file that holds the model; it can be read and run.
        target: where it will be.
        data: files beside the target that the model refers to and that this write made.
    """

    model: Path
    target: Path
    data: list[Path] = field(default_factory=list)

    def commit(self) -> None:
        """Put the model in its place, in one step.

        Raises:
            TargetError: the place can not be written to.
        """
        with _target_errors(self.target):
            os.replace(self.model, self.target)
            _flush_folder(self.target.parent)

    def discard(self) -> None:
        """Remove what is not in place. A model that has left its temporary name is, and needs its data."""
        if self.model.exists():
            for path in (*self.data, self.model):
                path.unlink(missing_ok=True)


@contextmanager
def staged(
    model: ModelProto,
    target: str | os.PathLike[str],
    base_dir: Path | None,
    fresh: Collection[str] = (),
    origin: Skeleton | None = None,
    *,
    is_changed: bool = True,
) -> Iterator[Staged]:
    """Write the model beside `target` under a temporary name; `commit` puts it in place, leaving discards it.

    Args:
        model: the model; of one that was opened in place, large inline weights may be references.
        target: a file that may exist; a symbolic link is written through.
        base_dir: where the model's external data lies now.
        fresh: names of initializers that are new; of a model with external data, the large ones become external.
        origin: what the model was opened from in place; what did not change of it is copied.
        is_changed: whether the model is another one than it was; else the file is what came in.

    Raises:
        TargetError: the place can not be written to.
        ModelError: the file that is copied from has changed meanwhile.
    """
    with _target_errors(target):
        place = Path(os.path.realpath(target))
        if place.is_dir():
            raise TargetError(f"'{target}' is a folder; name a file in it")
        if place.exists() and not place.is_file():
            raise TargetError(f"'{target}' is a device or a pipe, which can not be replaced; name a file")
        work = Staged(_reserve(place), place)
    try:
        with _target_errors(target):
            content = _changed(model, work, base_dir, fresh, origin) if is_changed else _as_it_came(model, origin)
            if not is_changed:
                _bring_data(model, work, base_dir)
            _write(work.model, content)
            _take_mode(work.model, place)
        yield work
    finally:
        with suppress(OSError):
            work.discard()


@contextmanager
def _target_errors(target: str | os.PathLike[str]) -> Iterator[None]:
    """Say what the operating system said, in a sentence."""
    try:
        yield
    except OSError as error:
        raise TargetError(f"'{target}' can not be written: {error.strerror or error}") from error


def _as_it_came(model: ModelProto, origin: Skeleton | None) -> list[Segment]:
    if origin is not None:
        return [Range(origin.source, 0, origin.source.size)]
    return segments(model, None)


def _reserve(place: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{place.name[:32]}.", suffix=".tmp", dir=place.parent)
    os.close(handle)
    return Path(name)


def _write(path: Path, content: list[Segment]) -> None:
    with path.open("wb") as file:
        write(file, content)
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a rename outlast a power cut, where folders can be opened (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _take_mode(made: Path, place: Path) -> None:
    """The permissions of the file that is replaced, else those that a new file gets; mkstemp's own are 0600."""
    if place.exists():
        made.chmod(stat.S_IMODE(place.stat().st_mode))
        return
    mask = os.umask(0)
    os.umask(mask)
    made.chmod(0o666 & ~mask)


def _changed(
    model: ModelProto, work: Staged, base_dir: Path | None, fresh: Collection[str], origin: Skeleton | None
) -> list[Segment]:
    """The model's file, its large tensors moved to a data file if it has one or needs one."""
    moved = _tensors_for_a_file(model, fresh)
    if moved:
        copy = ModelProto()
        copy.CopyFrom(model)
        model = copy
        _externalize(_tensors_for_a_file(model, fresh), work, base_dir)
    try:
        return segments(model, origin)
    except (ValueError, EncodeError) as error:
        raise TargetError(f"'{work.target}' can not be written: the graph itself is too large for protobuf") from error


def _tensors_for_a_file(model: ModelProto, fresh: Collection[str]) -> list[TensorProto]:
    """External ones, large new ones beside them, and every large one where the model would not fit otherwise."""
    external = list(external_tensors(model))
    large = [t for t in _initializers(model) if not is_external(t) and _inline_bytes(t) >= EXTERNAL_THRESHOLD]
    if sum(map(_inline_bytes, large)) > INLINE_LIMIT:
        return external + large
    return external + [tensor for tensor in large if tensor.name in fresh] if external else []


def _inline_bytes(tensor: TensorProto) -> int:
    return extent_of(tensor).length if is_reference(tensor) else len(tensor.raw_data)


def _initializers(model: ModelProto) -> Iterator[TensorProto]:
    for scope in scope_protos(model):
        yield from getattr(scope, "initializer", ())


def _externalize(tensors: list[TensorProto], work: Staged, base_dir: Path | None) -> None:
    """Write the tensors to one data file and let them refer to it."""
    staging = _reserve(work.target.with_name(f"{work.target.name}.data"))
    work.data.append(staging)
    with staging.open("wb") as file:
        extents = [_append(file, tensor, base_dir) for tensor in tensors]
        _flush(file)
    _take_mode(staging, work.target)
    final = _settle(staging, work)
    for tensor, extent in zip(tensors, extents, strict=True):
        _refer(tensor, final.name, extent)


def _append(file: BinaryIO, tensor: TensorProto, base_dir: Path | None) -> tuple[int, int]:
    """Copy a tensor's bytes to the end of the file; (offset, length)."""
    offset = -(-file.tell() // ALIGNMENT) * ALIGNMENT
    file.write(b"\0" * (offset - file.tell()))
    if is_external(tensor):
        _copy_range(locate(tensor, base_dir or Path()), file)
    elif is_reference(tensor):
        write(file, [extent_of(tensor)])
    else:
        file.write(tensor.raw_data)
    return offset, file.tell() - offset


def _copy_range(extent: Extent, file: BinaryIO) -> None:
    with extent.path.open("rb") as source:
        source.seek(extent.offset)
        left = extent.length
        while left:
            chunk = source.read(min(CHUNK, left))
            if not chunk:
                raise TargetError(f"'{extent.path}' became shorter while it was read")
            file.write(chunk)
            left -= len(chunk)


def _settle(staging: Path, work: Staged) -> Path:
    """Give the data file its name. A file that another model may be using is never written over.

    A model and its data file can not be replaced in one step, so a new model never refers to a name that the old one
    may refer to: an equal file is used as it is, a different one makes the new file take the next free name.
    """
    number = 0
    while True:
        suffix = f".{number}.data" if number else ".data"
        final = work.target.with_name(work.target.name + suffix)
        if not final.exists():
            os.replace(staging, final)
            work.data[:] = [final]
            return final
        if _same_content(final, staging):
            staging.unlink()
            work.data.clear()
            return final
        number += 1


def _same_content(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(CHUNK):
            if chunk != second.read(CHUNK):
                return False
    return True


def _refer(tensor: TensorProto, location: str, extent: tuple[int, int]) -> None:
    """Point the tensor at its bytes; keys that bnfold does not know (a checksum) stay, the bytes are the same."""
    fresh = {"location": location, "offset": str(extent[0]), "length": str(extent[1])}
    for entry in tensor.external_data:
        entry.value = fresh.pop(entry.key, entry.value)
    for key, value in fresh.items():
        tensor.external_data.add(key=key, value=value)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL


def _bring_data(model: ModelProto, work: Staged, base_dir: Path | None) -> None:
    """Copy the data files of an unchanged model to the target's folder, under the names that the model gives them."""
    if base_dir is None or base_dir.resolve() == work.target.parent:
        return
    files = {entries(tensor)["location"]: locate(tensor, base_dir).path for tensor in external_tensors(model)}
    for location, path in files.items():
        destination = work.target.parent / os.path.normpath(location)
        if destination.exists() and _same_content(destination, path):
            continue
        if destination.exists():
            raise TargetError(f"'{destination}' exists and holds other data; write to another folder")
        destination.parent.mkdir(parents=True, exist_ok=True)
        reserved = _reserve(destination)
        work.data.append(reserved)
        shutil.copyfile(path, reserved)
        os.replace(reserved, destination)
        work.data[-1] = destination
