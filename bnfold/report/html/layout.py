"""Boxes and arrows of a small graph: layer under layer, no two boxes over one another, no arrow through a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bnfold.report.html.layers import Edge, Layered, layered

GAP = 22
"""Between two boxes of a layer."""

DROP = 34
"""Between two layers: room for an arrow to turn."""

MARGIN = 8

LANE = 6
"""The width of an arrow that passes a layer between its boxes."""

ROUNDS = 10
"""How often the boxes are moved towards the middle of their neighbours."""


@dataclass(frozen=True)
class Place:
    """Where a box is: its upper left corner, and its size."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Route:
    """An arrow.

    Attributes:
        start: the box that it comes from.
        end: the box that it leads to.
        points: where it goes through: pairs of them are straight, top to bottom, and curves are between the pairs.
    """

    start: int
    end: int
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layout:
    """A drawing, and how large it is."""

    width: int
    height: int
    places: tuple[Place, ...]
    routes: tuple[Route, ...]


def arrange(sizes: Sequence[tuple[int, int]], edges: Sequence[Edge], *, drop: int = DROP) -> Layout:
    """Lay out boxes so that arrows point down.

    Args:
        sizes: width and height of each box.
        edges: from which box to which; one that closes a cycle is left out.
        drop: how far the layers are apart.
    """
    if not sizes:
        return Layout(0, 0, (), ())
    graph = layered(len(sizes), edges)
    widths = [*(width for width, _ in sizes), *[LANE] * (len(graph.above) - len(sizes))]
    middles = _middles(graph, widths)
    bands = _bands(graph, sizes, drop)
    band_of = {vertex: bands[rank] for rank, layer in enumerate(graph.layers) for vertex in layer}
    places = tuple(
        Place(middles[k] - width // 2, sum(band_of[k]) // 2 - height // 2, width, height)
        for k, (width, height) in enumerate(sizes)
    )
    routes = tuple(_route(chain, places, middles, band_of) for chain in graph.chains.values())
    right = max(middle + (width + 1) // 2 for middle, width in zip(middles, widths, strict=True))
    return Layout(right + MARGIN, bands[-1][1] + MARGIN, places, routes)


def _bands(graph: Layered, sizes: Sequence[tuple[int, int]], drop: int) -> list[tuple[int, int]]:
    """Where each layer begins and ends."""
    found, top = [], MARGIN
    for layer in graph.layers:
        height = max(sizes[vertex][1] for vertex in layer if vertex < len(sizes))
        found.append((top, top + height))
        top += height + drop
    return found


def _route(
    chain: Sequence[int], places: Sequence[Place], middles: Sequence[int], band_of: dict[int, tuple[int, int]]
) -> Route:
    """Out of the lower edge of one box, straight through the lanes of the layers between, to the upper of another."""
    start, end = chain[0], chain[-1]
    points = [(middles[start], places[start].y + places[start].height), (middles[start], band_of[start][1])]
    for lane in chain[1:-1]:
        points += [(middles[lane], y) for y in band_of[lane]]
    points += [(middles[end], band_of[end][0]), (middles[end], places[end].y)]
    return Route(start, end, tuple(points))


def _middles(graph: Layered, widths: Sequence[int]) -> list[int]:
    """The middle of every vertex, left to right in its layer's order, as near to its neighbours as there is room."""
    middles = [0.0] * len(widths)
    for layer in graph.layers:
        _spread(layer, [0.0] * len(layer), widths, middles)
    for turn in range(ROUNDS):
        down = turn % 2 == 0
        neighbours = graph.above if down else graph.below
        for layer in graph.layers if down else reversed(graph.layers):
            wanted = [_mean([middles[other] for other in neighbours[k]], middles[k]) for k in layer]
            _spread(layer, wanted, widths, middles)
    left = min(middle - width / 2 for middle, width in zip(middles, widths, strict=True))
    return [round(middle - left) + MARGIN for middle in middles]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(layer: Sequence[int], wanted: Sequence[float], widths: Sequence[int], middles: list[float]) -> None:
    """Put a layer where it is wanted, with the gaps between: the least squares of all moves.

    Less the room that is taken by what stands to the left, the middles have to rise: neighbours that do not are moved
    together to their mean, as in isotonic regression (pool adjacent violators).
    """
    rooms = [0.0]
    for left, right in pairwise(layer):
        rooms.append(rooms[-1] + (widths[left] + widths[right]) / 2 + GAP)
    pools: list[tuple[float, int]] = []  # the sum of what they want, and how many they are
    for room, want in zip(rooms, wanted, strict=True):
        pools.append((want - room, 1))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            last, before = pools.pop(), pools.pop()
            pools.append((before[0] + last[0], before[1] + last[1]))
    reduced = [total / count for total, count in pools for _ in range(count)]
    for vertex, room, place in zip(layer, rooms, reduced, strict=True):
        middles[vertex] = place + room
