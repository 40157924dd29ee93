"""Bounds of what is computed: what is just within goes, what is one beyond is refused by name. Made small to be met."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import check_fold, graph_model, normal, op_types, statistics

import bnfold
from bnfold.affine import Affine
from bnfold.errors import ModelError, UsageError

PARAMETERS: dict[str, Any] = dict(zip("sbmv", statistics(4, positive=True), strict=True))
BN = "BatchNormalization ({}, s, b, m, v)"
NO_BN: dict[str, Any] = {"prefer": "no-batchnorm"}


def test_an_affine_shows_the_first_and_the_last_of_its_numbers() -> None:
    few, many = Affine.of([1.0, 0.123456], 0.5), Affine.of(np.arange(1.0, 8.0))
    assert repr(few) == "Affine(channels=2, scale=[1.     0.1235], shift=[0.5 0.5])"
    assert repr(many) == "Affine(channels=7, scale=[1. 2. ... 6. 7.], shift=[0. 0. ... 0. 0.])"
    assert "..." not in repr(Affine.of(np.arange(1.0, 7.0)))


@pytest.mark.parametrize("spread", [Affine.repeat, Affine.tile])
def test_an_affine_is_spread_over_the_most_channels_and_no_more(spread: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnfold.affine.MOST_CHANNELS", 12)
    affine = Affine.of([1.0, 2.0, 3.0])
    assert spread(affine, 4).channels == 12
    with pytest.raises(ModelError, match=r"over 15 channels, which is more than bnfold computes with \(12\)"):
        spread(affine, 5)


def test_an_affine_is_moved_over_the_most_elements_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    affine = Affine.of([1.0, 2.0, 3.0])
    monkeypatch.setattr("bnfold.affine.MOST_CHANNELS", 12)
    moved = affine.moved((3, 4), 0, (12,))
    assert moved is not None
    assert (moved[0].channels, moved[1]) == (12, 0)
    monkeypatch.setattr("bnfold.affine.MOST_CHANNELS", 11)
    assert affine.moved((3, 4), 0, (12,)) is None


def test_an_affine_over_one_axis_is_found_on_the_axis_that_it_becomes() -> None:
    affine = Affine.of([1.0, 2.0], [3.0, 4.0])
    assert affine.moved((2, 3), 0, (3, 2)) is None
    for shape, axis, to, expected in (((2, 3), 0, (1, 2, 3), 1), ((3, 2), 1, (3, 2, 1), 1), ((1, 2), 1, (2, 1), 0)):
        moved = affine.moved(shape, axis, to)
        assert moved is not None
        assert moved[1] == expected
        assert np.array_equal(moved[0].scale, affine.scale)
        assert np.array_equal(moved[0].shift, affine.shift)
    uniform = Affine.of([2.0, 2.0, 2.0]).moved((2, 3), 1, (6,))
    assert uniform is not None
    assert (uniform[0].channels, uniform[1]) == (1, 0)


def padded() -> Any:
    nodes = f"t = Tanh (x) n = {BN.format('t')} y = Conv <pads = [1, 1, 1, 1]> (n, w)"
    body = f"(float[2, 4, 5, 6] x) => (float[i, j, k, l] y) {{ {nodes} }}"
    return graph_model(body, w=normal(1, 4, 3, 3), **PARAMETERS)


@pytest.mark.parametrize(
    ("bound", "most"),
    [("bnfold.ops.replacing.MAX_MAP", 5 * 6), ("bnfold.ops.windows.MOST_ENTRIES", 6 * 3)],
    ids=["numbers of the map", "entries of a table"],
)
def test_a_map_that_makes_up_for_padding_is_made_up_to_its_bound(
    bound: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, most)
    check_fold(padded(), leaves=["Tanh", "Conv", "Add"], **NO_BN)
    monkeypatch.setattr(bound, most - 1)
    folded = check_fold(padded(), **NO_BN).model
    assert op_types(folded) != ["Tanh", "Conv", "Add"]


@pytest.mark.parametrize(("count", "gone"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_no_more_is_folded_than_was_asked_for(count: int, gone: int) -> None:
    nodes = f"c = Conv (x, w) n = {BN.format('c')} r = Relu (n) d = Conv (r, u) y = {BN.format('d')}"
    body = f"(float[2, 3, 5, 6] x) => (float[i, j, k, l] y) {{ {nodes} }}"
    model = graph_model(body, w=normal(4, 3, 1, 1), u=normal(4, 4, 1, 1), **PARAMETERS)
    result = check_fold(model, kept=["max-folds"] * (2 - gone), max_folds=count)
    assert len(result.folded) == gone
    assert all(f"the largest number of folds, {count}" in kept.reason for kept in result.kept)


def test_options_that_make_no_sense_are_refused() -> None:
    model = padded()
    with pytest.raises(UsageError, match="0 or more, not -1"):
        bnfold.fold(model, max_folds=-1)
    with pytest.raises(UsageError, match="no-residuals forbids them"):
        bnfold.fold(model, residuals=False, **NO_BN)
    with pytest.raises(UsageError, match="no preference 'size': it is one of speed, no-batchnorm"):
        bnfold.fold(model, prefer="size")
    assert bnfold.fold(model, residuals=False).kept


def test_the_largest_new_constants_are_named_in_the_order_of_their_sizes() -> None:
    sizes = (40, 10, 30, 20)
    tower = "c{0} = Conv (x, w{0}) n{0} = Mul (c{0}, f{0}) z{0} = Relu (n{0}) o{0} = Conv (x, w{0})"
    nodes = " ".join(map(tower.format, range(4)))
    outputs = ", ".join(f"float[i, j{k}, k, l] z{k}, float[i, j{k}, k, l] o{k}" for k in range(4))
    constants: dict[str, Any] = {f"w{k}": normal(size, 8, 5, 5) for k, size in enumerate(sizes)}
    constants |= {f"f{k}": normal(size, 1, 1) for k, size in enumerate(sizes)}
    model = graph_model(f"(float[1, 8, 6, 6] x) => ({outputs}) {{ {nodes} }}", **constants)
    (remark,) = [text for text in bnfold.fold(model).remarks if "the model grows" in text]
    places = [remark.index(f"'w{k}.folded'") for k in (0, 2, 3)]
    assert places == sorted(places)
    assert "'w1.folded'" not in remark
