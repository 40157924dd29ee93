"""How far each of two models is from the same graph in float64."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Truth:
    """One output, against the original evaluated in float64.

    Attributes:
        name: The output's name.
        max_y: max|y| of the truth.
        before: max|y - truth| of the original.
        after: max|y - truth| of the other model.
        exact: max|y' - truth| of the other graph evaluated in float64: what its constants are off by, without the
            roundings of a run.
    """

    name: str
    max_y: float
    before: float
    after: float
    exact: float
