"""What is done with a file that somebody made, up to the graph: opened in place, written again, and judged.

protobuf is the judge: where it parses the bytes the reader has to give the same model, and where it does not, a
`BnfoldError`. An unchanged model is written byte for byte, and a changed one as that. No file outside of the model's
folder is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto

from bnfold.errors import BnfoldError
from bnfold.model import skeleton
from bnfold.model.container import open_model
from bnfold.model.data_file import Sources, internalize
from bnfold.model.mapped_file import open_skeleton, skeleton_of
from bnfold.model.references import Range, Segment, materialized
from bnfold.model.skeleton import Skeleton
from bnfold.model.streaming import segments
from fuzz.watched import Watch

THRESHOLDS = (16, 200)
"""From how many bytes on a tensor is a reference, instead of 4096: the models are small."""

IN_A_FILE = 8
"""One of so many is read from a file, which takes longer than all the rest."""


class Reader:
    """The target.

    Args:
        folder: where models lie, with the one data file that there is.
        watch: what is opened.
    """

    def __init__(self, folder: Path, watch: Watch) -> None:
        self.folder = folder
        self.watch = watch
        self.runs = 0

    def __call__(self, data: bytes) -> None:
        """Read a file.

        Raises:
            AssertionError: it is not read, or not written, as it has to be.
            Exception: anything else is a fault as well.
        """
        self.runs += 1
        skeleton.THRESHOLD = THRESHOLDS[self.runs % len(THRESHOLDS)]  # type: ignore[attr-defined]
        with self.watch:
            opened = self._opened(data)
            assert (opened is None) == (not data or _parsed(data) is None), "protobuf says something else"
            if opened is not None:
                _judge(opened, data)
                self._open_model(data)

    def _opened(self, data: bytes) -> Skeleton | None:
        try:
            if self.runs % IN_A_FILE:
                return skeleton_of(data)
            place = self.folder / "model.onnx"
            place.unlink(missing_ok=True)
            place.write_bytes(data)
            return open_skeleton(place)
        except BnfoldError:
            return None

    def _open_model(self, data: bytes) -> None:
        """As every command does; what lies in other files is brought in."""
        with suppress(BnfoldError):
            container = open_model(data, base_dir=self.folder, in_place=True)
            model = ModelProto()
            model.CopyFrom(container.proto)
            sources = Sources(self.folder)
            internalize(model, sources)
            ModelProto.FromString(written(segments(model, container.origin)))


def _judge(opened: Skeleton, data: bytes) -> None:
    parsed = _parsed(data)
    assert parsed is not None
    assert _same(materialized(opened.proto), parsed), "another model than protobuf reads"
    assert written(segments(opened.proto, opened)) == data, "an unchanged model is written as another one"
    changed = ModelProto()
    changed.CopyFrom(opened.proto)
    changed.graph.node.add(op_type="Relu", input=["x"], output=["fresh"])
    changed.graph.initializer.add(name="fresh", data_type=1, dims=[1], raw_data=b"1234")
    expected = materialized(changed)
    assert _same(ModelProto.FromString(written(segments(changed, opened))), expected), "a changed model is lost"


def written(pieces: Sequence[Segment]) -> bytes:
    """The file that is made of segments."""
    return b"".join(piece.read() if isinstance(piece, Range) else piece for piece in pieces)


def _parsed(data: bytes) -> ModelProto | None:
    try:
        return ModelProto.FromString(data)
    except DecodeError:
        return None


def _same(one: ModelProto, other: ModelProto) -> bool:
    return bool(one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True))
