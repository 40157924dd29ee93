"""A check finds what is wrong: every kind of fault, planted into right folds of real models.

A fault in the first operator has to go through the whole model to be seen; that is where they are planted, and in the
last one as well in the long run. In between a fault may hide: behind a Relu that is never open for these inputs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import onnx
import pytest
from mutations import FAULTS, Fault, Pair
from onnx import ModelProto, TensorProto, helper
from support import MODELS, REAL_MODELS, needs_real_models

import bnfold

TWO_OUTPUTS = "residual with probabilities"
"""None of ours has two outputs, so one gets them."""

OURS = ("mlp", "residual", "source_cnn", "source_cnn_bn_first", "source_cnn_pool", "source_cnn_same", TWO_OUTPUTS)
REAL = ("burn_mnist", "fastai_tabular", "keras3_source_cnn", "nids_mlp_gemm_bn", "rapidocr_cls_paddle")
SLOW = ("fsanet_1x1", "gtcrn_simple", "meso4_tf2onnx", "ultraface_rfb320", "vietcombank_captcha")

SMALL = {fault.name for fault in FAULTS if any(part in fault.name for part in ("1e-3", "1.001", "beyond"))}
"""Faults that come near the rounding noise, or that few numbers show: they are looked for with more draws."""

BELOW_THE_TOLERANCE = {
    "one weight off by 1e-3 of the largest of its tensor": {"fastai_tabular"},  # moves the scores by 0.4 tolerances
    "one weight of median size off by 1e-3 of the largest": {"meso4_tf2onnx"},  # by 0.8 tolerances
    "an Add takes only one side": {"fsanet_1x1"},  # the other side is zero there: no tensor of the graph differs
    "only for images smaller than 32": {"rapidocr_cls_paddle"},  # nothing says how small they may be
}
"""What does not reach the outputs of a model, measured with 12 draws where the fault is small."""

by_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@cache
def right_fold(path: Path) -> Pair:
    """A model and its fold, which the faults copy."""
    before = with_probabilities() if path.stem == TWO_OUTPUTS else onnx.load(path)
    return Pair(before, bnfold.fold(before).model)


def with_probabilities() -> ModelProto:
    """residual.onnx with the Softmax of its only output beside it."""
    model = onnx.load(MODELS / "residual.onnx")
    logits = model.graph.output[0]
    model.graph.node.append(helper.make_node("Softmax", [logits.name], ["probabilities"]))
    model.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None))
    return model


def is_caught(fault: Fault, pair: Pair) -> bool:
    """Whether a check is not true, or refuses: for another interface, or since only the model after does not run."""
    try:
        return not bnfold.check(*pair, draws=12 if fault.name in SMALL else 3)
    except bnfold.UsageError:
        return True
    except bnfold.ModelError as error:
        return str(error).startswith("the model after")


@by_fault
def test_every_fault_is_caught_in_every_model_of_this_repository(fault: Fault) -> None:
    planted = {name: fault.plant(right_fold(MODELS / f"{name}.onnx"), 0.0) for name in OURS}
    assert not [name for name, pair in planted.items() if pair is not None and not is_caught(fault, pair)]


@needs_real_models
@by_fault
def test_every_fault_is_caught_in_real_models(fault: Fault) -> None:
    planted = {name: fault.plant(right_fold(REAL_MODELS / f"{name}.onnx"), 0.0) for name in REAL}
    missed = {name for name, pair in planted.items() if pair is not None and not is_caught(fault, pair)}
    assert missed == BELOW_THE_TOLERANCE.get(fault.name, set()) & set(REAL)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
@by_fault
def test_every_fault_is_caught_in_models_that_take_longer(fault: Fault, name: str) -> None:
    path = REAL_MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip("the folder of real models (BNFOLD_MODELS) is not on this machine")
    pair = fault.plant(right_fold(path), 0.0)
    if pair is None:
        pytest.skip("the model has no place for this fault")
    assert is_caught(fault, pair) == (name not in BELOW_THE_TOLERANCE.get(fault.name, ()))


def test_there_are_faults_of_every_kind_that_the_issue_names() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30


@pytest.mark.parametrize("name", OURS)
def test_what_faults_are_planted_into_is_right(name: str) -> None:
    assert bnfold.check(*right_fold(MODELS / f"{name}.onnx"))


@by_fault
def test_a_fault_leaves_the_right_fold_alone_and_has_a_place_in_some_model(fault: Fault) -> None:
    paths = [MODELS / f"{name}.onnx" for name in OURS] + [REAL_MODELS / f"{name}.onnx" for name in REAL]
    folds = [right_fold(path) for path in paths if path.exists() or path.stem == TWO_OUTPUTS]
    before = [pair.after.SerializeToString() for pair in folds]
    planted = [fault.plant(pair, 0.0) for pair in folds]
    assert before == [pair.after.SerializeToString() for pair in folds]
    assert any(pair is not None for pair in planted) or not REAL_MODELS.is_dir()
