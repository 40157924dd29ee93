"""The weights of an `onnx_ir` model: as references in a ModelProto, and new ones as tensors of onnx_ir.

A tensor of onnx_ir may lie in memory, in a file, in a torch parameter, or be a function that nobody has called yet.
None is read before a fold needs it, and none that a fold leaves alone is read at all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx import TensorProto

from bnfold.errors import ExternalDataError, ModelError
from bnfold.model.external import is_reference
from bnfold.model.recipes import Recipe
from bnfold.model.references import THRESHOLD, Source, extent_of, in_pieces, location, referring, register
from bnfold.model.tensors import to_array

SAVES_BESIDE = tuple(int(part) for part in version("onnx_ir").split(".")[:2]) >= (1, 1)
"""Whether `onnx_ir.save` over a data file writes another one beside it first. Before 1.1 it empties the file, and what
is computed of its old bytes would end the process."""

WHOLE_BYTES = 8
"""Numbers of fewer bits are packed in a file, and one to a byte in an array."""


class TensorSource:
    """The bytes of a tensor of onnx_ir.

    Attributes:
        size: how many there are.
        name: what references call it.
        descriptor: None, there is no file that holds them from its start on.
    """

    descriptor = None

    def __init__(self, tensor: ir.TensorProtocol) -> None:
        """The bytes of `tensor`, which is read when they are asked for."""
        self._tensor = tensor
        self._held: npt.NDArray[np.uint8] | None = None
        self.size = int(tensor.nbytes)
        self.name = register(self)

    @property
    def is_in_a_file(self) -> bool:
        """Whether they lie in a file, so that what is computed of them can wait until it is written."""
        return isinstance(self._tensor, ir.ExternalTensor)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on.

        Raises:
            ExternalDataError: the file that they lie in can not be read.
            ModelError: the tensor has no values.
        """
        return self._bytes()[offset : offset + length].tobytes()

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """The same, one piece after the other."""
        return in_pieces(self, offset, length)

    def verify(self) -> None:
        """There is nothing to see: the tensor is the caller's."""

    def _bytes(self) -> npt.NDArray[np.uint8]:
        if self._held is None:
            try:
                self._held = _bytes_of(self._tensor)
            except (OSError, ValueError, TypeError, RuntimeError) as error:
                text = f"the values of tensor '{self._tensor.name}' can not be read: {error}"
                if self.is_in_a_file:
                    raise ExternalDataError(text) from error
                raise ModelError(
                    f"{text} (weights that are only declared are set by ONNXProgram.apply_weights)"
                ) from error
        return self._held


def _bytes_of(tensor: ir.TensorProtocol) -> npt.NDArray[np.uint8]:
    """A view where numpy has the bytes as the format wants them, else a copy."""
    if tensor.dtype.bitwidth < WHOLE_BYTES or sys.byteorder != "little":
        return np.frombuffer(tensor.tobytes(), np.uint8)
    return np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8)


def refuse_missing_file(tensor: ir.TensorProtocol) -> None:
    """See now that the file of an external tensor holds it: later, half of the work would be done.

    Raises:
        ExternalDataError: it does not.
    """
    if not isinstance(tensor, ir.ExternalTensor):
        return
    path, end = Path(tensor.path), (tensor.offset or 0) + (tensor.length or tensor.nbytes)
    if not path.is_file():
        raise ExternalDataError(f"tensor '{tensor.name}' lies in '{path}', which is no file; is base_dir right?")
    if path.stat().st_size < end:
        raise ExternalDataError(
            f"tensor '{tensor.name}' ends at byte {end} of '{path}', which is shorter: it is cut off"
        )


def as_proto(tensor: ir.TensorProtocol, name: str, sources: list[TensorSource]) -> TensorProto:
    """The tensor as a message; a large one, or one that lies in a file, as a reference.

    Args:
        tensor: any of onnx_ir's.
        name: what it is called.
        sources: takes what references need as long as they are used.

    Raises:
        ExternalDataError, ModelError: a small tensor can not be read.
    """
    refuse_missing_file(tensor)
    if tensor.dtype is ir.DataType.STRING:
        made = ir.serde.serialize_tensor(tensor)
        made.name = name
        return made
    made = TensorProto(name=name, data_type=int(tensor.dtype), dims=tensor.shape.numpy())
    if tensor.doc_string:
        made.doc_string = tensor.doc_string
    for key in sorted(tensor.metadata_props):
        made.metadata_props.add(key=key, value=tensor.metadata_props[key])
    source = TensorSource(tensor)
    if source.size < THRESHOLD:
        made.raw_data = source.read(0, source.size)
        return made
    sources.append(source)
    return referring(made, location(source.name, 0, source.size))


def from_proto(proto: TensorProto) -> ir.TensorProtocol:
    """A tensor of onnx_ir that holds what the message says.

    What is computed of a weight that lies in a file is computed when it is read, each time; everything else now: what
    lies in memory may be changed by its owner meanwhile, as torch does with its parameters.

    Raises:
        ExternalDataError, ModelError: what a reference refers to can not be read.
    """
    if proto.data_type == TensorProto.STRING:
        return ir.serde.deserialize_tensor(TensorProto.FromString(proto.SerializeToString()))
    dtype, shape = ir.DataType(proto.data_type), ir.Shape(proto.dims)
    if is_reference(proto) and _can_wait(extent_of(proto).source):
        held = _Held(proto)
        return ir.LazyTensor(held, dtype, shape, name=proto.name, doc_string=proto.doc_string or None)
    return _in_memory(proto)


class _Held:
    """A reference and what it refers to, so that it can be read at any time."""

    def __init__(self, proto: TensorProto) -> None:
        self._proto = TensorProto.FromString(proto.SerializeToString())
        self._source = extent_of(proto).source

    def __call__(self) -> ir.TensorProtocol:
        return _in_memory(self._proto)


def _can_wait(source: Source) -> bool:
    if not isinstance(source, Recipe) or not SAVES_BESIDE:
        return False
    base = source.base
    return isinstance(base, TensorSource) and base.is_in_a_file


def _in_memory(proto: TensorProto) -> ir.TensorProtocol:
    return ir.Tensor(
        to_array(proto, None),
        dtype=ir.DataType(proto.data_type),
        name=proto.name,
        doc_string=proto.doc_string or None,
        metadata_props={entry.key: entry.value for entry in proto.metadata_props} or None,
    )
