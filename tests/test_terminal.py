"""Every command on a real terminal: what it prints fits, names are shortened, and colour is where it is wanted."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import bnfold_in, bnfold_process
from onnx import ModelProto
from rich.cells import cell_len
from support import MODELS, graph_model, normal
from terminal import ESCAPE, Shown, on_terminal

pytest.importorskip("fcntl", reason="needs pseudo terminals")

PREFIX = "/backbone/encoder/stages.3/block.11/"
MARK = "…"
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="training needs torch: pip install '.[train]'")

COMMANDS: dict[str, Sequence[str]] = {
    "fold": ["fold", "long.onnx"],
    "fold what stays": ["fold", "stays.onnx", "--no-residuals"],
    "fold what is settled": ["fold", "stays.onnx"],
    "fold without a check": ["fold", "long.onnx", "--no-check"],
    "fold several": ["fold", "long.onnx", "stays.onnx", "missing.onnx", "--out-dir", "several", "--jobs", "2"],
    "check": ["check", "long.onnx", "same.onnx"],
    "check and locate": ["check", "long.onnx", "other.onnx", "--locate"],
    "check in float64": ["check", "long.onnx", "same.onnx", "--reference", "float64"],
    "inspect": ["inspect", "long.onnx"],
    "inspect what stays": ["inspect", "stays.onnx"],
    "insert": ["insert", "bare.onnx", "--data", "data.npz"],
    "insert nothing yet": ["insert", "bare.onnx", "--dry-run"],
    "calibrate": ["calibrate", "long.onnx", "--data", "data.npz"],
    "help": ["--help"],
    "help of fold": ["fold", "--help"],
    "a mistake": ["fold", "long.onnx", "--no-such-option"],
    "a missing file": ["inspect", "missing.onnx"],
}
STATUS = {"fold several": 2, "check and locate": 1, "a mistake": 2, "a missing file": 2}


def renamed(model: ModelProto) -> ModelProto:
    """With the names that exporters make of modules within modules; inputs and initializers keep theirs."""
    kept = {entry.name for entry in model.graph.input} | {tensor.name for tensor in model.graph.initializer} | {""}
    for number, node in enumerate(model.graph.node):
        node.name = f"{PREFIX}{node.op_type.lower()}_{number}/{node.op_type}"
        for names in (node.input, node.output):
            names[:] = [name if name in kept else long_name(name) for name in names]
    entries: list[onnx.ValueInfoProto] = [*model.graph.output, *model.graph.value_info]
    for entry in entries:
        entry.name = entry.name if entry.name in kept else long_name(entry.name)
    return model


def long_name(name: str) -> str:
    return f"{PREFIX}{name}/residual/activation/output_0"


def staying() -> ModelProto:
    """A BatchNormalization between a Relu and a padded Conv, and two that something else reads."""
    nodes = """
        c = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (c) n = BatchNormalization (r, s, b, m, v)
        d = Conv <pads = [1, 1, 1, 1]> (n, u) e = BatchNormalization (d, s, b, m, v) y = Tanh (e) z = Add (d, e)
    """
    constants: dict[str, Any] = {
        "w": normal(4, 1, 3, 3),
        "u": normal(4, 4, 3, 3),
        "s": -np.abs(normal(4)),
        "b": normal(4),
    }
    text = f"(float[N,1,8,8] image) => (float[] y, float[] z) {{ {nodes.replace('(x,', '(image,')} }}"
    return renamed(graph_model(text, **constants, m=normal(4, seed=1), v=np.abs(normal(4)) + 0.5))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    long = renamed(onnx.load(MODELS / "residual.onnx"))
    onnx.save(long, folder / "long.onnx")
    onnx.save(long, folder / "same.onnx")
    onnx.save(staying(), folder / "stays.onnx")
    assert bnfold_process("fold", folder / "long.onnx", "-o", folder / "bare.onnx").status == 0
    weight = next(tensor for tensor in long.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.5, weight.name))
    onnx.save(long, folder / "other.onnx")
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(40, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", image=images)
    np.savez(folder / "train.npz", image=images, target=rng.integers(0, 10, 40))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "place")


def sent_lines(shown: Shown) -> list[str]:
    """The lines as they were sent, before the terminal broke them, and what was written over each other."""
    return re.split(r"\r*\n|\r", ESCAPE.sub(b"", shown.sent).decode())


# --- It fits ---


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_line_is_longer_than_the_terminal(place: Path, command: Sequence[str], columns: int) -> None:
    shown = on_terminal(command, place, columns=columns)
    assert shown.status == next((status for name, status in STATUS.items() if COMMANDS[name] is command), 0)
    lines = sent_lines(shown)
    assert any(lines)
    long = [line for line in lines if cell_len(line) > columns]
    assert [line for line in long if len(line.split()) > 1] == []  # a name may be longer; it stays whole to be copied


@needs_torch
@pytest.mark.parametrize("columns", [60, 80])
def test_a_training_fits(place: Path, columns: int) -> None:
    command = ["train", "long.onnx", "--data", "train.npz", "--epochs", "2", "--batch-size", "8"]
    shown = on_terminal(command, place, columns=columns)
    assert shown.status == 0
    assert "on the validation data" in shown.last
    assert all(len(line) <= columns for line in shown.lines)
    assert "calibrating, folding" not in shown.last


def test_a_table_has_a_line_per_row(place: Path) -> None:
    affines = json.loads(bnfold_process("inspect", place / "long.onnx", "--json", "-").out)["affines"]
    shown = on_terminal(["inspect", "long.onnx"], place)
    assert len(affines) == 6
    assert sum(" BatchNormalization " in line for line in shown.lines) == len(affines)
    assert re.search(r"names are shortened to fit; --json FILE has them whole", shown.last)


def test_names_that_are_cut_still_differ_and_are_whole_in_json_and_in_a_pipe(place: Path) -> None:
    shown = on_terminal(["inspect", "long.onnx"], place)
    cut = [line.split()[0] for line in shown.lines if " BatchNormalization " in line]
    assert all(MARK in name for name in cut)
    assert len(set(cut)) == len(cut)
    document = bnfold_in(place, "inspect", "long.onnx", "--json", "-").out
    whole = [affine["node"] for affine in json.loads(document)["affines"]]
    assert all(name.startswith(PREFIX) for name in whole)
    piped = bnfold_in(place, "inspect", "long.onnx").out
    assert all(name in piped for name in whole)
    assert MARK not in piped


def test_a_wide_terminal_has_names_whole(place: Path) -> None:
    shown = on_terminal(["inspect", "long.onnx"], place, columns=250)
    assert MARK not in shown.last
    assert shown.last.count(PREFIX) >= 12


def test_numbers_that_tell_least_go_first(place: Path) -> None:
    command = ["check", "long.onnx", "same.onnx"]
    shown = [on_terminal(command, place, columns=columns) for columns in (80, 60)]
    heads = [next(line for line in each.lines if "tolerance" in line) for each in shown]
    assert "noise" in heads[0]
    assert "noise" not in heads[1]
    assert all("max |y-y'|" in head and "tolerance" in head for head in heads)


def test_sentences_are_broken_between_words(place: Path) -> None:
    shown = on_terminal(["fold", "stays.onnx", "--no-residuals"], place)
    piped = bnfold_in(place, "fold", "stays.onnx", "--no-residuals").out
    (reason,) = [line for line in piped.splitlines() if "bends at zero" in line]
    assert " ".join(reason.split()) in " ".join(" ".join(shown.lines).split())
    begun = next(k for k, line in enumerate(sent_lines(shown)) if line.startswith("  stays"))
    assert sent_lines(shown)[begun + 1].startswith("    ")


def test_a_sentence_fits_where_only_stderr_is_a_terminal(place: Path) -> None:
    shown = on_terminal(["check", "long.onnx", "other.onnx"], place, columns=60, streams="stderr")
    assert shown.status == 1
    assert len(shown.lines) > 1
    assert all(len(line) <= 60 for line in sent_lines(shown) if len(line.split()) > 1)


# --- Colour ---


def test_a_terminal_has_colour_and_one_that_is_told_otherwise_none(place: Path) -> None:
    command = ["fold", "stays.onnx", "--no-residuals"]
    assert on_terminal(command, place).colours
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        shown = on_terminal(command, place, environment=environment)
        assert shown.status == 0
        assert not shown.colours
        assert "stays" in shown.last
    assert not on_terminal(command, place, environment={"TERM": "dumb"}).escapes


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_what_is_piped_has_no_escapes(place: Path, command: Sequence[str]) -> None:
    outcome = bnfold_in(place, *command)
    assert "\x1b" not in outcome.out + outcome.err


@pytest.mark.parametrize("streams", ["stdout", "stderr"])
def test_only_the_stream_that_is_a_terminal_gets_escapes(place: Path, streams: str) -> None:
    shown = on_terminal(["fold", "stays.onnx", "--no-residuals"], place, streams=streams)
    assert "\x1b" not in shown.piped
    assert bool(shown.colours) == (streams == "stdout")


def test_colour_that_is_asked_for_comes_into_a_pipe_and_nothing_else_changes(place: Path) -> None:
    command = ["inspect", "stays.onnx"]
    plain, coloured = (bnfold_in(place, *command, **v).out for v in ({}, {"FORCE_COLOR": "1"}))
    assert ESCAPE.sub(b"", coloured.encode()).decode() == plain
    fold = bnfold_in(place, "fold", "stays.onnx", "--no-residuals", FORCE_COLOR="1").out
    assert "\x1b[33m" in fold
