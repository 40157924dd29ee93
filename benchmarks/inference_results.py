"""What was measured, as benchmarks/results/inference.json holds it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import numpy.typing as npt
from machine import processor

import bnfold

Quartiles = tuple[float, float, float]


@dataclass(frozen=True)
class Row:
    """A form of a model.

    Attributes:
        model: its file without the ending.
        batch: how many rows it was run on.
        provider: "cpu" or "cuda".
        form: "original", "again", "bnfold", "bnfold-frozen", "bound", or the name of a tool.
        run_ratio: the form's time over the original's of the same round, quartiles: below 1 is faster.
        open_ratio: the same of the creation of a session.
        nodes: how many operators it has, Constants left out.
        affines: how many of them are affines.
        off: how far its outputs are from the original's, over the largest; `None` for the bound.
    """

    model: str
    batch: int
    provider: str
    form: str
    run_ratio: Quartiles
    open_ratio: Quartiles
    nodes: int
    affines: int
    off: float | None


def quartiles(times: npt.NDArray[np.float64], base: npt.NDArray[np.float64]) -> Quartiles:
    """Of the ratio within a round."""
    low, median, high = np.quantile(times / base, [0.25, 0.5, 0.75])
    return round(float(low), 4), round(float(median), 4), round(float(high), 4)


def versions(peers: Mapping[str, str]) -> dict[str, str]:
    """Of all that is involved, the other tools among it."""
    own = {package: version(package) for package in ("onnxruntime", "onnx", "numpy")}
    return {"bnfold": bnfold.__version__, **own, "python": python_version(), **peers}


def read(path: Path) -> list[Row]:
    """The rows that this version of bnfold has measured; none where there is no such file."""
    if not path.exists():
        return []
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["versions"]["bnfold"] != bnfold.__version__:
        return []
    return [row_of(entry) for entry in document["rows"]]


def row_of(entry: Mapping[str, Any]) -> Row:
    """A row as `write` has written it."""
    ratios: dict[str, Any] = {key: tuple(entry[key]) for key in ("run_ratio", "open_ratio")}
    return Row(**{**entry, **ratios})


def write(path: Path, rows: Sequence[Row], found: Mapping[str, str]) -> None:
    """Write all rows, a line each, with today's date, the machine and the versions."""
    head = {"date": time.strftime("%Y-%m-%d"), "machine": processor(), "versions": dict(found)}
    lines = ",\n  ".join(json.dumps(asdict(row)) for row in rows)
    text = json.dumps(head, indent=1).removesuffix("\n}") + f',\n "rows": [\n  {lines}\n ]\n}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def is_measured(rows: Iterable[Row], model: str, batch: int, provider: str) -> bool:
    """Whether there are rows of it."""
    return any((row.model, row.batch, row.provider) == (model, batch, provider) for row in rows)
