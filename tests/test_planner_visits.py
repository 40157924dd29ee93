"""How much the planner does per node, counted and not timed: no more in a large graph than in a small one."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from pathlib import Path

import pytest
from support import ROOT
from visits import counted, counted_large

import bnfold
from bnfold.folding.attempt import Attempt
from bnfold.folding.requests import Blocked

sys.path.insert(0, str(ROOT / "benchmarks"))

from fold_models import build

MOST_LINES = 2200
"""Of bnfold's own code that may run per pair of Conv and BatchNormalization; 1 600 when this was written."""
MANY = 400
MUCH = 14_000
"""Bytes: less than a set or a dict of that many takes, and more than the weights of a Conv."""
MOST_LARGE = 100
"""So many times that much may be taken at once; 75 when this was written, of those half by what writes the file."""


def cost_of(kind: str, size: int, folder: Path) -> Counter[str]:
    """What folding a graph of that size takes."""
    path = folder / f"{kind}-{size}.onnx"
    build(f"{kind}-3", path)
    bnfold.fold(path)  # what is imported and looked up once is no part of it
    build(f"{kind}-{size}", path)
    with counted() as found:
        result = bnfold.fold(path)
        assert result.model
    assert len(result.kept) == {"merged": 1, "siblings": size}.get(kind, 0)
    return found


@pytest.mark.parametrize("kind", ["chain", "concat", "readers", "pushed", "pieces", "summed", "shared", "beside"])
def test_a_pair_costs_the_same_in_a_graph_of_any_size(kind: str, tmp_path: Path) -> None:
    sizes = (15, 30, 60) if kind == "pieces" else (40, 80, 160)  # a longer list of sizes is taken for no shape
    small, middle, large = (cost_of(kind, size, tmp_path)["lines"] for size in sizes)
    assert large - middle <= 2.02 * (middle - small)
    normalizations = 2 if kind == "beside" else 1  # per block
    assert (large - middle) / (sizes[2] - sizes[1]) / normalizations <= MOST_LINES


@pytest.mark.parametrize("kind", ["merged", "siblings"])
def test_what_stays_costs_the_same_in_a_graph_of_any_size(kind: str, tmp_path: Path) -> None:
    small, middle, large = (cost_of(kind, size, tmp_path)["lines"] for size in (40, 80, 160))
    assert large - middle <= 2.02 * (middle - small)


@pytest.mark.parametrize("kind", ["chain", "concat", "readers", "pushed", "summed", "shared", "beside"])
def test_nothing_that_grows_with_the_graph_is_copied_for_each_pair(kind: str, tmp_path: Path) -> None:
    channels = "x2" if kind == "chain" else ""
    path = tmp_path / "m.onnx"
    build(f"{kind}-3", path)
    bnfold.fold(path)  # what is imported once is no part of it
    build(f"{kind}-{MANY}{channels}", path)
    with counted_large(MUCH) as found:
        assert bnfold.fold(path).model
    assert 0 < found.total() <= MOST_LARGE, found.most_common(3)


def test_a_node_at_which_affines_meet_is_asked_once_for_all_of_them(tmp_path: Path) -> None:
    assert cost_of("pushed", 60, tmp_path)["questions"] == 60 + 2, "each Sigmoid in vain, Concat and Conv"
    assert cost_of("pieces", 60, tmp_path)["questions"] == 2, "Split and Conv"


@pytest.mark.parametrize("kind", ["chain", "concat"])
def test_every_convolution_is_asked_once(kind: str, tmp_path: Path) -> None:
    assert cost_of(kind, 60, tmp_path)["questions"] == 60


def test_every_reader_of_a_normalization_is_asked_once_and_what_is_in_front_of_it_once(tmp_path: Path) -> None:
    assert cost_of("readers", 60, tmp_path)["questions"] == 61


@pytest.mark.parametrize("kind", ["merged", "siblings", "readers"])
def test_what_an_attempt_has_computed_is_gone_with_it(kind: str, tmp_path: Path) -> None:
    """And not when Python next looks for cycles: each of thousands may hold maps of thousands of channels."""
    build(f"{kind}-12", tmp_path / "m.onnx")
    gc.collect()
    gc.disable()
    try:
        bnfold.fold(tmp_path / "m.onnx")
        left = [each for each in gc.get_objects() if issubclass(type(each), Attempt | Blocked)]
    finally:
        gc.enable()
    assert not left
