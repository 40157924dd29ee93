"""Right folds of models that make much of a rounding are not called different, and wrong ones still are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from random_networks import build
from support import Array, graph_model, normal

import bnfold
from bnfold.checking.report import CheckReport
from bnfold.checking.rerounded import rerounded
from bnfold.checking.subject import Subject


def cancelling() -> ModelProto:
    """The difference of two products that are nearly the same; onnxruntime folds no Mul into a MatMul."""
    weight = normal(16, 8, seed=1)
    body = "a = MatMul(x, V) b = Mul(a, k) c = MatMul(x, W) d = Mul(c, k) y = Sub(b, d)"
    constants: dict[str, Any] = {
        "V": weight,
        "W": weight * np.float32(1 + 1e-4),
        "k": np.linspace(0.7, 3, 8, dtype=np.float32),
    }
    return graph_model(f"(float[4,16] x) => (float[4,8] y) {{ {body} }}", **constants)


def coarse() -> ModelProto:
    """A random network in float16 that rounds sums more coarsely than its fold does, which has fewer operators."""
    return build(77, number=234).model


MODELS = {"a weight shows": cancelling(), "a sum shows": coarse()}


def checked(model: ModelProto, other: ModelProto) -> tuple[CheckReport, list[str]]:
    said: list[str] = []
    return bnfold.check(model, other, progress=said.append), said


def fold(model: ModelProto) -> ModelProto:
    result = bnfold.fold(model)
    assert result.folded
    return result.model


def with_weight_off(model: ModelProto, by: float) -> ModelProto:
    """The largest weight with every number off, by that share of it mostly."""
    changed = ModelProto()
    changed.CopyFrom(model)
    tensor = max(changed.graph.initializer, key=lambda tensor: tensor.ByteSize())
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(
        numpy_helper.from_array((values * (1 + by * normal(*values.shape))).astype(values.dtype), tensor.name)
    )
    return changed


@pytest.mark.parametrize("name", MODELS)
def test_a_right_fold_of_a_model_that_makes_much_of_a_rounding_is_not_called_different(name: str) -> None:
    report, said = checked(MODELS[name], fold(MODELS[name]))
    assert report
    assert "rounding noise" in report.outputs[0].basis
    assert any("rounded otherwise" in line for line in said), "another tolerance would have done: nothing is tested"
    assert any("float64" in line for line in said) == (name == "a sum shows")


@pytest.mark.parametrize("by", [0.01, 0.2])
@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_fold_of_it_is_found(name: str, by: float) -> None:
    report, said = checked(MODELS[name], with_weight_off(fold(MODELS[name]), by))
    assert not report
    assert not report.outputs[0].equal
    assert any("float64" in line for line in said), "all that could explain it was looked at"


def test_a_model_that_is_equal_anyway_is_not_run_once_more() -> None:
    model = graph_model(
        "(float[4,16] x) => (float[4,8] y) { a = MatMul(x, V) y = Mul(a, k) }",
        V=normal(16, 8),
        k=np.full(8, 3, np.float32),
    )
    report, said = checked(model, fold(model))
    assert report
    assert not any("rounded otherwise" in line or "float64" in line for line in said)


def test_a_tolerance_that_is_given_is_the_one_that_counts() -> None:
    model = MODELS["a weight shows"]
    assert not bnfold.check(model, fold(model), rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_every_weight_moves_to_a_neighbour(dtype: Any) -> None:
    finfo: Any = ml_dtypes.finfo
    largest = float(finfo(dtype).max)
    values = np.concatenate([normal(500), [0.0, 1.0, -2.0, 1e-6, largest]]).astype(dtype)
    (moved,) = weights_of(rerounded(Subject(of_product(values).SerializeToString(), "m")))
    bits, other = (array.view(f"i{array.dtype.itemsize}").astype(np.int64) for array in (values, moved))
    steps = bits - other
    assert moved.dtype == values.dtype
    assert np.isfinite(moved.astype(np.float64)).all()
    assert set(steps[:500]) == {-1, 1}
    assert steps[500] == 0, "a zero stays"
    assert 150 < (steps[:500] == 1).sum() < 350


def test_integers_and_what_no_operator_multiplies_stay() -> None:
    model = graph_model(
        "(float[2,3] x) => (float[3,2] y) { r = Reshape(x, t) y = Clip(r, low) }",
        t=np.array([3, 2]),
        low=np.array(-1, np.float32),
    )
    assert rerounded(Subject(model.SerializeToString(), "m")) is None


def test_a_model_too_large_for_one_message_is_not_loaded_for_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    onnx.save(MODELS["a weight shows"], tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    model = Subject(tmp_path / "m.onnx", "m")
    assert rerounded(model) is not None
    monkeypatch.setattr("bnfold.model.forms.INLINE_LIMIT", 1000)
    assert rerounded(Subject(tmp_path / "m.onnx", "m")) is None
    (tmp_path / "n.onnx").write_bytes((tmp_path / "m.onnx").read_bytes())
    for file in tmp_path.iterdir():
        if file.suffix != ".onnx":
            file.unlink()
    assert rerounded(Subject(tmp_path / "n.onnx", "n")) is None, "its data are gone"


def of_product(values: Array) -> ModelProto:
    model = graph_model(f"(float[1,{values.size}] x) => (float[1,{values.size}] y) {{ y = Mul(x, k) }}")
    model.graph.initializer.append(numpy_helper.from_array(values, "k"))
    return model


def weights_of(model: bytes | None) -> list[Array]:
    assert model is not None
    return [numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(model).graph.initializer]
