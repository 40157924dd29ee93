"""`bnfold train`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import graph_model, normal, op_types

import bnfold

pytest.importorskip("torch", reason="torch is not installed")

GEMMS = "(float[N,4] x) => (float[N,3] y) { h = Gemm(x, w, b) r = Relu(h) y = Gemm(r, v, c) }"
EPOCH = (
    r"epoch (?P<epoch>\d+/\d+): loss (?P<loss>[\d.]+), accuracy [\d.]+; validation loss [\d.]+, accuracy [\d.]+"
    r"(?P<best> \*)?"
)
COMMAND = [sys.executable, "-m", "bnfold", "train"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(graph_model(GEMMS, w=normal(4, 8), b=normal(8), v=normal(8, 3), c=normal(3)), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x = normal(320, 4, seed=3)
    np.savez(tmp_path / "train.npz", x=x, target=x[:, :3].argmax(axis=1))
    return tmp_path / "train.npz"


def bnfold_train(*arguments: str | Path) -> Any:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_both_models_are_written_with_a_report_a_log_and_the_proof(model: Path, data: Path) -> None:
    log, document = model.with_name("metrics.jsonl"), model.with_name("out.json")
    done = bnfold_train(
        *(model, "--data", data, "--validation", data, "--epochs", "3", "--log", log, "--json", document)
    )
    assert done.returncode == 0
    trained, folded = model.with_name("m.trained.onnx"), model.with_name("m.trained.folded.onnx")
    assert op_types(onnx.load(trained)).count("BatchNormalization") == 1
    assert op_types(onnx.load(folded)) == op_types(onnx.load(model))
    assert bnfold.check(trained, folded)
    assert not bnfold.check(model, folded)
    assert "m.onnx: 1 BatchNormalizations inserted, 3 epochs trained\n" in done.stdout
    assert f"inputs: the validation data {data}" in done.stdout
    assert "trained and folded model name the same class in 100 % of the examples\n" in done.stdout
    assert f"wrote {trained}\nwrote {folded}\n" in done.stdout
    lines, outcome = lines_of(log), json.loads(document.read_text(encoding="utf-8"))
    said = [re.fullmatch(EPOCH, line) for line in done.stderr.splitlines()]
    assert [match and match["epoch"] for match in said] == ["1/3", "2/3", "3/3"]
    assert [bool(match and match["best"]) for match in said] == [line["best"] for line in lines]
    assert [match and float(match["loss"]) for match in said] == [round(line["loss"], 4) for line in lines]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert outcome["epochs"] == lines
    assert (outcome["output"], outcome["folded_output"]) == (str(trained), str(folded))
    assert outcome["agreement"] == 1.0
    assert outcome["check"]["equal"]
    assert outcome["scores"]["folded"]["accuracy"] == outcome["scores"]["trained"]["accuracy"]
    assert outcome["scores"]["best"]["loss"] == min(line["validation_loss"] for line in lines if line["best"])


def test_the_options_reach_the_training(model: Path, data: Path) -> None:
    target = model.with_name("own.onnx")
    done = bnfold_train(
        *(model, "--data", data, "-o", target, "--epochs", "1", "--json", "-", "--optimizer", "adam", "--lr", "0.25"),
        *("--freeze", "v", "--include-classifier", "--reset", "--batch-size", "16", "--seed", "4"),
    )
    outcome = json.loads(done.stdout)
    assert len(outcome["inserted"]) == 2
    assert outcome["frozen"] == ["v"]
    assert outcome["epochs"][0]["lr"] == 0.25
    assert target.exists()
    assert target.with_name("own.folded.onnx").exists()


def test_ctrl_c_keeps_the_best_so_far(model: Path, data: Path) -> None:
    log = model.with_name("metrics.jsonl")
    command = [*COMMAND, str(model), "--data", str(data), "--epochs", "100000", "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not (log.exists() and len(log.read_text(encoding="utf-8").splitlines()) > 1):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert all(re.fullmatch(EPOCH, line) for line in err.splitlines())
    assert "epochs; the best state so far is kept\n" in out
    assert bnfold.check(model.with_name("m.trained.onnx"), model.with_name("m.trained.folded.onnx"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lr", "1e30", "--no-insert"], "the training diverged: the loss is"),
        (["--no-insert", "--reset"], "reset: options of an insertion, and none was asked for"),
        (["--loss", "hinge"], "loss is one of"),
        (["-o", "m.onnx"], "is the model itself"),
        (["-o", "train.npz"], "is the model itself, or holds its weights"),
        (["--log", "nowhere/metrics.jsonl"], "'nowhere/metrics.jsonl' can not be written"),
    ],
)
def test_what_is_refused_is_one_sentence_and_nothing_is_written(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(model.parent)
    before = {path: path.read_bytes() for path in model.parent.iterdir()}
    done = bnfold_train("m.onnx", "--data", data.name, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("bnfold: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert {path: path.read_bytes() for path in model.parent.iterdir()} == before


def test_without_torch_it_says_what_to_install(model: Path, data: Path) -> None:
    script = f"""
import sys
sys.modules["torch"] = None
sys.argv = ["bnfold", "train", {str(model)!r}, "--data", {str(data)!r}]
from bnfold.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "bnfold: training needs torch, which is not installed: pip install 'bnfold[train]'\n"
