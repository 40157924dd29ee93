"""The report as a page: it says what the result says, and no name of a model becomes a part of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import Run, bnfold_process
from onnx import ModelProto, TensorProto, helper, numpy_helper
from pages import Page
from support import MODELS, graph_model, needs_real_models, normal, statistics
from support import REAL_MODELS as REAL

import bnfold
from bnfold.report import fold_page

EVIL = "</script><img src=x onerror=alert(1)>"
TURNED = "a\u202eb\u2066c\x07\nd"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(MODELS / "residual.onnx", tmp_path / "m.onnx"))


def chain(pairs: int, *, prefix: str = "") -> ModelProto:
    """Conv and BatchNormalization, so many times, one channel each."""
    nodes, constants, wire = [], [], "x"
    for number in range(pairs):
        names = [f"{prefix}{role}{number}" for role in ("w", "s", "b", "m", "v", "c", "y")]
        values = (normal(1, 1, 1, 1, seed=number), *statistics(1, seed=number))
        constants += [numpy_helper.from_array(value, name) for value, name in zip(values, names, strict=False)]
        nodes.append(helper.make_node("Conv", [wire, names[0]], [names[5]], name=f"{prefix}conv{number}"))
        nodes.append(helper.make_node("BatchNormalization", names[5:6] + names[1:5], names[6:], f"{prefix}bn{number}"))
        wire = names[6]
    shape = [1, 1, 2, 2]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", wire)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def normalization(channels: int) -> dict[str, Any]:
    """Constants s, b, m and v."""
    return dict(zip("sbmv", statistics(channels), strict=True))


def page_of(model: ModelProto | Path) -> Page:
    return Page(fold_page(bnfold.fold(model), None, name="m.onnx"))


# --- what it says ----------------------------------------------------------------------------------------------------


def test_a_fold_has_a_page_with_all_that_is_in_its_json(run: Run, path: Path, tmp_path: Path) -> None:
    outcome = run("fold", path, "--html", tmp_path / "r.html", "--json", tmp_path / "r.json")
    assert outcome.status == 0
    assert outcome.err == ""
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.headings == [
        *("bnfold fold: m.onnx", "What was folded where", "What stayed and why", "The whole graph"),
        *(
            "The graph around each affine",
            "Weights and narrow types",
            "Error per output",
            "Error along the graph",
            "Placement per provider",
        ),
        *("Timings", "Versions"),
    ]
    document = json.loads((tmp_path / "r.json").read_text())
    rows = page.tables["Every affine that is gone"]
    assert [(row["affine"], row["operator"]) for row in rows] == [
        (entry["node"], entry["op_type"]) for entry in document["folded"]
    ]
    assert [row["into"].split() for row in rows] == [entry["into"] for entry in document["folded"]]
    (compared,) = page.tables["onnxruntime, CPUExecutionProvider, graph optimisation off"][:1]
    (output,) = document["check"]["comparisons"][0]["outputs"]
    assert compared["output"] == output["name"]
    assert compared["max |y-y'|"] == f"{output['max_abs']:.2e}"
    assert compared["verdict"] == "equal"
    located = document["check"]["location"]["tensors"]
    assert [row["tensor"] for row in page.tables["Tensors"]] == [entry["name"] for entry in located]
    assert page.words.count("The two graphs compute the same") == 1
    assert [row["step"] for row in page.tables["What bnfold did"]] == ["fold", "check and write"]
    assert all(float(row["seconds"]) > 0 for row in page.tables["What bnfold did"])
    assert [row["model"] for row in page.tables["A run on CPUExecutionProvider"]] == ["before", "after"]
    assert all(float(row["milliseconds"]) > 0 for row in page.tables["A run on CPUExecutionProvider"])


def test_a_model_that_is_replaced_by_its_fold_is_not_timed_against_itself(run: Run, path: Path, tmp_path: Path) -> None:
    assert run("fold", path, "-o", path, "--html", tmp_path / "r.html").status == 0
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "What bnfold did" in page.tables
    assert "A run on CPUExecutionProvider" not in page.tables


def test_the_text_of_a_fold_is_the_same_with_a_page(run: Run, path: Path, tmp_path: Path) -> None:
    assert run("fold", path).out == run("fold", path, "--html", tmp_path / "r.html").out


def test_the_picture_shows_the_affine_before_and_what_absorbed_it_after(path: Path) -> None:
    model = graph_model(
        "(float[N,3,5,5] x) => (float[N,4,3,3] z) { c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) z = Relu(y) }",
        W=normal(4, 3, 3, 3),
        **normalization(4),
    )
    for node, name in zip(model.graph.node, ("conv", "bn", "relu"), strict=True):
        node.name = name
    page = page_of(model)
    assert page.boxes["Before: bn (BatchNormalization)"] == [
        ("changed", ["Conv", "conv", "weight 4×3×3×3", "changed"]),
        ("removed", ["BatchNormalization", "bn", "4 channels", "folded"]),
        ("same", ["Relu", "relu"]),
        ("port", ["input", "x"]),
        ("port", ["output", "z"]),
    ]
    assert page.boxes["After: bn (BatchNormalization)"] == [
        ("changed", ["Conv", "conv", "weight 4×3×3×3", "bias 4", "changed"]),
        ("same", ["Relu", "relu"]),
        ("port", ["input", "x"]),
        ("port", ["output", "z"]),
    ]


def test_the_whole_graph_is_drawn_unless_it_is_too_large() -> None:
    page = page_of(chain(3))
    boxes = page.boxes["The whole graph before, 6 nodes"]
    assert [(kind, lines) for kind, lines in boxes if kind != "port"] == [
        ("changed", ["Conv", "changed"]),
        ("removed", ["BatchNormalization", "folded"]),
    ] * 3
    large = page_of(chain(201))
    assert "The graph has 402 nodes" in large.words
    assert not any(title.startswith("The whole graph") for title in large.boxes)


def test_what_stays_is_said_with_its_reason_and_drawn(tmp_path: Path) -> None:
    model = graph_model(
        "(float[N,4,5,5] x) => (float[N,4,5,5] z) { y = Sigmoid(x) z = BatchNormalization(y, s, b, m, v) }",
        **normalization(4),
    )
    result = bnfold.fold(model)
    page = page_of(model)
    (kept,) = result.kept
    assert page.tables["Every BatchNormalization that is still there"] == [
        {"node": kept.node, "why": kept.reason, "code": kept.code}
    ]
    (title,) = [title for title in page.boxes if title.startswith("Before")]
    assert ("kept", ["BatchNormalization", "4 channels", "stays"]) in page.boxes[title]


def test_the_weights_are_measured_as_they_are_in_the_files(path: Path, tmp_path: Path) -> None:
    result = bnfold.fold(path)
    result.save(tmp_path / "after.onnx")
    page = Page(fold_page(result, None, name="m"))
    rows = page.tables["Constants of the operators that have changed"]
    before, after = (onnx.load(file) for file in (path, tmp_path / "after.onnx"))
    assert len(rows) > 3
    for row in rows:
        index = {"weight": 1, "bias": 2}[row["constant"]]
        for model, words in ((before, "before"), (after, "after")):
            held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
            (node,) = [node for node in model.graph.node if node.name == row["operator"]]
            if len(node.input) <= index:
                assert row[f"max {words}"] == ""
                continue
            size = np.abs(held[node.input[index]].astype(np.float64))
            assert row[f"max {words}"] == f"{size.max():.3g}"
            assert row[f"smallest {words}"] == f"{size[size > 0].min():.1e}"
            if index == 1 and node.op_type == "Conv":
                channels = size.reshape(size.shape[0], -1).max(axis=1)
                assert row[f"int8 steps {words}"] == f"{127 * channels.min() / channels.max():.1f}"


def test_weights_that_float16_or_int8_can_not_hold_any_more_are_marked() -> None:
    scale = np.array([1e7, 1e-6, 1.0, 1.0], np.float32)
    one, zero = np.ones(4, np.float32), np.zeros(4, np.float32)
    model = graph_model(
        "(float[N,3,5,5] x) => (float[N,4,3,3] y) { c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) }",
        W=np.ones((4, 3, 3, 3), np.float32),
        s=scale,
        b=one,
        m=zero,
        v=one,
    )
    weight = page_of(model).tables["Constants of the operators that have changed"][0]
    assert weight["newly tight"] == "float16 overflows; float16 loses digits; int8 needs scales per channel"
    assert weight["after"] == "25.00%"
    assert weight["int8 steps before"] == "127.0"
    assert weight["int8 steps after"] == "0.0"


def test_a_fold_that_was_not_compared_says_so(run: Run, path: Path, tmp_path: Path) -> None:
    assert run("fold", path, "--no-check", "--html", tmp_path / "r.html").status == 0
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Not compared" in page.words
    assert "Error along the graph" not in page.headings


def test_a_model_in_which_nothing_folds_has_a_page(run: Run, tmp_path: Path) -> None:
    onnx.save(graph_model("(float[N] x) => (float[N] y) { y = Relu(x) }"), tmp_path / "m.onnx")
    assert run("fold", tmp_path / "m.onnx", "--html", tmp_path / "r.html").status == 0
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Nothing was folded: the graph is as it came in." in page.words
    assert "No BatchNormalization is left." in page.words
    assert ". ⋯" not in page.words


def test_an_error_that_is_nothing_of_its_tolerance_has_a_page(path: Path) -> None:
    result = bnfold.fold(path)
    report = bnfold.check(path, result.model, locate=True, rtol=1e308)
    assert report.location is not None
    assert any(tensor.max_abs and tensor.tolerance > 1e307 for tensor in report.location.tensors)
    assert "Error along the graph" in Page(fold_page(result, report, name="m")).headings


def test_a_fold_that_differs_is_shown_and_not_written(run: Run, path: Path, tmp_path: Path) -> None:
    outcome = run("fold", path, "--rtol", "1e-30", "--html", tmp_path / "r.html")
    assert outcome.status == 1
    assert not (tmp_path / "m.folded.onnx").exists()
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "The two graphs do not compute the same." in page.words


@needs_real_models
@pytest.mark.parametrize("name", ["light_shufflenet.onnx", "light_densenet121.onnx", "fastai_tabular.onnx"])
def test_real_models_have_a_picture_of_every_affine(name: str) -> None:
    result = bnfold.fold(REAL / name)
    page = Page(fold_page(result, None, name=name))
    titles = [title for title in page.boxes if title.startswith("Before: ")]
    subjects = {f"{entry.node} ({entry.op_type})" for entry in result.folded}
    subjects |= {f"{entry.node} (stays)" for entry in result.kept}
    assert len(titles) == len(subjects)
    assert "there is nothing here" not in page.words
    for entry in result.folded:
        (title,) = [t for t in titles if t.endswith(f"{entry.node[-40:]} ({entry.op_type})")]
        assert any(kind == "removed" and "folded" in lines for kind, lines in page.boxes[title])


def test_an_operator_of_many_inputs_and_outputs_has_boxes_for_a_few() -> None:
    wires = ", ".join(f"x{number}" for number in range(2000))
    parts = ", ".join(f"y{number}" for number in range(2000))
    body = f"(float[2,3] {wires.replace(', ', ', float[2,3] ')}) => (float[2,3] {parts.replace(', ', ', float[2,3] ')})"
    constants: dict[str, Any] = {name: np.full(3, 2, np.float32) for name in "sbmv"}
    model = graph_model(
        f"{body} {{ c = Concat<axis = 0>({wires}) n = BatchNormalization(c, s, b, m, v) "
        f"{parts} = Split<axis = 0, num_outputs = 2000>(n) }}",
        **constants,
    )
    ((_, boxes),) = [(title, found) for title, found in page_of(model).boxes.items() if title.startswith("Before")]
    assert len(boxes) < 20
    assert [lines for kind, lines in boxes if kind == "more"] == [["⋯ 1994 more"]] * 2


# --- names are text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [EVIL, f'"{EVIL}', f"'>{EVIL}", "&lt;b&gt;", TURNED, "\0é"])
def test_no_name_becomes_markup(name: str) -> None:
    evil, plain = page_of(chain(3, prefix=name)), page_of(chain(3, prefix="p"))
    assert [tag for tag, _ in evil.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(values) for _, values in evil.elements] == [sorted(values) for _, values in plain.elements]
    assert not any(key.startswith("on") for _, values in evil.elements for key in values)


def test_what_turns_the_direction_of_writing_is_shown_as_a_number() -> None:
    text = fold_page(bnfold.fold(chain(2, prefix=TURNED)), None, name=TURNED)
    assert not set(TURNED) & set(text) - set("abcd\n")
    assert "a\\u202eb\\u2066c\\x07\\nd" in text


def test_names_of_100_kb_leave_a_page_of_a_few() -> None:
    text = fold_page(bnfold.fold(chain(2, prefix="n" * 100_000)), None, name="m")
    assert len(text) < 100_000
    assert "(100003 characters)" in text


def test_only_the_pages_own_script_and_style_are_allowed() -> None:
    text = fold_page(bnfold.fold(chain(1)), None, name="m")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    for element, rule in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.findall(r"""(?:src|href)="?(?!#|data:,)[^"#d]""", re.sub(r"(?s)<(script|style)>.*?</\1>", "", text))


# --- large, and the same each time -----------------------------------------------------------------------------------


def test_a_model_of_1000_normalizations_has_a_page_of_a_few_mb() -> None:
    text = fold_page(bnfold.fold(chain(1000)), None, name="m")
    assert 1_000_000 < len(text) < 6_000_000
    page = Page(text)
    assert len(page.tables["Every affine that is gone"]) == 1000
    drawn = sum(title.startswith("Before") for title in page.boxes)
    assert drawn == 1000 or f"{1000 - drawn} more are not drawn" in page.words
    assert sum("open" in values for tag, values in page.elements if tag == "details") == 1


def test_pictures_without_room_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnfold.report.html.pictures.ROOM", 20_000)
    page = page_of(chain(20))
    drawn = sum(title.startswith("Before") for title in page.boxes)
    assert 0 < drawn < 20
    assert f"{20 - drawn} more are not drawn" in page.words
    links = [values["href"] for tag, values in page.elements if tag == "a" and "around-" in (values["href"] or "")]
    assert links == [f"#around-{number + 1}" for number in range(drawn)]


def test_the_same_result_has_the_same_page_in_every_process(path: Path) -> None:
    script = f"""
import bnfold
from bnfold.report import fold_page
print(fold_page(bnfold.fold({str(path)!r}), None, name="m"))
"""
    pages = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(pages) == 1


# --- where it goes ---------------------------------------------------------------------------------------------------


def test_a_page_that_can_not_be_written_is_told_before_the_work(run: Run, path: Path, tmp_path: Path) -> None:
    outcome = run("fold", path, "--html", tmp_path / "no" / "r.html")
    assert outcome.status == 2
    assert re.fullmatch(r"bnfold: '[^\n]*r\.html' can not be written: No such file or directory\n", outcome.err)
    assert not (tmp_path / "m.folded.onnx").exists()


def test_a_page_to_stdout_stands_there_alone(run: Run, path: Path) -> None:
    outcome = run("fold", path, "--html", "-")
    assert outcome.status == 0
    assert outcome.out.startswith("<!DOCTYPE html>\n")
    assert outcome.out.endswith("</html>\n")


def test_a_page_to_stdout_is_utf_8_whatever_the_terminal_takes(path: Path) -> None:
    outcome = bnfold_process("fold", path, "--no-check", "--html", "-", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert outcome.status == 0
    (style,) = re.findall(r"<style>(.*?)</style>", outcome.out, re.DOTALL)
    assert b64encode(sha256(style.encode()).digest()).decode() in outcome.out
    assert "↕" in style


def test_two_documents_do_not_both_go_to_stdout(run: Run, path: Path) -> None:
    outcome = run("fold", path, "--html", "-", "--json", "-")
    assert outcome.status == 2
    assert "'-' would be written twice" in outcome.err


@pytest.mark.parametrize("target", ["m.onnx", "m.folded.onnx"])
def test_no_page_is_written_over_a_model(run: Run, path: Path, tmp_path: Path, target: str) -> None:
    before = path.read_bytes()
    outcome = run("fold", path, "--html", tmp_path / target)
    assert outcome.status == 2
    assert "give another output" in outcome.err
    assert path.read_bytes() == before
    assert not (tmp_path / "m.folded.onnx").exists()


def test_an_old_page_is_replaced_and_nothing_is_left_beside_it(run: Run, path: Path, tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("old")
    os.link(tmp_path / "r.html", tmp_path / "other")
    assert run("fold", path, "--html", tmp_path / "r.html").status == 0
    assert (tmp_path / "other").read_text() == "old"  # the old file itself was not written to
    (tmp_path / "other").unlink()
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m.folded.onnx", "m.onnx", "r.html"]
