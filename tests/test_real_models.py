"""Real models, ours and those of the folder that BNFOLD_MODELS names: what folds, what stays, and the proof of each."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, helper
from support import MODELS, REAL_MODELS, ROOT, Array, needs_real_models, passes_checker

import bnfold

sys.path.insert(0, str(ROOT / "benchmarks"))

from inference_weights import with_weights

# BatchNormalizations there are, and how many of them the mathematics leaves.
OURS = {
    "mlp": (2, 0),
    "residual": (6, 0),
    "source_cnn": (2, 0),
    "source_cnn_bn_first": (2, 0),
    "source_cnn_pool": (2, 1),
    "source_cnn_same": (2, 1),
}
REAL = {
    "burn_mnist": (2, 0),
    "fastai_tabular": (3, 0),
    "fsanet_1x1": (14, 0),
    "gtcrn_simple": (11, 0),
    "keras3_source_cnn": (0, 0),
    "light_densenet121": (121, 62),
    "light_inception_v2": (69, 0),
    "light_resnet50": (53, 0),
    "light_shufflenet": (49, 0),
    "meso4_tf2onnx": (4, 3),
    "nids_mlp_gemm_bn": (2, 0),
    "nobn_candy_style": (0, 0),
    "nobn_mnist8_cntk": (0, 0),
    "ort_fuse_conv_bn_mul_add_unsqueeze": (1, 0),
    "polygraphy_residual_block": (5, 0),
    "rapidocr_cls_paddle": (35, 0),
    "train_mode_bn_3out": (1, 1),
    "ultraface_rfb320": (35, 35),
    "ultraface_rfb320_folded_ref": (0, 0),
    "vietcombank_captcha": (3, 3),
}
CASES: list[Any] = [(MODELS / f"{name}.onnx", *counts) for name, counts in OURS.items()]
CASES += [pytest.param(REAL_MODELS / f"{name}.onnx", *counts, marks=needs_real_models) for name, counts in REAL.items()]


def normalizations(model: ModelProto) -> int:
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)


@pytest.mark.parametrize(
    ("path", "total", "left"), CASES, ids=lambda value: value.stem if isinstance(value, Path) else ""
)
def test_a_real_model_folds_as_far_as_it_can(path: Path, total: int, left: int, tmp_path: Path) -> None:
    result = bnfold.fold(path)
    assert normalizations(onnx.load(path)) == total
    assert normalizations(result.model) == left == len(result.kept)
    assert all(kept.code and kept.reason for kept in result.kept)
    out = tmp_path / "folded.onnx"
    result.save(out)
    if not result:
        assert out.read_bytes() == path.read_bytes()
        return
    assert bnfold.check(path, out, allow_vacuous=path.stem.startswith("light_"))
    assert passes_checker(onnx.load(out)) or not passes_checker(onnx.load(path))


@needs_real_models
@pytest.mark.parametrize("name", ["light_shufflenet", "light_resnet50", "light_inception_v2", "light_densenet121"])
def test_a_light_model_with_real_weights_folds_to_an_equal_one(name: str, tmp_path: Path) -> None:
    """As they come, these models have constant outputs, so that a comparison of them shows nothing."""
    before = tmp_path / "alive.onnx"
    onnx.save(alive(onnx.load(REAL_MODELS / f"{name}.onnx")), before)
    result = bnfold.fold(before)
    assert len(result.kept) == REAL[name][1]
    result.save(tmp_path / "folded.onnx")
    report = bnfold.check(before, tmp_path / "folded.onnx", draws=2)
    assert report, [(output.max_abs, output.tolerance, output.vacuous) for output in report.outputs]


@needs_real_models
@pytest.mark.parametrize("name", [name for name, (_, left) in REAL.items() if left])
def test_no_affine_is_left_as_a_batch_normalization_where_none_is_wanted(name: str, tmp_path: Path) -> None:
    path = REAL_MODELS / f"{name}.onnx"
    result = bnfold.fold(path, prefer="no-batchnorm")
    assert {kept.code for kept in result.kept} <= {"training", "overridable"}, "these are no affines"
    if not result.settled:
        return
    result.save(tmp_path / "folded.onnx")
    assert bnfold.check(path, tmp_path / "folded.onnx", allow_vacuous=path.stem.startswith("light_"))
    assert not bnfold.fold(result.model, prefer="no-batchnorm")


def alive(model: ModelProto) -> ModelProto:
    """The model with weights, and no softmax that would hide a difference."""
    filled = with_weights(model)
    for node in filled.graph.node:
        if node.op_type == "Softmax":
            node.op_type = "Identity"
            del node.attribute[:]
    return filled


@needs_real_models
def test_ultraface_says_that_its_weights_are_overridable_and_folds_whole_when_they_are_frozen() -> None:
    path = REAL_MODELS / "ultraface_rfb320.onnx"
    asked = bnfold.fold(path)
    assert len(asked.kept) == 35
    assert {kept.code for kept in asked.kept} == {"overridable"}
    assert all("--freeze-initializers" in kept.reason for kept in asked.kept)
    (remark,) = asked.remarks
    assert "(244, as " in remark
    frozen = bnfold.fold(path, freeze_initializers=True)
    assert not frozen.kept
    assert not frozen.remarks
    assert [entry.name for entry in frozen.model.graph.input] == ["input"]
    assert bnfold.check(path, frozen.model)


@needs_real_models
def test_ultraface_is_equal_to_its_folded_twin_in_what_the_twin_computes() -> None:
    """The author's own folded file stops before the boxes are decoded; so does this comparison."""
    ours = bnfold.fold(REAL_MODELS / "ultraface_rfb320.onnx", freeze_initializers=True).model
    twin = onnx.load(REAL_MODELS / "ultraface_rfb320_folded_ref.onnx")
    raw = next(node for node in ours.graph.node if node.op_type == "Concat" and node.output[0] == undecoded_boxes(ours))
    ours.graph.output.append(helper.make_tensor_value_info(raw.output[0], 1, None))
    image = {"input": np.random.default_rng(0).uniform(-1, 1, (1, 3, 240, 320)).astype(np.float32)}
    scores, _, boxes = run(ours, image)
    twin_scores, twin_boxes = run(twin, image)
    np.testing.assert_allclose(scores, twin_scores, atol=2e-5)
    np.testing.assert_allclose(boxes, twin_boxes, atol=2e-5 * np.abs(twin_boxes).max())


def undecoded_boxes(model: ModelProto) -> str:
    """The value of shape [1, 4420, 4] that is joined from the heads, before any arithmetic."""
    heads = [node for node in model.graph.node if node.op_type == "Concat" and len(node.input) == 4]
    readers = {node.input[0] for node in model.graph.node if node.op_type == "Slice"}
    return next(node.output[0] for node in heads if node.output[0] in readers)


def run(model: ModelProto, feeds: dict[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, feeds)
    return outputs


@needs_real_models
def test_the_table_in_the_docs_lists_every_real_model() -> None:
    table = (MODELS.parent / "docs" / "coverage.md").read_text(encoding="utf-8")
    present = sorted(path.name for folder in (MODELS, REAL_MODELS) for path in folder.glob("*.onnx"))
    assert len(present) >= 24
    assert all(f"`{name}`" in table for name in present)
