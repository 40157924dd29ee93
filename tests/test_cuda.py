"""Every model on the CUDA provider, original and folded. Without a device these skip, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import MODELS, REAL_MODELS

import bnfold
from bnfold.errors import RuntimeUnavailable
from bnfold.runtime import CPU, CUDA, Placement, open_session
from bnfold.runtime.placement import computes

pytestmark = pytest.mark.cuda

TRAINING = {"train_mode_bn_3out"}
"""Normalizes in training mode, which onnxruntime refuses on CUDA (onnxruntime#16867)."""

PATHS = [p for folder in (MODELS, REAL_MODELS) for p in sorted(folder.glob("*.onnx")) if p.stem not in TRAINING]
each_model = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True, scope="module")
def _device() -> None:
    """Skip where the provider runs nothing; a session that opens has proved its placement."""
    try:
        open_session(MODELS / "residual.onnx", provider=CUDA)
    except RuntimeUnavailable as error:
        pytest.skip(str(error))


def assert_on_cuda(*placements: Placement) -> None:
    """Nodes that compute were on CUDA, in each."""
    assert placements
    assert all(CUDA in placement and computes(placement, CUDA) for placement in placements)


def is_constant(path: Path) -> bool:
    """onnx ships these with weights that are all alike, so that nothing their outputs do depends on the inputs."""
    return path.stem.startswith("light_")


@each_model
def test_a_model_equals_itself_on_cuda(path: Path) -> None:
    report = bnfold.check(path, path, provider="cuda", allow_vacuous=is_constant(path))
    assert_on_cuda(report.placement_before, report.placement_after)
    assert report, [(output.max_abs, output.tolerance, output.vacuous) for output in report.outputs]


@each_model
@pytest.mark.parametrize("tf32", [False, True], ids=["float32", "tf32"])
def test_a_fold_is_equal_on_cuda(path: Path, tf32: bool) -> None:
    result = bnfold.fold(path)
    if not result:
        pytest.skip("nothing folds in this model")
    report = bnfold.check(path, result.model, provider="cuda", tf32=tf32, allow_vacuous=is_constant(path))
    assert_on_cuda(report.placement_before, report.placement_after)
    assert report, [(output.max_abs, output.tolerance, output.vacuous) for output in report.outputs]


@each_model
def test_a_fold_is_equal_across_providers(path: Path) -> None:
    report = bnfold.check(path, bnfold.fold(path).model, provider="all", allow_vacuous=is_constant(path))
    found = {(each.matchup.before, each.matchup.after): each for each in report.comparisons}
    assert {(CPU, CPU), (CUDA, CUDA), (CPU, CUDA)} <= found.keys(), report.remarks
    assert_on_cuda(found[CUDA, CUDA].placement_before, found[CUDA, CUDA].placement_after)
    assert_on_cuda(found[CPU, CUDA].placement_after)
    assert report, [(output.max_abs, output.tolerance, output.vacuous) for output in report.outputs]


def test_a_wrong_fold_is_caught_on_cuda() -> None:
    path = MODELS / "residual.onnx"
    wrong = bnfold.fold(path).model
    bias = next(tensor for tensor in wrong.graph.initializer if len(tensor.dims) == 1 and tensor.data_type == 1)
    bias.raw_data = bytes(len(bias.raw_data))
    report = bnfold.check(path, wrong, provider="cuda")
    assert_on_cuda(report.placement_before, report.placement_after)
    assert not report


def test_training_mode_is_refused_by_name() -> None:
    path = REAL_MODELS / "train_mode_bn_3out.onnx"
    if not path.exists():
        pytest.skip("the folder of real models (BNFOLD_MODELS) is not on this machine")
    with pytest.raises((RuntimeUnavailable, bnfold.ModelError)):
        bnfold.check(path, path, provider="cuda")
