"""What is written in one step, or in two, with a look at the file in between."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from onnx import ModelProto

from bnfold.errors import TargetError
from bnfold.model.container import Container
from bnfold.model.forms import Form
from bnfold.model.writing import Staged, staged


class Savable(ABC):
    """A result that holds a model."""

    def save(self, path: str | os.PathLike[str], form: str = Form.AS_IT_CAME) -> tuple[str, ...]:
        """Write the model: lossless, and in one step. Where nothing was changed, the file is what came in.

        The path may be that of the model as it came in, which is replaced.

        Args:
            path: where; old data files are never written over.
            form: "external": every tensor of at least 1024 bytes is in one data file beside the model. "inline": every
                tensor is in the model's own file. "as-it-came": as it was; a model that passes 2 GiB gets a data file.

        Returns:
            What a person should know of the files, in sentences.

        Raises:
            TargetError: the place can not be written to, or the model does not fit into one file.
            ExternalDataError: a file of weights that has to be copied can not be read.
            UsageError: there is no such form.
        """
        with self.staged(path, form) as work:
            work.commit()
        return tuple(work.remarks)

    def staged(self, path: str | os.PathLike[str], form: str = Form.AS_IT_CAME) -> AbstractContextManager[Staged]:
        """As `save`, in two steps: the file is there to be looked at, and in its place only after ``commit()``."""
        return _held(self, self._staged(path, form))

    @abstractmethod
    def _staged(self, path: str | os.PathLike[str], form: str) -> AbstractContextManager[Staged]:
        """The same, by what this result knows of its model."""


@contextmanager
def _held(result: Savable, staging: AbstractContextManager[Staged]) -> Iterator[Staged]:
    """The same, in a frame that holds the result, and with it what references in its model lead to."""
    with staging as work:
        yield work


@contextmanager
def staged_from(
    container: Container,
    model: ModelProto,
    path: str | os.PathLike[str],
    form: str,
    fresh: Collection[str],
    *,
    is_changed: bool = True,
) -> Iterator[Staged]:
    """Stage a model that was made from another one, whose weights are never written over.

    Args:
        container: the model that it was made from.
        model: what was made.
        path: where it goes.
        form: one of `Form`.
        fresh: names of initializers that are new.
        is_changed: whether it is another model than the one it was made from.

    Raises:
        TargetError, ModelError, ExternalDataError, UsageError: as `bnfold.model.writing.staged`.
    """
    data = container.data_files
    if any(Path(path).exists() and file.samefile(path) for file in data):
        raise TargetError(f"'{path}' holds the weights of {container.name}; give another output")
    staging = staged(
        model,
        path,
        container.base_dir,
        fresh,
        container.origin,
        is_changed=is_changed,
        form=form,
        had_data=bool(data),
    )
    with staging as work:
        container.verify()
        if container.path is not None and os.path.realpath(container.path) == str(work.target):
            work.replaces = container.own
            if not work.is_copy:
                work.remarks += [_left(file) for file in data if file != work.data_file]
        yield work


def _left(file: Path) -> str:
    return (
        f"'{file}' held weights of the model that is replaced, and stays, though the new one has no use for it: "
        "remove it if no other model refers to it"
    )
