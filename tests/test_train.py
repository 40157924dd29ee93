"""`bnfold train` and `bnfold.train`: what they make of real digits, what they write, and what they refuse."""

from __future__ import annotations

import runpy
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from support import MODELS, graph_model, normal, op_types, run_ort

import bnfold

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn, which has the digits, is not installed")


DIGITS = runpy.run_path(str(MODELS / "digits.py"))


def digits() -> tuple[dict[str, Any], dict[str, Any]]:
    """The digits to train on and those to test on, under the name that the source's network gives its input."""
    split = DIGITS["load_split"]()
    train = {"image": split.train_images, "target": split.train_labels}
    return train, {"image": split.test_images, "target": split.test_labels}


def source_from_scratch(seed: int = 0) -> ModelProto:
    """The source's network without BatchNormalization, with random weights."""
    model = ModelProto()
    model.CopyFrom(bnfold.fold(MODELS / "source_cnn.onnx").model)
    rng = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        shape = tuple(tensor.dims)
        bound = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.0
        tensor.CopyFrom(numpy_helper.from_array(rng.uniform(-bound, bound, shape).astype(np.float32), tensor.name))
    return model


def mlp(rows: str = "N") -> ModelProto:
    """Two Gemms of 4, 8 and 3 features."""
    return graph_model(
        f"(float[{rows},4] x) => (float[{rows},3] y) {{ h = Gemm(x, w, b) r = Relu(h) y = Gemm(r, v, c) }}",
        w=normal(4, 8),
        b=normal(8),
        v=normal(8, 3),
        c=normal(3),
    )


def mlp_data(rows: int = 64) -> dict[str, Any]:
    x = normal(rows, 4, seed=3)
    return {"x": x, "target": np.abs(x[:, :3]).argmax(axis=1)}


def values(model: ModelProto) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_the_source_s_network_learns_the_digits_from_scratch_and_its_fold_is_the_same() -> None:
    train, test = digits()
    result = bnfold.train(source_from_scratch(), train, test, lr=0.1, epochs=4, batch_size=32, reset=True)
    assert op_types(result.model).count("BatchNormalization") == 2
    assert op_types(result.folded.model).count("BatchNormalization") == 0
    trained, folded = (
        run_ort(model, {"image": test["image"]})[0].argmax(axis=1) for model in (result.model, result.folded.model)
    )
    assert np.array_equal(trained, folded)
    assert (folded == test["target"]).mean() == result.scores.folded.accuracy == result.scores.trained.accuracy
    assert result.scores.folded.accuracy is not None
    assert result.scores.folded.accuracy > 0.97
    assert result.agreement == 1.0
    assert result.scores.before.accuracy is not None
    assert result.scores.before.accuracy < 0.3
    assert bnfold.check(result.model, result.folded.model)
