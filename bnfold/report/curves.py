"""The curves of a training: loss and accuracy over its epochs, as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import BytesIO
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import RuntimeUnavailable, UsageError
from bnfold.report.whole import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bnfold.torch.history import Epoch
    from bnfold.torch.scores import Score

FORMATS = (".png", ".svg", ".pdf")

PANEL = (5.0, 3.6)
"""Width and height of one, in inches."""


def refuse_curves(path: str) -> None:
    """Look for what would keep curves from being drawn, before the training.

    Raises:
        UsageError: the name of the file ends in no format.
        RuntimeUnavailable: matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise UsageError(f"curves are drawn as {', '.join(FORMATS)}, by the end of the name, and '{path}' ends in none")
    if find_spec("matplotlib") is None:
        raise RuntimeUnavailable("curves need matplotlib, which is not installed: pip install 'bnfold[train]'")


def write_curves(epochs: Sequence[Epoch], path: str, name: str) -> None:
    """Draw the scores over the epochs, on the training and on the validation data, the best epoch marked.

    Args:
        epochs: at least one; they need not be all.
        path: where to; the end of its name says the format.
        name: the model's, for the title.

    Raises:
        TargetError: the place can not be written to.
    """
    drawn = BytesIO()
    _figure(epochs, name).savefig(drawn, format=Path(path).suffix[1:].lower(), dpi=150)
    write_whole(drawn.getvalue(), path)


def _figure(epochs: Sequence[Epoch], name: str) -> Figure:
    from matplotlib.figure import Figure  # and not pyplot, which looks for a display

    panels: list[tuple[str, Callable[[Score], float | None]]] = [("loss", lambda score: score.loss)]
    if epochs[0].training.accuracy is not None:
        panels.append(("accuracy", lambda score: score.accuracy))
    figure = Figure(figsize=(PANEL[0] * len(panels), PANEL[1]), layout="constrained")
    figure.suptitle(name, parse_math=False)
    for axes, (title, of) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw(axes, epochs, title, of)
    return figure


def _draw(axes: Axes, epochs: Sequence[Epoch], title: str, of: Callable[[Score], float | None]) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers = [epoch.number for epoch in epochs]
    axes.plot(numbers, [_drawable(of(epoch.training)) for epoch in epochs], marker=".", label="training")
    axes.plot(numbers, [_drawable(of(epoch.validation)) for epoch in epochs], marker=".", label="validation")
    best = [epoch for epoch in epochs if epoch.is_best][-1:]
    for epoch in best:
        axes.axvline(epoch.number, color="gray", linestyle=":")
        axes.plot(
            [epoch.number],
            [_drawable(of(epoch.validation))],
            "*",
            color="black",
            markersize=11,
            label=f"best: epoch {epoch.number}",
        )
    axes.set(xlabel="epoch", ylabel=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()


def _drawable(value: float | None) -> float:
    """A gap where there is no finite number."""
    return value if value is not None and isfinite(value) else nan
