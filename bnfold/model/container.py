"""Whatever the caller has, a path, bytes or a ModelProto, as a model; its weights stay where they are."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from bnfold.errors import ExternalDataError, ModelError, UsageError
from bnfold.model.external import external_tensors, locate
from bnfold.model.files import Opened
from bnfold.model.mapped_file import open_skeleton, skeleton_of, telling
from bnfold.model.skeleton import Skeleton
from bnfold.values import cached_property

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch.onnx import ONNXProgram

    from bnfold.model.foreign import Foreign

    M = TypeVar("M", default=ModelProto)
    F = TypeVar("F", ir.Model, ONNXProgram)
else:
    M, F = TypeVar("M"), TypeVar("F")  # typing_extensions is none of bnfold's dependencies

ProtoLike: TypeAlias = str | os.PathLike[str] | bytes | ModelProto
ModelLike: TypeAlias = "ProtoLike | ir.Model | ONNXProgram"


@dataclass(frozen=True, eq=False)
class Container:
    """A model as it came in.

    Attributes:
        proto: the parsed model, external weights still in their files; not to be changed. Where there is an origin,
            large weights that are inline are references to it.
        base_dir: the folder that external locations are relative to, or None.
        raw: the bytes it was parsed from; None when the caller gave a ModelProto, or where there is an origin.
        path: the file it was read from, or None.
        origin: the file or the bytes, opened in place; None where all was parsed, or the caller gave a ModelProto.
        own: the file it was read from as it was then; None where there is none, or a pipe.
        foreign: the model of another library that the caller gave, whose weights are references; None otherwise.
    """

    proto: ModelProto
    base_dir: Path | None = None
    raw: bytes | None = None
    path: Path | None = None
    origin: Skeleton | None = None
    own: Opened | None = None
    foreign: Foreign | None = None

    @property
    def start(self) -> ModelProto:
        """What a fold begins with: the model, and where another library's is to be changed, nodes marked as its."""
        return self.proto if self.foreign is None else self.foreign.marked

    def finished(self, model: ModelProto) -> ModelProto:
        """What was made of `start`, without the marks."""
        return model if self.foreign is None else self.foreign.unmarked(model)

    @property
    def is_in_files(self) -> bool:
        """Whether weights lie in files that are read in place, and what is computed of them can wait until written."""
        return self.origin is not None or (self.foreign is not None and self.foreign.has_files)

    @property
    def own_size(self) -> int:
        """How many bytes it takes without the files of its weights."""
        if self.origin is not None:
            return self.origin.source.size
        sources = () if self.foreign is None else self.foreign.reading.sources
        return self.proto.ByteSize() + sum(source.size for source in sources)

    @property
    def name(self) -> str:
        """What to call the model in a message."""
        return f"'{self.path}'" if self.path else "the model"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the model was read from: its own, and those of its weights."""
        return self.data_files if self.path is None else (self.path, *self.data_files)

    @cached_property
    def size(self) -> int:
        """How many bytes it takes, and the files of its weights."""
        return self.own_size + sum(file.stat().st_size for file in self.data_files)

    @cached_property
    def external(self) -> tuple[TensorProto, ...]:
        """The tensors whose values are in another file."""
        return tuple(external_tensors(self.proto))

    @cached_property
    def data_files(self) -> tuple[Path, ...]:
        """The files that hold the model's external weights."""
        folder = self.base_dir or Path()
        return tuple(dict.fromkeys(locate(tensor, folder).path for tensor in self.external))

    @cached_property
    def opened(self) -> tuple[Opened, ...]:
        """The same as they were when this was asked first, which is when the model is opened."""
        return tuple(Opened.now(file) for file in self.data_files)

    def verify(self) -> None:
        """See that the model's external weights are still those that it was opened with.

        Raises:
            ModelError: they are not.
        """
        for file in self.opened:
            file.verify()


def open_model(
    model: ModelLike, *, base_dir: str | os.PathLike[str] | None = None, in_place: bool = False
) -> Container:
    """Open a model without changing it.

    Args:
        model: a path, the bytes of a file, a ModelProto, an onnx_ir.Model or a torch.onnx.ONNXProgram.
        base_dir: where external data lies; a path's own folder unless said otherwise. Tensors of onnx_ir know it.
        in_place: leave large inline weights where they are: `Container.origin`, or `Container.foreign`.

    Raises:
        ModelError: it can not be read, or is no ONNX model.
        ExternalDataError: a file that holds weights is missing, too short or out of bounds.
        UsageError: `model` is none of these.
    """
    folder = None if base_dir is None else Path(base_dir)
    container = _opened_in_place(model, folder) if in_place else _opened(model, folder)
    _refuse_what_is_no_model(container)
    _refuse_missing_data(container)
    if container.opened and container.own is not None:
        container.own.verify()  # the graph of one export and the weights of another make no model
    return container


def _opened(model: ModelLike, base_dir: Path | None) -> Container:
    if isinstance(model, ModelProto):
        return Container(model, base_dir)
    if (foreign := foreign_of(model)) is not None:
        return Container(foreign.whole(), base_dir)
    if isinstance(model, bytes):
        return Container(_parsed(model, "the model"), base_dir, model)
    if isinstance(model, str | os.PathLike):
        path = Path(model)
        raw, own = _read(path)
        return Container(_parsed(raw, f"'{path}'"), base_dir or path.parent, raw, path, own=own)
    raise UsageError(
        "a model is a path, bytes, an onnx.ModelProto, an onnx_ir.Model or a torch.onnx.ONNXProgram, not "
        f"{type(model).__name__}"
    )


def _opened_in_place(model: ModelLike, base_dir: Path | None) -> Container:
    if isinstance(model, bytes):
        origin = skeleton_of(model)
        return Container(origin.proto, base_dir, origin=origin)
    if isinstance(model, str | os.PathLike):
        path, origin = Path(model), open_skeleton(model)
        source = origin.source
        own = Opened(path, os.fstat(source.descriptor)) if source.descriptor is not None else None
        return Container(origin.proto, base_dir or path.parent, path=path, origin=origin, own=own)
    if (foreign := foreign_of(model)) is not None:
        return Container(foreign.reading.proto, base_dir, foreign=foreign)
    return _opened(model, base_dir)


def as_proto(model: ModelProto | ir.Model | ONNXProgram) -> ModelProto:
    """The model as a ModelProto that holds all weights which are not in files of its own.

    Raises:
        ModelError, ExternalDataError: a weight can not be read.
        UsageError: `model` is none of these.
    """
    return _opened(model, None).proto


def foreign_of(model: object) -> Foreign | None:
    """The model of another library that an object is or holds; None where it is neither.

    Raises:
        ModelError, ExternalDataError: it is one, and can not be read.
    """
    held = getattr(model, "model", None) if isinstance(model, _class_of("torch.onnx", "ONNXProgram")) else model
    if not isinstance(held, _class_of("onnx_ir", "Model")):
        return None
    from bnfold.model.foreign import Foreign

    return Foreign(model, held)


def _class_of(module: str, name: str) -> tuple[type[Any], ...]:
    """A class of a library, if the library has been imported: else nobody can have an object of it."""
    found = getattr(sys.modules.get(module), name, None)
    return (found,) if isinstance(found, type) else ()


def _read(path: Path) -> tuple[bytes, Opened | None]:
    with telling(path), path.open("rb") as file:
        own = Opened(path, os.fstat(file.fileno())) if path.is_file() else None
        raw = file.read()
        if own is not None:
            own.verify(os.fstat(file.fileno()))
        return raw, own


def _parsed(raw: bytes, name: str) -> ModelProto:
    if not raw:
        raise ModelError(f"{name} is empty; was the file written to the end?")
    try:
        return ModelProto.FromString(raw)
    except DecodeError as error:
        raise ModelError(f"{name} is not an ONNX model, or is cut off: it can not be parsed as protobuf") from error


def _refuse_what_is_no_model(container: Container) -> None:
    """Protobuf parses many a file that is no model: look for what every model has."""
    proto = container.proto
    if not proto.HasField("graph"):
        raise ModelError(f"{container.name} is not an ONNX model: it has no graph")
    if proto.ir_version < 1:
        raise ModelError(f"{container.name} is not an ONNX model: it states no IR version")
    if proto.ir_version >= 3 and not proto.opset_import:
        raise ModelError(f"{container.name} imports no opset: it is cut off, or was never finished")


def _refuse_missing_data(container: Container) -> None:
    """Look at each file of weights now: later, half of the work would be done."""
    if container.external and container.base_dir is None:
        raise ExternalDataError(
            f"tensor '{container.external[0].name}' lies in a file of its own, and the model was given without a "
            "folder: give a path, or base_dir="
        )
    for tensor in container.external:
        locate(tensor, container.base_dir or Path())
