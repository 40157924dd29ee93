"""The first half of a layout: every vertex gets a layer, and a place in the order of its layer.

Layers as Sugiyama, Tagawa and Toda (1981) have it: the longest path from a source says the layer, an edge over several
layers gets a dummy in each between, and sweeps by the mean place of the neighbours take crossings out. The same input
gives the same layers: nothing here depends on hashes or on chance.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 8
"""Down and up in turn; what is left of crossings then seldom goes."""

Edge = tuple[int, int]


@dataclass(frozen=True)
class Layered:
    """Vertices in layers.

    Attributes:
        layers: the vertices of each, in their order; from the number of boxes on they are dummies.
        above: per vertex its neighbours in the layer above.
        below: per vertex its neighbours in the layer below.
        chains: per edge that is drawn, the vertices that it goes through, both ends included.
    """

    layers: list[list[int]]
    above: list[list[int]]
    below: list[list[int]]
    chains: dict[Edge, list[int]]


def layered(count: int, edges: Sequence[Edge]) -> Layered:
    """Put `count` vertices into layers so that every edge points down; an edge that closes a cycle is left out.

    Args:
        count: how many vertices there are, numbered from 0.
        edges: from where and to where; what is there twice counts once.
    """
    ranks, acyclic = _ranks(count, list(dict.fromkeys(edges)))
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    layers: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for vertex, rank in enumerate(ranks):
        layers[rank].append(vertex)
    chains = {}
    for start, end in acyclic:
        chain = [start]
        for rank in range(ranks[start] + 1, ranks[end]):
            chain.append(len(above))
            layers[rank].append(len(above))
            above.append([])
            below.append([])
        chain.append(end)
        for upper, lower in pairwise(chain):
            below[upper].append(lower)
            above[lower].append(upper)
        chains[start, end] = chain
    return Layered(_untangled(layers, above, below), above, below, chains)


def _ranks(count: int, edges: Sequence[Edge]) -> tuple[list[int], list[Edge]]:
    """The layer of each vertex, and the edges that point down; what nothing leads to stands right above its readers."""
    following: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for start, end in edges:
        if start != end:
            following[start].append(end)
            missing[end] += 1
    ranks, place = [0] * count, [-1] * count
    order: list[int] = []
    ready = deque(vertex for vertex in range(count) if not missing[vertex])
    while len(order) < count:
        vertex = ready.popleft() if ready else next(vertex for vertex in range(count) if place[vertex] < 0)
        if place[vertex] >= 0:
            continue
        place[vertex] = len(order)
        order.append(vertex)
        for end in following[vertex]:
            missing[end] -= 1
            if place[end] < 0:
                ranks[end] = max(ranks[end], ranks[vertex] + 1)
                if not missing[end]:
                    ready.append(end)
    acyclic = [(start, end) for start, end in edges if start != end and place[start] < place[end]]
    read = {end for _, end in acyclic}
    for vertex in range(count):
        ends = [ranks[end] for end in following[vertex] if place[vertex] < place[end]]
        if ends and vertex not in read:
            ranks[vertex] = min(ends) - 1
    lowest = min(ranks, default=0)
    return [rank - lowest for rank in ranks], acyclic


def _untangled(layers: list[list[int]], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """The order of every layer with the fewest crossings that the sweeps come to."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers, below)
    current = [list(layer) for layer in layers]
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for rank in range(1, len(current)) if down else range(len(current) - 2, -1, -1):
            fixed, neighbours = (current[rank - 1], above) if down else (current[rank + 1], below)
            current[rank] = _sorted(current[rank], fixed, neighbours)
        crossings = _crossings(current, below)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in current], crossings
    return best


def _sorted(layer: list[int], fixed: list[int], neighbours: list[list[int]]) -> list[int]:
    """A layer by the mean place of the neighbours in the one beside it; what has none keeps its own."""
    place = {vertex: number for number, vertex in enumerate(fixed)}
    wanted: dict[int, float] = {}
    for own, vertex in enumerate(layer):
        places = [place[other] for other in neighbours[vertex]]
        wanted[vertex] = sum(places) / len(places) if places else own
    return sorted(layer, key=wanted.__getitem__)


def _crossings(layers: list[list[int]], below: list[list[int]]) -> int:
    """How many pairs of edges cross between neighbouring layers."""
    found = 0
    for upper, lower in pairwise(layers):
        place = {vertex: number for number, vertex in enumerate(lower)}
        seen: list[int] = []
        for vertex in upper:
            ends = sorted(place[end] for end in below[vertex])
            found += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return found
