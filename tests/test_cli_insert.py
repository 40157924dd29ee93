"""`bnfold insert` and `bnfold calibrate`: what they print, write and refuse."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Outcome, bnfold_process
from onnx import ModelProto, numpy_helper
from support import MODELS, graph_model, normal, op_types

import bnfold


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A network that has no BatchNormalization any more."""
    bnfold.fold(MODELS / "source_cnn.onnx").save(tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    path = tmp_path / "digits.npz"
    np.savez(path, image=np.abs(normal(40, 1, 8, 8)))
    return path


def normalizations(path: Path) -> list[str]:
    return [node.name for node in onnx.load(path).graph.node if node.op_type == "BatchNormalization"]


def assert_refused(outcome: Outcome, said: str) -> None:
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("bnfold: ")
    assert outcome.err.count("\n") == 1
    assert said in outcome.err


def test_an_identity_is_inserted_proved_and_written_beside_the_model(bare: Path) -> None:
    before = bare.read_bytes()
    outcome = bnfold_process("insert", bare)
    assert (outcome.status, outcome.err) == (0, "")
    assert "m.onnx: 2 BatchNormalizations inserted, behind 2 Conv\n" in outcome.out
    assert "[classifier]" in outcome.out
    row = next(line for line in outcome.out.splitlines() if line.startswith("logits"))
    assert float(row.split()[1]) == 0
    assert bare.read_bytes() == before
    assert len(normalizations(bare.with_name("m.inserted.onnx"))) == 2


def test_with_data_the_function_stays_and_a_fold_gives_the_model_back(bare: Path, digits: Path) -> None:
    target = bare.with_name("bn.onnx")
    outcome = bnfold_process("insert", bare, "-o", target, "--data", digits, "--batch-size", "7")
    assert outcome.status == 0, outcome
    assert "equal" in outcome.out
    back = bnfold_process("fold", target, "-o", bare.with_name("back.onnx"))
    assert back.status == 0
    assert op_types(onnx.load(bare.with_name("back.onnx"))) == op_types(onnx.load(bare))


def test_a_dry_run_shows_the_places_and_writes_nothing(bare: Path) -> None:
    outcome = bnfold_process("insert", bare, "--dry-run", "--include-classifier")
    assert outcome.status == 0
    assert sum("Conv" in line or "Gemm" in line for line in outcome.out.splitlines()) >= 3
    assert not bare.with_name("m.inserted.onnx").exists()


def test_a_reset_is_written_when_it_runs(bare: Path, digits: Path) -> None:
    outcome = bnfold_process("insert", bare, "--reset", "--data", digits)
    assert outcome.status == 0, outcome
    assert not bnfold.check(bare, bare.with_name("m.inserted.onnx"))


def test_the_training_form_is_proved_without_and_written_with_training_mode(bare: Path) -> None:
    outcome = bnfold_process("insert", bare, "--training-mode")
    assert outcome.status == 0, outcome
    assert "CUDA" in outcome.out
    nodes = onnx.load(bare.with_name("m.inserted.onnx")).graph.node
    modes = [a.i for node in nodes for a in node.attribute if a.name == "training_mode"]
    assert modes == [1, 1]


def test_options_reach_the_insertion(bare: Path) -> None:
    first = next(node.name for node in onnx.load(bare).graph.node if node.op_type == "Conv")
    outcome = bnfold_process("insert", bare, "--only", first, "--position", "after-activation", "--epsilon", "1e-3")
    assert outcome.status == 0, outcome
    model = onnx.load(bare.with_name("m.inserted.onnx"))
    found = op_types(model)
    assert found[found.index("Conv") :][:3] == ["Conv", "Relu", "BatchNormalization"]
    (epsilon,) = (a.f for node in model.graph.node for a in node.attribute if a.name == "epsilon")
    assert epsilon == pytest.approx(1e-3)


def test_a_document_tells_all(bare: Path) -> None:
    document = json.loads(bnfold_process("insert", bare, "--json", "-").out)
    assert [entry["op_type"] for entry in document["inserted"]] == ["Conv", "Conv"]
    assert [entry["code"] for entry in document["skipped"]] == ["classifier"]
    assert document["check"]["equal"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reset"], "takes its statistics from data"),
        (["--batch-size", "4"], "a batch size is for data"),
        (["--ops", "Relu"], "ops are among"),
        (["--only", "nobody"], "no linear operator of the model is called 'nobody'"),
        (["--data", "nowhere.npz"], "nowhere.npz"),
        (["--position", "left"], "position is one of"),
    ],
)
def test_bad_usage_exits_with_2_and_one_sentence(bare: Path, arguments: list[str], said: str) -> None:
    assert_refused(bnfold_process("insert", bare, *arguments), said)
    assert not bare.with_name("m.inserted.onnx").exists()


def test_data_that_do_not_fit_are_refused_by_name(bare: Path, tmp_path: Path) -> None:
    nan = np.abs(normal(4, 1, 8, 8))
    nan[1] = np.nan
    for name, arrays, said in (
        ("names", {"picture": normal(4, 1, 8, 8)}, "image"),
        ("shapes", {"image": normal(4, 1, 9, 9)}, "image"),
        ("types", {"image": normal(4, 1, 8, 8, dtype=np.float64)}, "image"),
        ("nan", {"image": nan}, "image"),
    ):
        np.savez(tmp_path / f"{name}.npz", allow_pickle=False, **arrays)
        assert_refused(bnfold_process("insert", bare, "--data", tmp_path / f"{name}.npz"), said)
        assert_refused(bnfold_process("calibrate", bare, "--data", tmp_path / f"{name}.npz"), said)


def test_the_inputs_of_the_proof_are_called_after_the_file_that_was_given(bare: Path, digits: Path) -> None:
    """Their own file, the first batch, is gone when a person reads of it."""
    for command in (["insert"], ["insert", "--reset"], ["calibrate"]):
        bnfold.insert(bare).save(bare.with_name("bn.onnx"))
        model = bare if "insert" in command else bare.with_name("bn.onnx")
        outcome = bnfold_process(*command, model, "-o", bare.with_name("o.onnx"), "--data", digits, "--batch-size", "7")
        assert f"inputs: the first batch of {digits} of image float32[7, 1, 8, 8]\n" in outcome.out


# --- calibrate --------------------------------------------------------------------------------------------------------


def destroyed(path: Path) -> ModelProto:
    """The statistics of a fresh network in place of the trained ones."""
    model = onnx.load(path)
    held = {
        name: role
        for n in model.graph.node
        if n.op_type == "BatchNormalization"
        for name, role in zip(n.input[3:5], (0.0, 1.0), strict=True)
    }
    for tensor in model.graph.initializer:
        if tensor.name in held:
            values = np.full(tuple(tensor.dims), held[tensor.name], np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def test_statistics_are_estimated_anew_and_how_far_they_moved_is_shown(tmp_path: Path, digits: Path) -> None:
    onnx.save(destroyed(MODELS / "source_cnn.onnx"), tmp_path / "m.onnx")
    outcome = bnfold_process("calibrate", tmp_path / "m.onnx", "--data", digits, "--sequential")
    assert (outcome.status, outcome.err) == (0, "")
    assert "m.onnx: 2 of 2 BatchNormalizations calibrated" in outcome.out
    assert "sigma" in outcome.out
    assert not bnfold.check(tmp_path / "m.onnx", tmp_path / "m.calibrated.onnx")


def test_a_node_in_training_mode_becomes_an_inference_node(tmp_path: Path) -> None:
    body = "(float[N,6] x) => (float[N,6] y) { y, rm, rv = BatchNormalization<training_mode=1>(x, s, b, m, v) }"
    one = np.ones(6, np.float32)
    onnx.save(graph_model(body, s=one, b=one, m=normal(6), v=one * 2), tmp_path / "m.onnx")
    outcome = bnfold_process("calibrate", tmp_path / "m.onnx", "--keep-statistics")
    assert outcome.status == 0, outcome
    document = json.loads(bnfold_process("calibrate", tmp_path / "m.onnx", "--keep-statistics", "--json", "-").out)
    assert [entry["was_training"] for entry in document["calibrated"]] == [True]
    x = normal(5, 6)
    np.testing.assert_allclose(
        run(tmp_path / "m.calibrated.onnx", x), (x - normal(6)) / np.sqrt(2 + 1e-5) + 1, rtol=1e-5, atol=1e-5
    )


def run(path: Path, x: np.ndarray) -> np.ndarray:
    from bnfold.runtime import open_session

    return open_session(path).run({"x": x})["y"]


def test_no_data_is_refused() -> None:
    assert_refused(bnfold_process("calibrate", MODELS / "source_cnn.onnx"), "give some, with --data")


def test_the_functions_of_the_package_take_data_as_arrays() -> None:
    model = bnfold.fold(MODELS / "source_cnn.onnx").model
    images = {"image": np.abs(normal(40, 1, 8, 8))}
    inserted = bnfold.insert(model, images, batch_size=8)
    assert len(inserted.inserted) == 2
    bnfold.assert_equivalent(model, inserted.model)
    calibrated = bnfold.calibrate(inserted.model, [images], sequential=True)
    assert [entry.channels for entry in calibrated.calibrated] == [32, 64]
    bnfold.assert_equivalent(model, calibrated.model, rtol=1e-4)
