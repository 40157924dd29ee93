"""Things that are made in a thread before they are asked for."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from bnfold.model.ahead import FEW, ahead


def counted(end: int, made: list[int]) -> Iterator[int]:
    for number in range(end):
        made.append(number)
        yield number


@pytest.mark.parametrize("count", [0, 1, FEW - 1, FEW, FEW + 1, 2 * FEW, 100])
def test_all_come_in_their_order(count: int) -> None:
    assert list(ahead(iter(range(count)))) == list(range(count))


def test_few_need_no_thread_and_none_is_left_behind_many() -> None:
    before = threading.active_count()
    things = ahead(counted(FEW + 1, []))
    assert [next(things) for _ in range(FEW)] == list(range(FEW))
    assert threading.active_count() == before
    assert next(things) == FEW
    assert threading.active_count() == before + 1
    assert list(things) == []
    assert threading.active_count() == before


def test_no_more_are_made_than_may_wait() -> None:
    made = list[int]()
    with closing(ahead(counted(1000, made))) as things:
        for asked, thing in enumerate(things):
            assert thing == asked
            assert len(made) <= asked + 1 + FEW
            if asked == 500:
                break
    assert len(made) <= 501 + FEW


def test_who_leaves_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with closing(ahead(counted(1000, []))) as things:
        assert [next(things) for _ in range(2 * FEW)] == list(range(2 * FEW))
    assert threading.active_count() == before


@pytest.mark.parametrize("place", [0, FEW - 1, FEW, 3 * FEW])
def test_an_error_comes_where_its_thing_was_asked_for(place: int) -> None:
    def failing() -> Iterator[int]:
        yield from range(place)
        raise OSError("no more")

    before, found = threading.active_count(), list[int]()
    with pytest.raises(OSError, match="no more"):
        found.extend(ahead(failing()))
    assert found == list(range(place))
    assert threading.active_count() == before
