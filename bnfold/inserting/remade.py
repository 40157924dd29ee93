"""A model that was made from another one, and how it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from onnx import ModelProto

from bnfold.model.container import Container
from bnfold.model.savable import Savable
from bnfold.model.writing import Staged, staged


@dataclass(frozen=True, eq=False, kw_only=True)
class Remade(Savable):
    """A new model, and the one that it came from.

    Attributes:
        container: the model as it came in.
        model: the new model; weights that were external still are, relative to the same folder.
        remarks: what a person should know besides.
        fresh: the names of the initializers with new numbers.
    """

    container: Container
    model: ModelProto
    remarks: tuple[str, ...] = ()
    fresh: frozenset[str] = frozenset()

    @contextmanager
    def staged(self, path: str | os.PathLike[str]) -> Iterator[Staged]:
        """As `save`, in two steps: the file is there to be looked at, and in its place only after ``commit()``."""
        with staged(self.model, path, self.container.base_dir, self.fresh) as work:
            yield work
