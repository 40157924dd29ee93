"""Layouts of graphs: no two boxes over one another, no arrow through a box, arrows that point down, always the same."""

from itertools import combinations, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnfold.report.html.layers import layered
from bnfold.report.html.layout import Layout, Place, arrange


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Sizes of boxes, and edges that may be there twice, close cycles, or lead to where they come from."""
    sizes = draw(st.lists(st.tuples(st.integers(1, 240), st.integers(1, 90)), max_size=14))
    ends = st.integers(0, len(sizes) - 1)
    return sizes, draw(st.lists(st.tuples(ends, ends), max_size=30)) if sizes else []


def apart(one: Place, other: Place) -> bool:
    across = one.x + one.width <= other.x or other.x + other.width <= one.x
    return across or one.y + one.height <= other.y or other.y + other.height <= one.y


def meets(place: Place, start: tuple[int, int], end: tuple[int, int]) -> bool:
    """Whether a piece of an arrow, with all that its curve may touch, goes through the inside of a box."""
    left, right = sorted((start[0], end[0]))
    across = left < place.x + place.width and right > place.x
    return across and start[1] < place.y + place.height and end[1] > place.y


@given(graphs())
@settings(max_examples=200, deadline=None)
def test_what_is_laid_out_can_be_read(graph: tuple[list[tuple[int, int]], list[tuple[int, int]]]) -> None:
    sizes, edges = graph
    layout = arrange(sizes, edges)
    assert [(place.width, place.height) for place in layout.places] == sizes
    assert all(apart(one, other) for one, other in combinations(layout.places, 2))
    for place in layout.places:
        assert place.x >= 0
        assert place.y >= 0
        assert place.x + place.width <= layout.width
        assert place.y + place.height <= layout.height
    for route in layout.routes:
        start, end = layout.places[route.start], layout.places[route.end]
        assert start.y + start.height < end.y
        for one, other in pairwise(route.points):
            assert one[1] <= other[1]
            assert not any(meets(place, one, other) for place in layout.places)
    assert arrange(sizes, edges) == layout


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_only_an_edge_that_closes_a_cycle_is_left_out(
    graph: tuple[list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    sizes, edges = graph
    forward = [(start, end) for start, end in edges if start < end]
    drawn = {(route.start, route.end) for route in arrange(sizes, forward).routes}
    assert drawn == set(forward)
    assert {(route.start, route.end) for route in arrange(sizes, edges).routes} <= set(edges)


def test_a_chain_stands_in_one_column() -> None:
    layout = arrange([(100, 30), (60, 30), (140, 30)], [(0, 1), (1, 2)])
    assert len({place.x + place.width // 2 for place in layout.places}) == 1


def test_a_skip_goes_around_what_it_skips() -> None:
    layout = arrange([(100, 30)] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    (skip,) = [route for route in layout.routes if (route.start, route.end) == (0, 3)]
    assert len(skip.points) == 8
    assert crossed(layout) == 0


def test_sweeps_take_crossings_out() -> None:
    layout = arrange([(40, 20)] * 6, [(0, 5), (1, 4), (2, 3)])
    assert crossed(layout) == 0


def crossed(layout: Layout) -> int:
    """How many pairs of arrows between the same two layers cross."""
    ends = [(route.points[0], route.points[-1]) for route in layout.routes if len(route.points) == 4]
    pairs = ((one, other) for one, other in combinations(ends, 2) if one[0][1] == other[0][1])
    return sum((one[0][0] - other[0][0]) * (one[1][0] - other[1][0]) < 0 for one, other in pairs)


@pytest.mark.parametrize("count", [1000, 5000])
def test_a_large_graph_has_layers_before_anybody_gives_up(count: int) -> None:
    random = Random(0)
    edges = [(max(0, end - random.randint(1, 4)), end) for end in range(1, count) for _ in range(2)]
    found = layered(count, edges)
    assert sum(vertex < count for layer in found.layers for vertex in layer) == count
    assert found.chains.keys() == set(edges)
