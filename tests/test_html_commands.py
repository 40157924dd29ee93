"""The pages of the commands besides fold: each says what its command found, and changes nothing else."""

import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Run
from pages import Page
from support import MODELS, graph_model, normal, statistics

import bnfold


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(MODELS / "residual.onnx", tmp_path / "m.onnx"))


@pytest.fixture
def folded(path: Path) -> Path:
    place = path.with_name("folded.onnx")
    bnfold.fold(path).save(place)
    return place


def page_at(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def placed(page: Page, title: str, kind: str) -> list[str]:
    """The second lines, which are names, of the boxes of one kind."""
    return [lines[1] for found, lines in page.boxes[title] if found == kind]


def test_inspect_shows_every_affine_and_what_would_take_it_in(run: Run, path: Path, tmp_path: Path) -> None:
    outcome = run("inspect", path, "--html", tmp_path / "r.html")
    assert outcome == run("inspect", path)
    page = page_at(tmp_path / "r.html")
    inspection = bnfold.inspect(path)
    rows = page.tables["Every affine"]
    assert [(row["node"], row["channels"], row["what"], row["into"].strip()) for row in rows] == [
        (info.node, str(info.channels), "folds" if info.folds else "stays", " ".join(info.into)) for info in inspection
    ]
    assert [title.partition(" (")[0] for title in page.boxes] == [info.node for info in inspection]
    first = inspection.affines[0]
    drawn = page.boxes[f"{first.node} ({first.op_type})"]
    assert [lines[-1] for kind, lines in drawn if kind == "removed"] == ["folds"]
    assert [lines[1] for kind, lines in drawn if kind == "changed" and lines[1] in first.into] == list(first.into)


def test_inspect_says_why_one_stays(run: Run, tmp_path: Path) -> None:
    model = graph_model(
        "(float[N,4,5,5] x) => (float[N,4,5,5] z) { y = Sigmoid(x) z = BatchNormalization(y, s, b, m, v) }"
    )
    for name, values in zip("sbmv", statistics(4), strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, tmp_path / "m.onnx")
    assert run("inspect", tmp_path / "m.onnx", "--html", tmp_path / "r.html").status == 0
    page = page_at(tmp_path / "r.html")
    (row,), (info,) = page.tables["Every affine"], bnfold.inspect(model)
    assert (row["what"], row["why"], row["code"]) == ("stays", info.reason, info.code)
    ((title, boxes),) = page.boxes.items()
    assert title == "BatchNormalization -> z (BatchNormalization)"
    assert ("kept", ["BatchNormalization", "4 channels", "stays"]) in boxes


def test_inspect_of_nothing_has_a_page(run: Run, tmp_path: Path) -> None:
    onnx.save(graph_model("(float[N] x) => (float[N] y) { y = Relu(x) }"), tmp_path / "m.onnx")
    assert run("inspect", tmp_path / "m.onnx", "--html", tmp_path / "r.html").status == 0
    assert "There is no affine in this graph." in page_at(tmp_path / "r.html").words


def test_check_shows_where_the_graphs_differ(run: Run, path: Path, folded: Path, tmp_path: Path) -> None:
    outcome = run("check", path, folded, "--html", tmp_path / "r.html")
    assert outcome == run("check", path, folded)
    page = page_at(tmp_path / "r.html")
    gone = [node for node in onnx.load(path).graph.node if node.op_type == "BatchNormalization"]
    titles = [f"Before: BatchNormalization {node.name} is gone" for node in gone]
    assert [title for title in page.boxes if title.endswith("is gone") and title.startswith("Before")] == titles
    assert page.headings[0] == "bnfold check: m.onnx against folded.onnx"
    assert "Error along the graph" in page.headings
    assert "Weights and narrow types" in page.headings


def test_check_of_models_that_differ_shows_the_first_tensor(run: Run, path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == model.graph.node[-1].input[1]]
    weight.CopyFrom(onnx.numpy_helper.from_array(np.sort(onnx.numpy_helper.to_array(weight)), weight.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    outcome = run("check", path, tmp_path / "wrong.onnx", "--html", tmp_path / "r.html")
    assert outcome.status == 1
    page = page_at(tmp_path / "r.html")
    assert "The two graphs do not compute the same." in page.words
    assert "The first tensor that differs is" in page.words
    assert [row["tensor"] for row in page.tables["Tensors"] if row["state"] == "different"] == ["logits"]
    (title,) = [title for title in page.boxes if title.startswith("After")]
    assert placed(page, title, "changed") == [model.graph.node[-1].name]


def test_the_same_model_twice_has_no_picture(run: Run, path: Path, tmp_path: Path) -> None:
    assert run("check", path, path, "--html", tmp_path / "r.html").status == 0
    page = page_at(tmp_path / "r.html")
    assert not any(page.boxes.values())
    assert "Weights and narrow types" not in page.headings


def test_insert_shows_every_new_node_and_where_there_is_none(run: Run, folded: Path, tmp_path: Path) -> None:
    outcome = run("insert", folded, "-o", tmp_path / "i.onnx", "--html", tmp_path / "r.html")
    assert outcome == run("insert", folded, "-o", tmp_path / "i.onnx")
    page, result = page_at(tmp_path / "r.html"), bnfold.insert(folded)
    assert [row["node"] for row in page.tables["Every new BatchNormalization"]] == [e.node for e in result.inserted]
    assert [row["code"] for row in page.tables["Every linear operator that got none"]] == [
        entry.code for entry in result.skipped
    ]
    for entry in result.inserted:
        after = f"After: {entry.node} behind {entry.behind}"
        assert entry.node in placed(page, after, "new")


def test_insert_that_writes_nothing_has_a_page_too(run: Run, folded: Path, tmp_path: Path) -> None:
    assert run("insert", folded, "--dry-run", "--html", tmp_path / "r.html").status == 0
    assert "Not compared" in page_at(tmp_path / "r.html").words
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folded.onnx", "m.onnx", "r.html"]


def test_train_shows_its_epochs_and_its_fold(run: Run, folded: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="trains")
    image = normal(64, 1, 8, 8)
    np.savez(tmp_path / "d.npz", image=image, target=(image.sum((1, 2, 3)) > 0).astype(np.int64))
    outcome = run("train", folded, "--data", tmp_path / "d.npz", "--epochs", "2", "--html", tmp_path / "r.html")
    assert outcome.status == 0, outcome.err
    page = page_at(tmp_path / "r.html")
    assert [row["epoch"] for row in page.tables["Epochs; a star is the best so far"]] == ["1", "2"]
    scores = page.tables["On the validation data"]
    for row in scores:
        assert re.search(rf"{re.escape(row['state'])} +{row['loss']} +{row['accuracy']}", outcome.out)
    assert "Error along the graph" in page.headings
    assert len(page.tables["Every affine that is gone"]) == len(page.tables["Every new BatchNormalization"]) > 0


def test_a_training_has_its_page_in_python(folded: Path) -> None:
    pytest.importorskip("torch", reason="trains")
    image = normal(64, 1, 8, 8)
    data = {"image": image, "target": (image.sum((1, 2, 3)) > 0).astype(np.int64)}
    result = bnfold.train(folded, data, epochs=1)
    page = Page(bnfold.to_html(result, name="x"))
    assert page.headings[0] == "bnfold train: x"
    (epoch,) = page.tables["Epochs; a star is the best so far"]
    assert epoch["loss"] == f"{result.history.epochs[0].training.loss:.4f}"


@pytest.mark.parametrize("command", ["inspect", "check", "insert"])
def test_a_page_without_a_place_is_told_before_the_work(run: Run, path: Path, tmp_path: Path, command: str) -> None:
    models = [path, path] if command == "check" else [path]
    outcome = run(command, *models, "--html", tmp_path / "no" / "r.html")
    assert outcome.status == 2
    assert outcome.out == ""
    assert re.fullmatch(r"bnfold: [^\n]*r\.html' can not be written: No such file or directory\n", outcome.err)


@pytest.mark.parametrize("command", ["inspect", "check", "insert"])
def test_a_page_to_stdout_stands_there_alone(run: Run, path: Path, command: str) -> None:
    models = [path, path] if command == "check" else [path]
    outcome = run(command, *models, "--html", "-")
    assert outcome.status == 0
    Page(outcome.out)
    assert outcome.out.startswith("<!DOCTYPE html>")


# --- from Python -----------------------------------------------------------------------------------------------------


def test_every_result_has_its_page_in_python(path: Path, folded: Path) -> None:
    report = bnfold.check(path, folded, locate=True)
    results = [
        (bnfold.fold(path), {"check": report}, "bnfold fold: x"),
        (report, {"before": path, "after": folded}, "bnfold check: x"),
        (report, {}, "bnfold check: x"),
        (bnfold.insert(folded), {}, "bnfold insert: x"),
        (bnfold.inspect(path), {"before": path}, "bnfold inspect: x"),
        (bnfold.inspect(path), {}, "bnfold inspect: x"),
    ]
    for result, options, heading in results:
        text = bnfold.to_html(result, name="x", **options)  # type: ignore[arg-type]
        page = Page(text)
        assert page.headings[0] == heading
        assert any(page.boxes.values()) == (bool(options) or heading == "bnfold insert: x")
        assert bnfold.to_html(result, name="x", **options) == text  # type: ignore[arg-type]


def test_other_results_have_no_page(path: Path) -> None:
    with pytest.raises(bnfold.UsageError, match="not of CalibrateResult"):
        bnfold.to_html(bnfold.calibrate(path, keep_statistics=True))  # type: ignore[arg-type]
