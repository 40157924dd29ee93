"""Numbers as curves: the error along the graph, and the epochs of a training."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite, log10
from typing import TYPE_CHECKING

from bnfold.report.html.markup import Markup, joined, tag

if TYPE_CHECKING:
    from bnfold.checking.location import Location, TensorError

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 28
LOWEST, HIGHEST = -8, 4
"""Powers of ten of the error over the tolerance that are told apart."""

MOST_POINTS = 1500


def error_chart(location: Location) -> Markup:
    """The error of every tensor over its tolerance, in the order of computation, on a logarithmic scale."""
    tensors = _thinned(location.tensors)
    powers = [_power(error) for error in tensors]
    low = min([-1, *(floor(power) for power in powers)])
    high = max([1, *(floor(power) + 1 for power in powers)])

    def y(power: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - power) / (high - low)

    def x(place: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (place + 0.5) / max(len(tensors), 1)

    lines = []
    for power in range(low, high + 1, max(1, (high - low) // 6)):
        lines.append(_level(y(power), "0" if power == LOWEST else f"1e{power}"))
    limit = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=round(y(0), 1), y2=round(y(0), 1), class_="limit")
    points = [
        tag(
            "g",
            tag("title", f"{error.name} ({error.producer}): {error.max_abs:.2e} of {error.tolerance:.2e}"),
            tag("circle", class_=error.state, cx=f"{x(place):.1f}", cy=f"{y(power):.1f}", r=3),
        )
        for place, (error, power) in enumerate(zip(tensors, powers, strict=True))
    ]
    below = tag("text", "first to last tensor", x=LEFT, y=HEIGHT - 8)
    title = "Error over tolerance, tensor by tensor. Broken line: the tolerance. Amber: rescaled on purpose"
    return _figure(title, joined(lines, limit, points, below))


def curves(title: str, names: Sequence[str], series: Sequence[Sequence[float | None]]) -> Markup:
    """One or two curves over the epochs; what is no finite number leaves a gap."""
    finite = [value for values in series for value in values if value is not None and isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    high = high if high > low else low + 1.0
    count = max((len(values) for values in series), default=1)

    def point(place: int, value: float) -> tuple[float, float]:
        across = (WIDTH - LEFT - RIGHT) * (place / max(count - 1, 1))
        return LEFT + across, TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    lines = [_level(point(0, level)[1], f"{level:.3g}") for level in (low, (low + high) / 2, high)]
    drawn = []
    for number, values in enumerate(series):
        for stretch in _stretches(values):
            points = " ".join("{:.1f},{:.1f}".format(*point(place, value)) for place, value in stretch)
            drawn.append(tag("polyline", points=points, class_="second" if number else None))
    labels = " and ".join([f"{names[0]} (line)", *(f"{name} (broken line)" for name in names[1:2])])
    ends = tag("text", f"epoch 1 to {count}: {labels}", x=LEFT, y=HEIGHT - 8)
    return _figure(title, joined(lines, drawn, ends))


def _stretches(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The values in pieces without gaps."""
    found: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is not None and isfinite(value):
            found[-1].append((place, value))
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]


def _level(y: float, label: str) -> Markup:
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=round(y, 1), y2=round(y, 1))
    return joined(line, tag("text", label, x=4, y=round(y + 4, 1)))


def _figure(title: str, drawn: Markup) -> Markup:
    picture = tag(
        "svg", tag("title", title), drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="chart", role="img", aria_label=title
    )
    return tag("figure", picture, tag("figcaption", title))


def _power(error: TensorError) -> float:
    """The power of ten of the error over the tolerance, in bounds."""
    if not error.max_abs:
        return float(LOWEST)
    if not isfinite(error.max_abs) or not error.tolerance:
        return float(HIGHEST)
    share = error.max_abs / error.tolerance  # 0 where the tolerance is infinite
    return min(max(log10(share), LOWEST), HIGHEST) if share else float(LOWEST)


def _thinned(tensors: Sequence[TensorError]) -> Sequence[TensorError]:
    """Not more than can be told apart: of neighbours the one with the largest error."""
    step = -(-len(tensors) // MOST_POINTS) or 1
    if step == 1:
        return tensors
    return [max(tensors[start : start + step], key=_power) for start in range(0, len(tensors), step)]
