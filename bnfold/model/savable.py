"""What is written in one step, or in two, with a look at the file in between."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from bnfold.model.writing import Staged


class Savable(ABC):
    """A result that holds a model."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model: lossless, and in one step. Where nothing was changed, the file is what came in.

        Raises:
            TargetError: the place can not be written to.
            ExternalDataError: a file of weights that has to be copied can not be read.
        """
        with self.staged(path) as work:
            work.commit()

    @abstractmethod
    def staged(self, path: str | os.PathLike[str]) -> AbstractContextManager[Staged]:
        """As `save`, in two steps: the file is there to be looked at, and in its place only after ``commit()``."""
