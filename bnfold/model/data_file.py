"""The data file beside a model: tensors into it, and out of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from onnx import ModelProto, TensorProto, numpy_helper

from bnfold.errors import TargetError
from bnfold.model.external import entries, external_tensors, is_external, is_reference, locate
from bnfold.model.mapped_file import open_source
from bnfold.model.references import THRESHOLD, Range, Segment, Source, extent_of, location
from bnfold.model.staging import Staged
from bnfold.model.sweeping import is_claimed, sweep
from bnfold.model.temporary import Temporary
from bnfold.model.tensors import to_array

ALIGNMENT = 4096
"""Tensors in a data file start at a page, so that runtimes can map them."""

CHUNK = 1 << 24
"""How many bytes of two files are compared at a time."""

PATIENCE, PAUSE = 60.0, 0.05
"""Seconds that are waited for another process at most, and between two looks at what it does."""


def externalize(tensors: list[TensorProto], work: Staged, base_dir: Path | None) -> None:
    """Write the tensors to one data file and let them refer to it.

    Args:
        tensors: of a copy of the model: inline, references, or external.
        work: gets the file.
        base_dir: where the external ones lie now.

    Raises:
        ExternalDataError, ModelError: a file that is copied from is not what it was.
        OSError: the data file can not be written.
    """
    for tensor in tensors:
        _make_raw(tensor)
    layout = list(_placed(tensors, Sources(base_dir)))
    work.data_file = _settle(work.write_data(_padded(layout)), work)
    for place in layout:
        _refer(place, work.data_file.name)


def internalize(model: ModelProto, sources: Sources) -> None:
    """Bring external tensors into the model, the large ones as references to the files in which they lie.

    Args:
        model: is changed.
        sources: the files; to be held for as long as the references are used.

    Raises:
        ExternalDataError: a file that holds weights is missing, too short or out of bounds.
    """
    for tensor in external_tensors(model):
        extent = sources.extent_of(tensor)
        del tensor.external_data[:]
        if extent.length < THRESHOLD:
            tensor.ClearField("data_location")
            tensor.raw_data = extent.read()
        else:
            place = location(extent.source.name, extent.offset, extent.length)
            tensor.external_data.add(key="location", value=place)


def bring_data(model: ModelProto, work: Staged, base_dir: Path | None) -> None:
    """Copy the data files of an unchanged model to the target's folder, under the names that the model gives them.

    Raises:
        TargetError: a file of that name holds other data.
        ExternalDataError, ModelError: a file that is copied from is not what it was.
        OSError: one can not be written.
    """
    if base_dir is None or base_dir.resolve() == work.target.parent:
        return
    files = {entries(tensor)["location"]: locate(tensor, base_dir).path for tensor in external_tensors(model)}
    for name, path in files.items():
        _bring(path, work.target.parent / os.path.normpath(name), work)


def _bring(path: Path, destination: Path, work: Staged) -> None:
    if _waited_for(destination, path, work):
        return
    if destination.exists():
        raise TargetError(f"'{destination}' exists and holds other data; write to another folder")
    destination.parent.mkdir(parents=True, exist_ok=True)
    source = open_source(path)
    made = work.write_data([Range(source, 0, source.size)])
    if not work.place_data(made, destination):
        made.close()
        _bring(path, destination, work)  # somebody else was quicker


def _waited_for(place: Path, content: Path, work: Staged) -> bool:
    """As `_found`; of a file that somebody else is writing it is waited for what becomes of it.

    Raises:
        TargetError: that takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    while is_claimed(place, work.target.parent):
        if time.monotonic() > deadline:
            raise TargetError(f"'{place}' is being written by another process; do it again when that has ended")
        time.sleep(PAUSE)
        sweep(work.target.parent)
    return _found(place, content, work)


class Sources:
    """The data files of a model, each opened once and for as long as this is held.

    Args:
        base_dir: the folder that external locations are relative to.
    """

    def __init__(self, base_dir: Path | None) -> None:
        self._base_dir = base_dir or Path()
        self._opened: dict[Path, Source] = {}

    def extent_of(self, tensor: TensorProto) -> Range:
        """Where an external tensor's bytes lie.

        Raises:
            ExternalDataError: as `bnfold.model.external.locate`.
        """
        path, offset, length = locate(tensor, self._base_dir)
        if path not in self._opened:
            self._opened[path] = open_source(path)
        return Range(self._opened[path], offset, length)


class _Placed(NamedTuple):
    """A tensor and its place in the data file.

    Attributes:
        tensor: the tensor.
        origin: where its bytes lie now; None where it holds them itself.
        offset: where they start in the data file.
        length: how many there are.
    """

    tensor: TensorProto
    origin: Range | None
    offset: int
    length: int


def _placed(tensors: Iterable[TensorProto], sources: Sources) -> Iterator[_Placed]:
    """The tensors one behind the other."""
    end = 0
    for tensor in tensors:
        origin = sources.extent_of(tensor) if is_external(tensor) else None
        if is_reference(tensor):
            origin = extent_of(tensor)
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        length = len(tensor.raw_data) if origin is None else origin.length
        end = offset + length
        yield _Placed(tensor, origin, offset, length)


def _padded(layout: Iterable[_Placed]) -> Iterator[Segment]:
    """What the data file consists of, one tensor at a time."""
    end = 0
    for place in layout:
        if place.offset > end:
            yield bytes(place.offset - end)
        yield place.tensor.raw_data if place.origin is None else place.origin
        end = place.offset + place.length


def _make_raw(tensor: TensorProto) -> None:
    """Give a tensor with typed fields (``float_data``, ...) the bytes that an external one has."""
    if is_external(tensor) or is_reference(tensor) or tensor.raw_data:
        return
    raw = numpy_helper.from_array(to_array(tensor, None)).raw_data
    for name in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(name)
    tensor.raw_data = raw


def _settle(made: Temporary, work: Staged) -> Path:
    """Give the data file its name. A file that another model may be using is never written over.

    A model and its data file can not be replaced in one step, so a new model never refers to a name that the old one
    may refer to: an equal file is used as it is, a different one makes the new file take the next free name.
    """
    number = 0
    while True:
        suffix = f".{number}.data" if number else ".data"
        final = work.target.with_name(work.target.name + suffix)
        if work.place_data(made, final):
            return final
        if _found(final, made.path, work):
            made.close()
            return final
        number += 1


def _found(place: Path, content: Path, work: Staged) -> bool:
    """Whether there is a file with that content that is there to stay: nobody may be about to take it back."""
    try:
        state = place.stat()
        return (
            not is_claimed(place, work.target.parent)
            and _same_content(place, content)
            and os.path.samestat(place.stat(), state)  # a data file that is taken back goes before its claim
        )
    except FileNotFoundError:
        return False


def _same_content(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(CHUNK):
            if chunk != second.read(CHUNK):
                return False
    return True


def _refer(place: _Placed, name: str) -> None:
    """Point the tensor at its bytes; keys that bnfold does not know (a checksum) stay, the bytes are the same."""
    tensor = place.tensor
    if is_reference(tensor):
        tensor.ClearField("external_data")
    fresh = {"location": name, "offset": str(place.offset), "length": str(place.length)}
    for entry in tensor.external_data:
        entry.value = fresh.pop(entry.key, entry.value)
    for key, value in fresh.items():
        tensor.external_data.add(key=key, value=value)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
