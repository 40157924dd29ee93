"""What the caller of a check asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

from bnfold.errors import UsageError

ALL = "all"
"""In place of a provider: every one that can run the models, and across."""

REFERENCES = ("float64",)

DataPath: TypeAlias = str | os.PathLike[str]
Progress: TypeAlias = Callable[[str], None]


def no_progress(doing: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of `bnfold.check`, where each is explained.

    Raises:
        UsageError: One of them makes no sense.
    """

    provider: str = "cpu"
    data: tuple[DataPath, ...] = ()
    shapes: Sequence[Mapping[str, int]] = ()
    seed: int = 0
    draws: int = 3
    rtol: float | None = None
    atol: float | None = None
    allow_vacuous: bool = False
    optimized: bool = False
    tf32: bool = False
    locate: bool = False
    reference: str | None = None
    progress: Progress = no_progress

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"the seed has to be 0 or more, not {self.seed}")
        if self.draws < 1:
            raise UsageError(f"a check needs at least one draw of inputs, not {self.draws}")
        if self.data and self.shapes:
            raise UsageError("shapes are for inputs that are drawn; the data have their own")
        if self.reference is not None and self.reference not in REFERENCES:
            raise UsageError(f"the reference can be {' or '.join(REFERENCES)}, not {self.reference!r}")
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if value is not None and not (isfinite(value) and value >= 0):
                raise UsageError(f"{name} has to be a finite number of 0 or more, not {value}")

    @property
    def tolerance_given(self) -> bool:
        """Whether the caller names the tolerance, so that none is derived."""
        return self.rtol is not None or self.atol is not None
