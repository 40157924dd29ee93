"""`bnfold train` beside its models: checkpoint and --resume, log, curves, the bar, and what a divergence leaves."""

from __future__ import annotations

import json
import os
import pty
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
from support import graph_model, normal

import bnfold

pytest.importorskip("torch", reason="torch is not installed")

GEMMS = "(float[N,4] x) => (float[N,3] y) { h = Gemm(x, w, b) r = Relu(h) y = Gemm(r, v, c) }"
COMMAND = [sys.executable, "-m", "bnfold", "train"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads that wait for each other make small steps slow
EPOCHS = 12


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and data of 80 steps an epoch, where everything is run."""
    monkeypatch.chdir(tmp_path)
    onnx.save(graph_model(GEMMS, w=normal(4, 8), b=normal(8), v=normal(8, 3), c=normal(3)), "m.onnx")
    x = normal(2860, 4, seed=3)
    np.savez("train.npz", x=x, target=x[:, :3].argmax(axis=1))
    return tmp_path


def bnfold_train(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "m.onnx", "--data", "train.npz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**ENVIRONMENT, **environment})


def log_of(path: str) -> list[dict[str, Any]]:
    """The lines of a log, without the seconds, which no two trainings share."""
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def stopped(number: signal.Signals, *arguments: str) -> tuple[int, str]:
    """A training of `EPOCHS` that gets a signal after its second epoch: what came of it, and what it printed."""
    command = [*COMMAND, "m.onnx", "--data", "train.npz", "--epochs", f"{EPOCHS}", "--log", "log.jsonl", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    with subprocess.Popen(command, **pipes) as process:
        until, log = time.monotonic() + 120, Path("log.jsonl")
        while not (log.exists() and len(log.read_text(encoding="utf-8").splitlines()) > 1):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    return process.returncode, out


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 0), (signal.SIGTERM, 143)]
)
def test_what_was_stopped_goes_on_to_the_same_models_and_the_same_log(
    place: Path, number: signal.Signals, status: int
) -> None:
    straight = bnfold_train("--epochs", f"{EPOCHS}", "--log", "straight.jsonl", "-o", "straight.onnx")
    assert straight.returncode == 0
    returned, out = stopped(number)
    assert returned == status
    assert len(log_of("log.jsonl")) < EPOCHS
    if number == signal.SIGINT:
        assert out.endswith("kept m.trained.checkpoint, from which --resume goes on\n")
        assert bnfold.check("m.trained.onnx", "m.trained.folded.onnx")
    with Path("log.jsonl").open("a", encoding="utf-8") as file:
        print('{"epoch": 11, "of": "an epoch whose checkpoint was not written any more"}', file=file)
    resumed = bnfold_train("--epochs", f"{EPOCHS}", "--log", "log.jsonl", "--resume")
    assert resumed.returncode == 0
    assert log_of("log.jsonl") == log_of("straight.jsonl")
    for kind in ("", ".folded"):
        assert Path(f"m.trained{kind}.onnx").read_bytes() == Path(f"straight{kind}.onnx").read_bytes()
    assert not list(place.glob("*.checkpoint*"))


def test_a_refused_resumption_leaves_log_and_checkpoint_as_they_are(place: Path) -> None:
    stopped(signal.SIGKILL)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    done = bnfold_train("--epochs", f"{EPOCHS}", "--log", "log.jsonl", "--resume", "--lr", "0.2")
    assert done.returncode == 2
    assert done.stderr == (
        "bnfold: 'm.trained.checkpoint' is the checkpoint of another training: lr was 0.05 and is 0.2; give what that "
        "one was begun with, or begin anew without --resume\n"
    )
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_checkpoint_that_will_be_lost_is_told_of_first(place: Path) -> None:
    Path("m.trained.checkpoint").write_bytes(b"of yesterday")
    done = bnfold_train("--epochs", "1")
    assert done.returncode == 0
    assert done.stderr.startswith("bnfold: 'm.trained.checkpoint' of an earlier training is replaced after the first")
    assert not list(place.glob("*.checkpoint*"))


def test_without_a_checkpoint_none_is_written_replaced_or_removed(place: Path) -> None:
    Path("m.trained.checkpoint").write_bytes(b"of yesterday")
    done = bnfold_train("--epochs", "1", "--no-checkpoint")
    assert done.returncode == 0
    assert "of an earlier training" not in done.stderr
    assert Path("m.trained.checkpoint").read_bytes() == b"of yesterday"


LINEAR = "(float[N,2] x) => (float[N,1] y) { y = Gemm(x, w, b) }"


def diverging() -> tuple[str, ...]:
    """A linear map whose first weight is far off and learns, and whose second is nearly right, and grows away.

    No row has both inputs, so that neither weight sees the other's error, however the rows are drawn and summed.
    """
    onnx.save(graph_model(LINEAR, w=np.array([[3.0], [1.001]], np.float32), b=np.zeros(1, np.float32)), "m.onnx")
    x = np.tile(np.array([[0.3, 0.0], [-0.3, 0.0], [0.0, 1.5], [0.0, -1.5]], np.float32), (16, 1))
    np.savez("train.npz", x=x, target=x.sum(axis=1, keepdims=True))
    return (
        "--loss",
        "mse",
        "--no-insert",
        "--freeze",
        "b",
        "--lr",
        "2",
        "--momentum",
        "0",
        "--epochs",
        "1000",
        "--weight-decay",
        "0",
    )


def test_a_divergence_writes_the_best_and_exits_with_1_and_what_to_try(place: Path) -> None:
    done = bnfold_train(*diverging(), "--log", "log.jsonl", "--plot", "curves.svg", "--json", "out.json")
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    best = [line["epoch"] for line in log_of("log.jsonl") if line["best"]][-1]
    assert re.fullmatch(
        r"bnfold: the training diverged: .* epoch \d+; try a lower --lr than 2, .*; "
        rf"the best state so far, that of epoch {best}, is kept",
        said,
    )
    assert said not in done.stdout
    assert done.stdout.endswith("wrote m.trained.onnx\nwrote m.trained.folded.onnx\n")
    assert bnfold.check("m.trained.onnx", "m.trained.folded.onnx")
    outcome = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert f"bnfold: {outcome['diverged']}" == said
    assert outcome["scores"]["trained"]["loss"] < outcome["scores"]["before"]["loss"]
    assert f"<!-- best: epoch {best} -->" in Path("curves.svg").read_text(encoding="utf-8")
    assert not list(place.glob("*.checkpoint*"))


def test_curves_are_drawn_in_the_format_of_their_name(place: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    beginnings = {"curves.png": b"\x89PNG\r\n", "curves.svg": b"<?xml", "CURVES.PDF": b"%PDF"}
    for name, beginning in beginnings.items():
        assert bnfold_train("--epochs", "2", "--plot", name).returncode == 0
        assert Path(name).read_bytes().startswith(beginning)
    drawn = Path("curves.svg").read_text(encoding="utf-8")
    for words in ("m.onnx", "loss", "accuracy", "training", "validation", "epoch", "best: epoch"):
        assert f"<!-- {words}" in drawn


def test_a_loss_without_right_and_wrong_has_one_panel_and_a_name_is_no_mathematics(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from bnfold.report import write_curves
    from bnfold.torch.history import Epoch
    from bnfold.torch.scores import Score

    epochs = [Epoch(n, 0.1, Score(1 / n), Score(float("nan") if n == 2 else 2 / n), n == 1, 1.0) for n in (1, 2)]
    write_curves(epochs, str(tmp_path / "c.svg"), "a$_{$.onnx")
    drawn = (tmp_path / "c.svg").read_text(encoding="utf-8")
    assert "<!-- a$_{$.onnx -->" in drawn
    assert "<!-- accuracy -->" not in drawn


def test_without_matplotlib_curves_are_refused_before_the_training(place: Path) -> None:
    script = """
import sys
sys.modules["matplotlib"] = None
sys.argv = ["bnfold", "train", "m.onnx", "--data", "train.npz", "--plot", "c.png"]
from bnfold.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "bnfold: curves need matplotlib, which is not installed: pip install 'bnfold[train]'\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume"], "there is no checkpoint 'm.trained.checkpoint' to go on from"),
        (["--resume", "-o", "own.onnx"], "there is no checkpoint 'own.checkpoint' to go on from"),
        (["--resume", "--no-checkpoint"], "--no-checkpoint has none"),
        (["--plot", "curves.gif"], "curves are drawn as .png, .svg, .pdf, by the end of the name, and 'curves.gif'"),
        (["--plot", "curves"], "by the end of the name, and 'curves' ends in none"),
        (["--plot", "nowhere/curves.png"], "'nowhere/curves.png' can not be written: No such file or directory"),
        (["--plot", "folder.png"], "'folder.png' is a folder"),
        (["-o", "nowhere/m.onnx"], "'nowhere/m.onnx' can not be written"),
        (["--json", "nowhere/out.json"], "'nowhere/out.json' can not be written"),
        (["--log", "m.onnx"], "'m.onnx' is the model itself, or holds its weights or the data"),
        (["--plot", "train.npz"], "'train.npz' is the model itself, or holds its weights or the data"),
        (["--log", "folder.png/val.npz", "--validation", "folder.png"], "'folder.png/val.npz' is the model itself"),
        (["--validation", "m.trained.checkpoint"], "'m.trained.checkpoint' is the model itself"),
        (["--log", "curves.svg", "--plot", "./curves.svg"], "'curves.svg' would be written twice"),
        (["--log", "m.trained.folded.onnx"], "'m.trained.folded.onnx' would be written twice"),
        (["--json", "m.trained.checkpoint"], "'m.trained.checkpoint' would be written twice"),
    ],
)
def test_what_is_refused_is_one_sentence_before_the_training(place: Path, arguments: list[str], said: str) -> None:
    Path("folder.png").mkdir()
    Path("folder.png/val.npz").write_bytes(Path("train.npz").read_bytes())
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    done = bnfold_train("--epochs", "100000", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("bnfold: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_where_a_document_goes_to_stdout_there_are_no_lines(place: Path) -> None:
    done = bnfold_train("--epochs", "2", "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert [epoch["epoch"] for epoch in json.loads(done.stdout)["epochs"]] == [1, 2]


def on_a_terminal(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, stdout, and what a terminal on stderr gets."""
    master, slave = pty.openpty()
    command = [*COMMAND, "m.onnx", "--data", "train.npz", *arguments]
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100", **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, text=True, env=environment) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                shown += os.read(master, 1 << 16)
            except OSError:  # the other end is closed
                break
        out = process.communicate()[0]
    os.close(master)
    return process.returncode, out, shown.decode()


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_gets_a_bar_that_goes_and_a_line_per_epoch_that_stays(place: Path, colour: bool) -> None:
    status, out, shown = on_a_terminal("--epochs", "4", **({} if colour else {"NO_COLOR": "1"}))
    assert status == 0
    assert out.startswith("m.onnx: 1 BatchNormalizations inserted, 4 epochs trained\n")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"epoch \d/4 \S+ +loss [\d.]+, accuracy [\d.]+, best [\d.]+ \d:\d\d:\d\d", plain)
    for number in range(1, 5):
        assert re.search(rf"epoch {number}/4: loss [\d.]+, accuracy [\d.]+; validation loss", plain)
    assert "calibrating, folding and proving" in plain
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-7]m|\x1b\[9\dm", shown)) == colour


def test_a_terminal_that_can_do_nothing_gets_lines(place: Path) -> None:
    status, _, shown = on_a_terminal("--epochs", "2", TERM="dumb")
    assert status == 0
    assert [line[:10] for line in shown.splitlines()] == ["epoch 1/2:", "epoch 2/2:"]
