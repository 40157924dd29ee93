"""Gather: maps move with the axes, and with the channels that are named; a table takes them in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import check_fold, graph_model, normal, op_types, parameters, refusal

import bnfold

CONV = "c = Conv(x, W)"
IMAGES = "(float[2,3,4,5] x) => (float[] y)"


def images(body: str, places: Any, **constants: Any) -> Any:
    numbers = {"W": normal(6, 3, 1, 1), "i": np.asarray(places, np.int64), **parameters(6), **constants}
    return graph_model(f"{IMAGES} {{ {body} }}", **numbers)


@pytest.mark.parametrize(
    ("axis", "places"),
    [(2, 1), (2, [3, 0, 0]), (3, [[0, 1], [2, 4]]), (0, [1]), (0, [[1, 0]]), (-1, 2), (2, [-1])],
)
def test_an_affine_behind_moves_past_what_is_taken_of_another_axis(axis: int, places: Any) -> None:
    rank = 3 + np.ndim(places)
    channel = 1 if axis else np.ndim(places)
    laid = [6 if k == channel else 1 for k in range(rank)]
    body = f"{CONV} g = Gather <axis = {axis}> (c, i) h = Mul(g, k) y = Add(h, l)"
    model = images(body, places, k=normal(*laid, seed=3), l=normal(*laid, seed=4))
    check_fold(model, leaves=["Conv", "Gather"])


@pytest.mark.parametrize("places", [[5, 4, 3, 2, 1, 0], [0, 2, 4], [-1], [3, 3]])
def test_an_affine_behind_goes_to_the_channels_that_are_named(places: list[int]) -> None:
    count = len(places)
    scale = np.broadcast_to(normal(1, 1, 1), (count, 1, 1)) if places == [3, 3] else normal(count, 1, 1)
    body = f"{CONV} g = Gather <axis = 1> (c, i) y = Mul(g, k)"
    check_fold(images(body, places, k=np.ascontiguousarray(scale)), leaves=["Conv", "Gather"])


def test_a_channel_that_is_named_twice_has_one_map() -> None:
    body = f"{CONV} g = Gather <axis = 1> (c, i) y = BatchNormalization(g, s, b, m, v)"
    assert refusal(images(body, [0, 1, 2, 3, 4, 4])).code == "several-readers"


@pytest.mark.parametrize(
    ("axis", "places", "behind"),
    [
        (1, [5, 0, 3], "y = Conv(g, V)"),
        (2, 1, "y = Conv(g, U)"),
        (2, [0, 3], "y = Conv(g, F)"),
        (1, 2, "f = Flatten(g) y = Gemm(f, G)"),
    ],
)
def test_an_affine_in_front_moves_on_with_what_is_taken(axis: int, places: Any, behind: str) -> None:
    normalized = "r = Sigmoid(c) n = BatchNormalization(r, s, b, m, v)"
    weights = {"V": normal(2, 3, 1, 1), "U": normal(2, 6, 1), "F": normal(2, 6, 1, 1), "G": normal(20, 3)}
    model = images(f"{CONV} {normalized} g = Gather <axis = {axis}> (n, i) {behind}", places, **weights)
    assert "BatchNormalization" not in op_types(check_fold(model).model)


def test_places_that_are_computed_do_not_matter_along_another_axis() -> None:
    head = "(float[2,3,4,5] x, int64[2] j) => (float[] y)"
    body = f"{head} {{ {CONV} g = Gather <axis = 2> (c, j) y = BatchNormalization(g, s, b, m, v) }}"
    model = graph_model(body, W=normal(6, 3, 1, 1), **parameters(6))
    feeds = {"x": normal(2, 3, 4, 5), "j": np.asarray([3, 1])}
    check_fold(model, leaves=["Conv", "Gather"], feeds=feeds)


def test_places_that_are_computed_along_the_channels_are_refused() -> None:
    head = "(float[2,3,4,5] x, int64[6] j) => (float[] y)"
    body = f"{head} {{ {CONV} g = Gather <axis = 1> (c, j) y = BatchNormalization(g, s, b, m, v) }}"
    model = graph_model(body, W=normal(6, 3, 1, 1), **parameters(6))
    (kept,) = bnfold.fold(model).kept
    assert kept.code == "dynamic-slice"


def test_a_table_of_embeddings_takes_an_affine() -> None:
    body = "(int64[N,7] x) => (float[N,7,4] y) { g = Gather(E, x) h = Mul(g, s) y = Add(h, t) }"
    model = graph_model(body, E=normal(10, 4), s=normal(4, seed=1), t=normal(4, seed=2))
    feeds = {"x": np.random.default_rng(0).integers(-10, 10, (2, 7))}
    check_fold(model, leaves=["Gather"], feeds=feeds)


def test_a_table_of_embeddings_takes_a_normalization_over_its_features() -> None:
    body = """(int64[N,7] x) => (float[N,4,7] y) {
        g = Gather(E, x) z = Transpose <perm = [0, 2, 1]> (g) y = BatchNormalization(z, s, b, m, v) }"""
    model = graph_model(body, E=normal(10, 4), **parameters(4))
    feeds = {"x": np.random.default_rng(0).integers(0, 10, (2, 7))}
    check_fold(model, leaves=["Gather", "Transpose"], feeds=feeds)


def test_a_table_that_others_read_is_copied() -> None:
    body = """(int64[N,7] x, float[N,4] q) => (float[N,7,4] y, float[N,10] z) {
        g = Gather(E, x) h = Mul(g, s) y = Add(h, t) z = Gemm <transB = 1> (q, E) }"""
    model = graph_model(body, E=normal(10, 4), s=normal(4, seed=1), t=normal(4, seed=2))
    feeds = {"x": np.random.default_rng(0).integers(0, 10, (2, 7)), "q": normal(2, 4)}
    assert len(check_fold(model, leaves=["Gather", "Gemm"], feeds=feeds).model.graph.initializer) == 2


def test_a_table_of_integers_stays_one() -> None:
    body = """(int64[N,7] x) => (float[N,4,7] y) {
        e = DequantizeLinear(Q, q) g = Gather(e, x) z = Transpose <perm = [0, 2, 1]> (g)
        y = BatchNormalization(z, s, b, m, v) }"""
    integers = np.random.default_rng(0).integers(-127, 127, (10, 4)).astype(np.int8)
    model = graph_model(body, Q=integers, q=np.float32(0.01), **parameters(4))
    (kept,) = bnfold.fold(model).kept
    assert kept.code == "quantized"


def test_a_place_beyond_the_channels_is_no_place() -> None:
    body = f"{CONV} g = Gather <axis = 1> (c, i) y = BatchNormalization(g, s, b, m, v)"
    (kept,) = bnfold.fold(images(body, [0, 1, 2, 3, 4, 6])).kept
    assert kept.code == "malformed"


@pytest.mark.parametrize("pushed", [False, True])
def test_a_negation_changes_the_sign_of_the_shift(pushed: bool) -> None:
    bn = "BatchNormalization({}, s, b, m, v)"
    body = (
        f"{CONV} r = Sigmoid(c) n = {bn.format('r')} g = Neg(n) y = Conv(g, V)"
        if pushed
        else (f"{CONV} g = Neg(c) y = {bn.format('g')}")
    )
    leaves = ["Conv", "Sigmoid", "Neg", "Conv"] if pushed else ["Conv", "Neg"]
    check_fold(images(body, [0], V=normal(2, 6, 1, 1)), leaves=leaves)
