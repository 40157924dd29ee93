"""Writing a model: lossless and atomic. A killed process leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto

from bnfold.errors import TargetError
from bnfold.model.data_file import Sources, bring_data, externalize, internalize
from bnfold.model.forms import INLINE_LIMIT, Form, has_form, is_too_large, tensors_for_a_file
from bnfold.model.references import Range, Segment
from bnfold.model.skeleton import Skeleton
from bnfold.model.staging import Staged as Staged
from bnfold.model.staging import target_errors
from bnfold.model.streaming import segments, size_of
from bnfold.model.undisturbed import Closing, undisturbed


@contextmanager
def staged(
    model: ModelProto,
    target: str | os.PathLike[str],
    base_dir: Path | None,
    fresh: Collection[str] = (),
    origin: Skeleton | None = None,
    *,
    is_changed: bool = True,
    form: str = Form.AS_IT_CAME,
    had_data: bool = False,
) -> Iterator[Staged]:
    """Write the model beside `target` under a temporary name; `commit` puts it in place, leaving discards it.

    The target may be the file that the model is read from: the old file is read until the new one is whole.

    Args:
        model: the model; of one that was opened in place, large inline weights may be references.
        target: a file that may exist; a symbolic link is written through.
        base_dir: where the model's external data lies now.
        fresh: names of initializers that are new; of a model with external data, the large ones become external.
        origin: what the model was opened from in place; what did not change of it is copied.
        is_changed: whether the model is another one than it was; else the file is what came in, if it has the form.
        form: one of `Form`: where the weights go.
        had_data: the model came with external data, though all of it may have been replaced by what is new.

    Raises:
        TargetError: the place can not be written to, or can not take the model in this form.
        ModelError: the file that is copied from has changed meanwhile.
        ExternalDataError: a file of weights that is copied from can not be read.
        UsageError: there is no such form.
    """
    made = _Made(model, base_dir, fresh, origin, Form.called(form), had_data)
    with target_errors(target):
        place = _writable(target)
    discard = Closing()
    try:
        with target_errors(target):
            with undisturbed():
                work = Staged(place, is_copy=not is_changed and has_form(model, made.form))
                discard.close = work.discard
            content = _as_it_came(made, work) if work.is_copy else _changed(made, work)
            if work.data_file is not None and not _lies_where_it_is_named(target):
                raise TargetError(
                    f"'{target}' is a link into another folder, where nothing would find the weights beside the model; "
                    f"name the file itself, '{place}'"
                )
            work.write(content, is_whole=made.form is Form.INLINE or not (made.had_data or work.data_file))
            work.remarks += _other_names(place)
        yield work
    finally:
        discard()


def _writable(target: str | os.PathLike[str]) -> Path:
    """The place of a target behind symbolic links, at which there is nothing that a model can not replace.

    Raises:
        TargetError: there is.
    """
    place = Path(os.path.realpath(target))
    if _is_open_already(target):
        raise TargetError(f"'{target}' is what this process writes to already; name a file")
    if place.is_dir():
        raise TargetError(f"'{target}' is a folder; name a file in it")
    if place.exists() and not place.is_file():
        raise TargetError(f"'{target}' is a device or a pipe, which can not be replaced; name a file")
    if place.exists() and not os.access(place, os.W_OK):
        raise TargetError(f"'{target}' is read-only; name another file, or make it writable")
    return place


def _is_open_already(target: str | os.PathLike[str]) -> bool:
    """Whether it is a name for an open file, as /dev/stdout is: what a shell has sent there would be replaced."""
    ways = (os.path.realpath(os.path.dirname(os.path.abspath(target))), _link(target))
    return any(re.match(r"/proc/[^/]+/(task/[^/]+/)?fd(/|$)", way) for way in ways)


def _link(path: str | os.PathLike[str]) -> str:
    return os.fspath(os.readlink(path)) if os.path.islink(path) else ""


def _other_names(place: Path) -> list[str]:
    if not place.exists() or place.stat().st_nlink == 1:
        return []
    return [f"'{place}' is replaced under this name; under the others that it has (hard links) it stays what it was"]


def _lies_where_it_is_named(target: str | os.PathLike[str]) -> bool:
    """Whether a symbolic link, if the target is one, is to a file in its own folder."""
    return os.path.dirname(os.path.realpath(target)) == os.path.realpath(os.path.dirname(os.path.abspath(target)))


@dataclass(frozen=True)
class _Made:
    """What is to be written: the arguments of `staged`."""

    model: ModelProto
    base_dir: Path | None
    fresh: Collection[str]
    origin: Skeleton | None
    form: Form
    had_data: bool

    def tensors_for_a_file(self, model: ModelProto) -> list[TensorProto]:
        """Those of the model, or of a copy of it."""
        return tensors_for_a_file(model, self.fresh, self.form, had_data=self.had_data)


def _as_it_came(made: _Made, work: Staged) -> list[Segment]:
    bring_data(made.model, work, made.base_dir)
    if made.origin is not None:
        return [Range(made.origin.source, 0, made.origin.source.size)]
    return segments(made.model, None)


def _changed(made: _Made, work: Staged) -> list[Segment]:
    """The model's file, its large tensors where the form wants them."""
    if made.form is Form.INLINE:
        return _all_inline(made, work)
    model = made.model
    if made.tensors_for_a_file(model):
        model = _copied(model)
        externalize(made.tensors_for_a_file(model), work, made.base_dir)
    is_surprise = made.form is Form.AS_IT_CAME and not made.had_data
    if is_surprise and work.data_file is not None and is_too_large(made.model):
        work.remarks.append(
            f"the model does not fit into one protobuf file, which holds less than 2 GiB: "
            f"its weights are in '{work.data_file.name}'"
        )
    try:
        return segments(model, made.origin)
    except (ValueError, EncodeError) as error:
        raise TargetError(f"'{work.target}' can not be written: the graph itself is too large for protobuf") from error


def _all_inline(made: _Made, work: Staged) -> list[Segment]:
    model, sources = _copied(made.model), Sources(made.base_dir)
    internalize(model, sources)
    cause = None
    try:
        pieces = segments(model, made.origin)
        if size_of(pieces) <= INLINE_LIMIT:
            return pieces
    except (ValueError, EncodeError) as error:
        cause = error
    raise TargetError(
        f"'{work.target}' can not be written with all weights in it: one protobuf file holds less than 2 GiB; "
        "ask for external data"
    ) from cause


def _copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy
