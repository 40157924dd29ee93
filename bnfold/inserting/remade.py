"""A model that was made from another one, and how it is written."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic

from onnx import ModelProto

from bnfold.model.container import Container, M, as_proto
from bnfold.model.savable import Savable, staged_from
from bnfold.model.writing import Staged


@dataclass(frozen=True, eq=False, kw_only=True)
class Remade(Savable, Generic[M]):
    """A new model, and the one that it came from.

    Attributes:
        container: the model as it came in.
        model: the new model, of the kind that came in; weights that were external still are, relative to the same
            folder.
        remarks: what a person should know besides.
        fresh: the names of the initializers with new numbers.
    """

    container: Container
    model: M
    remarks: tuple[str, ...] = ()
    fresh: frozenset[str] = frozenset()

    def _staged(self, path: str | os.PathLike[str], form: str) -> AbstractContextManager[Staged]:
        model: Any = self.model
        model = model if isinstance(model, ModelProto) else as_proto(model)
        return staged_from(self.container, model, path, form, self.fresh)
