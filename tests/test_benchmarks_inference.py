"""The benchmark of inference times forms that are what they are called, and keeps what it has measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import ROOT, graph_model, normal, op_types, run_ort, statistics
from support import feeds_for as some_feeds

import bnfold
from bnfold.runtime import CUDA, open_session

sys.path.insert(0, str(ROOT / "benchmarks"))

from inference import measure, verdict
from inference_feeds import difference, feeds_for
from inference_forms import affines, bound, forms_of
from inference_results import Row, read, versions, write
from inference_timing import LEAST_OPENINGS, LEAST_ROUNDS, OPENINGS, interleaved
from inference_weights import filled

MLP = ROOT / "models" / "mlp.onnx"
SOURCE = ROOT / "models" / "source_cnn_same.onnx"
MIXED = """(float[N, 4] x) => (float[N, 4] y) {
  product = MatMul (x, W)
  biased = Add (product, v)
  normalized = BatchNormalization (biased, scale, bias, mean, var)
  shifted = Sub (v, normalized)
  halved = Mul (shifted, half)
  moved = Add (halved, v)
  y = Mul (moved, v)
}
"""
PROGRAM = [sys.executable, str(ROOT / "benchmarks" / "inference.py")]


def mixed() -> ModelProto:
    """All that may and may not count as an affine."""
    scale, bias, mean, var = statistics(4)
    half = np.float32(0.5)
    return graph_model(MIXED, W=normal(4, 4), v=normal(4), half=half, scale=scale, bias=bias, mean=mean, var=var)


def row(form: str, off: float | None = 0.0) -> Row:
    return Row("m", 1, "cpu", form, (0.9, 1.0, 1.1), (0.9, 1.0, 1.1), nodes=3, affines=1, off=off)


# --- The models ---


def test_a_model_that_leaves_its_weights_out_is_there_with_weights_too(tmp_path: Path) -> None:
    text = """(float[1, 3, 5, 5] x) => (float[1, 4, 3, 3] y) {
      W = ConstantOfShape <value: tensor = float[1] {0.02}> (shape)
      y = Conv (x, W)
    }"""
    bare = graph_model(text, shape=np.array([4, 3, 3, 3]))
    onnx.save(bare, tmp_path / "bare8.onnx")
    bare.ir_version = 3  # every initializer is an input, too
    bare.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [4]))
    onnx.save(bare, tmp_path / "bare3.onnx")
    onnx.save(mixed(), tmp_path / "other.onnx")
    paths = sorted(tmp_path.glob("*.onnx"))
    made = list(filled(paths, tmp_path / "made"))
    assert [path.name for path in made] == ["bare3_with_weights.onnx", "bare8_with_weights.onnx"]
    for path in made:
        model = onnx.load(path)
        assert op_types(model) == ["Conv"]
        assert len(np.unique(numpy_helper.to_array(model.graph.initializer[-1]))) == 4 * 3 * 3 * 3
        onnx.checker.check_model(model)
        assert np.isfinite(run_ort(model, {"x": normal(1, 3, 5, 5)})[0]).all()
    before = [path.read_bytes() for path in made]
    for path in made:
        path.unlink()
    assert [path.read_bytes() for path in filled(paths, tmp_path / "made")] == before, "the same each time"


# --- The forms ---


def test_affines_are_normalizations_and_vectors_but_no_bias_no_number_and_no_output() -> None:
    assert [(node.op_type, mapped) for node, mapped in affines(mixed())] == [
        ("BatchNormalization", "biased"),
        ("Sub", "normalized"),
        ("Add", "halved"),
    ]


def test_the_bias_of_a_layer_that_keras_has_written_is_no_affine() -> None:
    text = "(float[N, 4] x) => (float[N, 4] y) { p = MatMul(x, W) c = Cast<to = 1>(p) b = Add(c, v) y = Relu(b) }"
    assert not list(affines(graph_model(text, W=normal(4, 4), v=normal(4))))


def test_the_bound_is_the_graph_without_its_affines() -> None:
    model = mixed()
    cut = bound(model)
    assert op_types(cut) == ["MatMul", "Add", "Mul", "Mul"]
    assert not list(affines(cut))
    feeds = some_feeds(model)
    expected = (feeds["x"] @ normal(4, 4) + normal(4)) * 0.5 * normal(4)
    assert np.allclose(run_ort(cut, feeds)[0], expected, rtol=1e-5)


def test_bnfold_and_the_original_compute_the_same_and_the_bound_does_not() -> None:
    forms = forms_of(SOURCE, None)
    drawn = feeds_for(forms["original"], 3)
    assert drawn is not None
    outputs = {name: run_ort(model, drawn[0]) for name, model in forms.items()}
    assert list(forms) == ["original", "again", "bnfold", "bound"]
    assert difference(outputs["original"], outputs["bnfold"]) < 1e-5
    assert difference(outputs["original"], outputs["bound"]) > 1e-2


def test_where_weights_are_inputs_too_they_are_left_alone_unless_frozen(tmp_path: Path) -> None:
    model = onnx.load(SOURCE)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.save(model, tmp_path / "m.onnx")
    forms = forms_of(tmp_path / "m.onnx", None)
    counts = {name: op_types(form).count("BatchNormalization") for name, form in forms.items()}
    assert counts == {"original": 2, "again": 2, "bnfold": 2, "bnfold-frozen": 1, "bound": 0}
    model.ir_version = 3
    onnx.save(model, tmp_path / "m.onnx")
    assert "bnfold-frozen" not in forms_of(tmp_path / "m.onnx", None)


def test_a_peers_result_that_does_not_run_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(onnx.load(MLP), tmp_path / "mlp.good.onnx")
    other = onnx.load(MLP)
    other.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(other, tmp_path / "mlp.bad.onnx")
    rows = measure(MLP, 1, tmp_path, "CPUExecutionProvider", seconds=0.0)
    assert [made.form for made in rows] == ["original", "again", "bnfold", "good", "bound"]
    assert "mlp, bad is left out" in capsys.readouterr().err


# --- The inputs, the outputs ---


def test_a_model_with_an_open_batch_is_run_on_the_one_asked_for() -> None:
    drawn = feeds_for(onnx.load(MLP), 5)
    assert drawn is not None
    feeds, batch = drawn
    assert batch == 5
    assert [len(values) for values in feeds.values()] == [5]


def test_a_model_with_a_fixed_batch_is_run_on_its_own_and_once() -> None:
    model = graph_model("(float[3, 2] x) => (float[3, 2] y) { y = Relu (x) }")
    drawn = feeds_for(model, 1)
    assert drawn is not None
    assert drawn[1] == 3
    assert feeds_for(model, 32) is None


def test_indices_are_drawn_from_those_that_there_are() -> None:
    model = graph_model("(int64[N, 6] i) => (float[N, 6, 3] y) { y = Gather (table, i) }", table=normal(5, 3))
    drawn = feeds_for(model, 4)
    assert drawn is not None
    assert run_ort(model, drawn[0])[0].shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("expected", "output", "off"),
    [
        ([1.0, -4.0], [1.0, -3.0], 0.25),
        ([np.nan, np.inf, 2.0], [np.nan, np.inf, 2.0], 0.0),
        ([0.0, 0.0], [0.0, 0.5], 0.5),
        ([], [], 0.0),
    ],
)
def test_outputs_are_as_far_off_as_their_worst_number(expected: list[float], output: list[float], off: float) -> None:
    assert difference([np.array(expected, np.float32)], [np.array(output, np.float32)]) == off


def test_outputs_of_another_shape_are_no_outputs() -> None:
    with pytest.raises(bnfold.ModelError, match="other shapes"):
        difference([np.zeros((2, 1))], [np.zeros((1, 2))])


@pytest.mark.parametrize(
    ("off", "text"), [(0.0, "off by 0e+00"), (0.02, "WRONG: off by 2e-02"), (np.nan, "WRONG: off by nan")]
)
def test_a_form_that_computes_something_else_is_called_wrong(off: float, text: str) -> None:
    assert verdict(off) == text


# --- The times ---


def test_every_form_is_opened_and_run_in_every_round() -> None:
    model = onnx.load(MLP)
    drawn = feeds_for(model, 1)
    assert drawn is not None
    times = interleaved([model.SerializeToString()] * 3, drawn[0], seconds=1.0)
    assert times.open.shape == (OPENINGS, 3)
    assert times.run.shape[0] >= 2 * OPENINGS
    assert times.run.shape[1] == 3
    assert (times.run > 0).all()
    assert (times.open > times.run.min()).all()


def test_what_takes_long_is_opened_less_often() -> None:
    model = onnx.load(MLP)
    drawn = feeds_for(model, 1)
    assert drawn is not None
    times = interleaved([model.SerializeToString()], drawn[0], seconds=0.0)
    assert len(times.open) == LEAST_OPENINGS
    assert len(times.run) == LEAST_OPENINGS * LEAST_ROUNDS


# --- The results ---


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [row("original"), row("bound", None)]
    write(tmp_path / "a" / "r.json", rows, versions({"onnxsim": "1"}))
    assert read(tmp_path / "a" / "r.json") == rows
    assert read(tmp_path / "other.json") == []


def test_rows_of_another_version_of_bnfold_are_measured_again(tmp_path: Path) -> None:
    write(tmp_path / "r.json", [row("original")], versions({}) | {"bnfold": "0.0"})
    assert read(tmp_path / "r.json") == []


def test_what_is_measured_is_not_measured_again_unless_asked_for(tmp_path: Path) -> None:
    program = [*PROGRAM, str(MLP), "--seconds", "0", "--write", str(tmp_path / "r.json")]
    first, second, other, again = (
        subprocess.run([*program, *options], capture_output=True, text=True, check=True).stdout
        for options in ([], [], ["--batch", "1", "2"], ["--again"])
    )
    assert "mlp, batch 1, cpu" in first
    assert second == ""
    assert "mlp, batch 1, cpu" in again
    assert "mlp, batch 2, cpu" in other
    assert "mlp, batch 1, cpu" not in other
    document = json.loads((tmp_path / "r.json").read_text())
    assert document.keys() == {"date", "machine", "versions", "rows"}
    forms = ["original", "again", "bnfold", "bound"]
    assert [(entry["batch"], entry["form"]) for entry in document["rows"]] == [
        (n, form) for n in (2, 1) for form in forms
    ]
    assert document["rows"][0]["run_ratio"] == [1, 1, 1]
    assert document["rows"][3]["off"] is None


def test_without_a_device_cuda_is_refused_in_a_sentence(tmp_path: Path) -> None:
    try:
        open_session(str(MLP), provider=CUDA)
    except bnfold.RuntimeUnavailable as error:
        reason = str(error)
    else:
        pytest.skip("there is a CUDA device")
    program = [*PROGRAM, str(MLP), "--provider", "cuda", "--write", str(tmp_path / "r.json")]
    ran = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.strip().count("\n") == 0
    assert reason.split(",")[0].split("(")[0] in ran.stderr
    assert not (tmp_path / "r.json").exists()
