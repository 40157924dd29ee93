"""The laws of the algebra, each for maps that hypothesis makes up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnfold.affine import Affine

# Small dyadic numbers: sums and products of a few of them are exact in float64, so that laws can be stated with ==.
dyadic = st.integers(-64, 64).map(lambda n: n / 8)


def affines(channels: int) -> st.SearchStrategy[Affine]:
    vector = st.lists(dyadic, min_size=channels, max_size=channels)
    return st.builds(Affine, vector.map(np.array), vector.map(np.array))


def same(one: Affine, other: Affine) -> bool:
    return np.array_equal(one.scale, other.scale) and np.array_equal(one.shift, other.shift)


some = st.integers(1, 6).flatmap(affines)
three = st.integers(1, 6).flatmap(lambda c: st.tuples(affines(c), affines(c), affines(c)))


@given(three)
def test_composition_is_associative(maps: tuple[Affine, Affine, Affine]) -> None:
    f, g, h = maps
    assert same(f.then(g).then(h), f.then(g.then(h)))


@given(three, dyadic)
def test_composition_is_application_one_after_the_other(maps: tuple[Affine, Affine, Affine], x: float) -> None:
    f, g, _ = maps
    values = np.full(f.channels, x)
    assert np.array_equal(f.then(g)(values), g(f(values)))


@given(some)
def test_identity_is_neutral_on_both_sides(f: Affine) -> None:
    assert same(Affine.identity().then(f), f)
    assert same(f.then(Affine.identity(f.channels)), f)
    assert Affine.identity(f.channels).is_identity


@given(some, st.data())
def test_concat_is_the_inverse_of_slice(f: Affine, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, f.channels))
    parts = [f.slice(0, cut)] + ([f.slice(cut, f.channels)] if cut < f.channels else [])
    assert same(Affine.concat(parts), f)


@given(three)
def test_slicing_commutes_with_composition(maps: tuple[Affine, Affine, Affine]) -> None:
    f, g, _ = maps
    assert same(f.then(g).slice(0, 1), f.slice(0, 1).then(g.slice(0, 1)))


@given(some, st.integers(1, 4))
def test_repeat_is_the_map_of_an_array_flattened_channel_first(f: Affine, times: int) -> None:
    x = np.arange(f.channels * times, dtype=np.float64)
    assert np.array_equal(f.repeat(times)(x), f(x.reshape(f.channels, times), axis=0).ravel())


@given(some, st.integers(1, 4))
def test_tile_is_the_map_of_an_array_flattened_channel_last(f: Affine, times: int) -> None:
    x = np.arange(f.channels * times, dtype=np.float64)
    assert np.array_equal(f.tile(times)(x), f(x.reshape(times, f.channels), axis=1).ravel())


@given(some, st.integers(1, 4), st.integers(1, 4))
def test_moved_finds_the_way_back_through_a_flatten(f: Affine, before: int, after: int) -> None:
    shape, flat = (before, f.channels, after), (before * f.channels * after,)
    forth = f.moved(shape, 1, flat)
    assert forth is not None
    back = forth[0].moved(flat, forth[1], shape)
    assert back is not None
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    assert np.array_equal(back[0](x, back[1]), f(x, 1))


def test_moved_says_none_when_the_map_would_vary_along_two_axes() -> None:
    assert Affine.of([1.0, 2.0, 3.0, 4.0]).moved((4,), 0, (2, 2)) is None


@given(some, st.integers(1, 5))
def test_expand_and_collapse_keep_the_map(f: Affine, channels: int) -> None:
    uniform = f.slice(0, 1)
    assert same(uniform.expand(channels).collapse(), uniform)
    assert same(f.collapse().expand(f.channels), f)


def test_a_map_of_three_channels_does_not_fit_five() -> None:
    with pytest.raises(ValueError, match="3 channels does not fit 5"):
        Affine.identity(3).expand(5)


@pytest.mark.parametrize(("scale", "shift"), [([1.0], [1.0, 2.0]), ([], []), ([[1.0]], [[1.0]])])
def test_what_is_not_two_vectors_of_one_length_is_refused(scale: list[float], shift: list[float]) -> None:
    with pytest.raises(ValueError, match="vectors of one length"):
        Affine(np.array(scale), np.array(shift))


def test_a_map_does_not_change_when_the_callers_array_does() -> None:
    scale = np.array([1.0, 2.0])
    f = Affine(scale, np.zeros(2))
    scale[:] = 7
    assert f.scale.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        f.scale[0] = 3


def test_almost_the_identity_is_not_the_identity() -> None:
    assert not Affine.of(1 + 2.0**-50).is_identity
    assert not Affine.of(1.0, 2.0**-1000).is_scaling
