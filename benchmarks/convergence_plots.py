"""The pictures of docs/training.md: validation accuracy over steps, test accuracy over learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from convergence_runs import Run, seeds_of

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "none": "#333333",
    "before": "#0072b2",
    "before, classifier": "#d55e00",
    "after": "#009e73",
    "after, classifier": "#cc79a7",
}
"""Okabe and Ito's, which the colour-blind tell apart."""

STEPS = (("digits", 0.1), ("sigmoids", 0.1), ("fashion", 0.01))
"""Which trainings are shown step by step."""

TICKS = (10, 20, 50, 100, 200, 400, 800)


def draw(runs: Sequence[Run], folder: Path) -> None:
    """Write steps.png and rates.png; as SVG they would be half as large again."""
    folder.mkdir(exist_ok=True)
    with plt.rc_context({"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "savefig.dpi": 85}):
        _save(_over_steps(runs), folder / "steps.png")
        _save(_over_rates(runs), folder / "rates.png")


def _save(figure: Figure, path: Path) -> None:
    figure.legend(*_legend(figure), loc="lower center", ncols=5, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path)
    plt.close(figure)


def _legend(figure: Figure) -> tuple[list[Artist], list[str]]:
    """An entry per variant, whichever panels have it."""
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found.update(dict(zip(labels, handles, strict=True)))
    return [found[name] for name in COLOURS if name in found], [name for name in COLOURS if name in found]


def _over_steps(runs: Sequence[Run]) -> Figure:
    figure, panels = plt.subplots(1, len(STEPS), figsize=(10, 3.2))
    for axes, (task, rate) in zip(panels, STEPS, strict=True):
        axes.set(title=f"{task}, lr {rate:g}", xlabel="steps", ylim=(0, 1.02))
        _logarithmic(axes, TICKS)
        for variant in COLOURS:
            _curves(axes, seeds_of(runs, task, variant, rate), variant)
    panels[0].set_ylabel("validation accuracy")
    return figure


def _logarithmic(axes: Axes, ticks: Sequence[float]) -> None:
    """Let the horizontal axis be one, marked at these values alone."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _curves(axes: Axes, group: Sequence[Run], variant: str) -> None:
    """The middle of the seeds as a line, and all of them as a band."""
    if not group:
        return
    length = min(len(run.right) for run in group)
    found = np.array([np.array(run.right[:length]) / run.validated for run in group])  # [seeds, validations]
    steps = group[0].every * np.arange(1, length + 1)
    axes.plot(steps, np.median(found, axis=0), color=COLOURS[variant], label=variant, linewidth=1.2)
    axes.fill_between(steps, found.min(axis=0), found.max(axis=0), color=COLOURS[variant], alpha=0.15, linewidth=0)


def _over_rates(runs: Sequence[Run]) -> Figure:
    tasks = [task for task, _ in STEPS]
    figure, panels = plt.subplots(1, len(tasks), figsize=(10, 3.2))
    for axes, task in zip(panels, tasks, strict=True):
        axes.set(title=task, xlabel="learning rate", ylim=(-0.02, 1.02))
        _logarithmic(axes, sorted({run.key.rate for run in runs}))
        for variant in COLOURS:
            _points(axes, [run for run in runs if run.key[:2] == (task, variant)], variant)
    panels[0].set_ylabel("test accuracy")
    return figure


def _points(axes: Axes, group: Sequence[Run], variant: str) -> None:
    """A point per training, a line through their middles; a cross at 0 is a training that left no model."""
    if not group:
        return
    found = {run.key: run.accuracy or 0.0 for run in group}
    rates = sorted({key.rate for key in found})
    middles = [float(np.median([found[key] for key in found if key.rate == rate])) for rate in rates]
    axes.plot(rates, middles, color=COLOURS[variant], label=variant, linewidth=1.2)
    for run in group:
        axes.scatter(
            run.key.rate, found[run.key], color=COLOURS[variant], s=12, marker="x" if run.proof is None else "o"
        )
