"""What it costs besides that a caller may override weights."""

from __future__ import annotations

from collections.abc import Iterable

from bnfold.folding.plan import Plan
from bnfold.folding.rounds import Kept


def overriding_remark(plan: Plan, kept: Iterable[Kept]) -> str:
    """A sentence where a BatchNormalization stays since a caller may override a weight; else nothing.

    Such a weight is no constant for onnxruntime either: it packs none, and a Conv that reads one stays out of the
    layout that it keeps between convolutions. An UltraFace runs three times as fast with its weights frozen
    (`benchmarks/inference.py`).
    """
    if all(entry.code != "overridable" for entry in kept):
        return ""
    graph = plan.graph
    names = [value.name for value in graph.main.values.values() if graph.is_overridable(value)]
    return (
        f"graph inputs that have a default which a caller may override ({len(names)}, as '{names[0]}') also keep "
        "onnxruntime from optimising what reads them; where no caller does, --freeze-initializers makes them constants"
    )
