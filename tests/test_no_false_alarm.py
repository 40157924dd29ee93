"""A right fold passes: real models, and deep random networks in float32 and float16, with room below the tolerance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from deep_networks import KINDS, random_network
from support import MODELS, REAL_MODELS

import bnfold

HALF = {"chain", "dense", "joined", "residual"}
"""Kinds that are tried in float16 as well."""

BOUNDED = {"chain", "dense", "residual"}
"""Kinds whose activations stay in the range of float16 at any depth; the others overflow at 100 layers."""

LARGE = {
    "nobn_candy_style",
    "ort_fuse_conv_bn_mul_add_unsqueeze",
    "polygraphy_residual_block",
    "train_mode_bn_3out",
    "gtcrn_simple",
}
"""Models whose check takes seconds."""

PATHS = [path for folder in (MODELS, REAL_MODELS) for path in sorted(folder.glob("*.onnx"))]
REAL: list[Any] = [
    pytest.param(path, marks=pytest.mark.slow) if path.stem in LARGE else path
    for path in PATHS
    if not path.stem.startswith("light_")  # constant outputs; tests/test_real_models.py gives them weights
]
SETTINGS = [(kind, depth, scale) for kind in KINDS for depth in (6, 20) for scale in (0.5, 1.0, 2.0)]
DEEP = [(kind, depth, scale) for kind in KINDS for depth in (50, 100) for scale in (0.25, 0.5, 1.0, 2.0, 4.0)]


def assert_right(before: onnx.ModelProto | Path, after: onnx.ModelProto, *, forgets: bool = False) -> None:
    """The check passes, was no sham (but where a network may forget its inputs), and passes by a margin."""
    report = bnfold.check(before, after, allow_vacuous=forgets)
    found = [(output.name, output.needed / output.tolerance, output.vacuous) for output in report.outputs]
    assert report, found
    assert max(share for _, share, _ in found) < 0.8, found


@pytest.mark.parametrize("prefer", ["speed", "no-batchnorm"])
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_right_fold_of_a_real_model_passes(path: Path, prefer: str) -> None:
    result = bnfold.fold(path, prefer=prefer)
    if not result:
        pytest.skip("nothing folds in this model")
    assert_right(path, result.model)


@pytest.mark.parametrize(("kind", "depth", "scale"), SETTINGS)
def test_a_right_fold_of_a_random_network_passes(kind: str, depth: int, scale: float) -> None:
    model = random_network(kind, depth=depth, scale=scale, seed=depth)
    result = bnfold.fold(model)
    assert result
    assert_right(model, result.model)


@pytest.mark.parametrize(("kind", "depth", "scale"), [found for found in SETTINGS if found[0] in HALF])
def test_a_right_fold_of_a_random_network_in_float16_passes(kind: str, depth: int, scale: float) -> None:
    model = random_network(kind, depth=depth, scale=scale, seed=depth, dtype=np.float16)
    result = bnfold.fold(model)
    assert result
    assert_right(model, result.model)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "depth", "scale"), DEEP)
def test_a_right_fold_of_a_deep_random_network_passes(kind: str, depth: int, scale: float) -> None:
    for seed in range(2):
        model = random_network(kind, depth=depth, scale=scale, seed=seed)
        assert_right(model, bnfold.fold(model).model)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "depth", "scale"), [found for found in DEEP if found[0] in BOUNDED])
def test_a_right_fold_of_a_deep_random_network_in_float16_is_equal(kind: str, depth: int, scale: float) -> None:
    """Networks of 100 layers all but forget their inputs: what is left of them is less than float16 can show."""
    for seed in range(2):
        model = random_network(kind, depth=depth, scale=scale, seed=seed, dtype=np.float16)
        assert_right(model, bnfold.fold(model).model, forgets=True)


@pytest.mark.parametrize("kind", ["depthwise", "joined"])
def test_what_overflows_where_rounding_decides_shows_nothing_and_is_not_different(kind: str) -> None:
    """100 layers in float16 that grow: onnxruntime's own rewriting of the original moves its infinities."""
    model = random_network(kind, depth=100, scale=1.0, seed=0, dtype=np.float16)
    (output,) = bnfold.check(model, bnfold.fold(model).model).outputs
    assert output.equal
    assert output.vacuous is not None
