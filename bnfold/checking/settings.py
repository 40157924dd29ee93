"""What the caller of a check asks for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import isfinite

from bnfold.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """The options of `bnfold.checking.check`, where each is explained.

    Raises:
        UsageError: One of them makes no sense.
    """

    data: str | os.PathLike[str] | None
    seed: int
    draws: int
    rtol: float | None
    atol: float | None
    allow_vacuous: bool

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"the seed has to be 0 or more, not {self.seed}")
        if self.draws < 1:
            raise UsageError(f"a check needs at least one draw of inputs, not {self.draws}")
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if value is not None and not (isfinite(value) and value >= 0):
                raise UsageError(f"{name} has to be a finite number of 0 or more, not {value}")

    @property
    def tolerance_given(self) -> bool:
        """Whether the caller names the tolerance, so that none is derived."""
        return self.rtol is not None or self.atol is not None
