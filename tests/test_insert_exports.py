"""Networks that torch exports: BatchNormalizations put in, with and without data, and folded again."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
from insertions.properties import live_nodes
from onnx import ModelProto
from support import Feeds, normal, run_ort

import bnfold
from bnfold.inserting.insert import insert

pytest.importorskip("torch", reason="the networks are exported by torch: pip install '.[models]'")
pytest.importorskip("onnxscript", reason="torch exports with onnxscript: pip install '.[models]'")
from insertions.networks import IMAGE, NETWORKS, exported

PUT_IN = {"resnet18": 20, "mobilenet_v2": 14, "densenet": 7, "vgg": 5, "unet": 4, "vit": 13, "mixer": 9}
"""Behind every linear operator but the last; not behind products of two activations, as in attention, nor in
front of a normalization that stays, as in densenet's fold."""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's exporter
each_network = pytest.mark.parametrize("name", NETWORKS)


@cache
def folded(name: str) -> ModelProto:
    return bnfold.fold(exported(NETWORKS[name])).model


def batches(count: int = 3) -> list[Feeds]:
    return [{"image": normal(*IMAGE, seed=seed)} for seed in range(count)]


@each_network
def test_an_identity_changes_no_bit_and_folds_to_what_was_there(name: str) -> None:
    model = folded(name)
    result = insert(model)
    assert len(result.inserted) == PUT_IN[name]
    back = bnfold.fold(result.model).model
    assert not Counter(live_nodes(back)) - Counter(live_nodes(model))
    for feeds in batches():
        (before,), (after,), (restored,) = (run_ort(each, feeds) for each in (model, result.model, back))
        np.testing.assert_array_equal(after, before)
        np.testing.assert_array_equal(restored, before)


@each_network
def test_measured_statistics_keep_the_function_and_fold_to_it(name: str) -> None:
    model = folded(name)
    result = insert(model, batches())
    assert bnfold.check(model, result.model)
    back = bnfold.fold(result.model)
    assert bnfold.check(model, back.model)
