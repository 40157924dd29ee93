"""Several models in one call: one that fails, crashes or is interrupted takes no other with it."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from faults.cases import is_written_to
from numpy.typing import NDArray
from onnx import numpy_helper
from support import MODELS, graph_model

needs_fifo = pytest.mark.skipif(
    sys.platform != "linux", reason="needs a file that can not be read to its end, and /proc to find a process"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models that fold."""
    (tmp_path / "in").mkdir()
    for name in ("mlp.onnx", "residual.onnx"):
        shutil.copy(MODELS / name, tmp_path / "in" / name)
    return tmp_path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "bnfold", "fold", *map(str, arguments)]


def fold(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own, in a folder."""
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, check=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stays() -> onnx.ModelProto:
    """A BatchNormalization behind a graph input, with nothing to fold into."""
    model = graph_model("(float[N,2,3] x) => (float[N,2,3] y) { y = BatchNormalization(x, s, b, m, v) }")
    return with_weights(model, dict.fromkeys("sbmv", np.full(2, 2.0, np.float32)))


def with_weights(model: onnx.ModelProto, weights: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    return model


def vacuous() -> onnx.ModelProto:
    """Folds, and its output is the same whatever the input: its comparison shows nothing."""
    model = graph_model("(float[N,3] x) => (float[N,2] y) { c = Gemm(x, W) y = BatchNormalization(c, s, b, m, v) }")
    weights = {"W": np.zeros((3, 2), np.float32), "m": np.zeros(2, np.float32)}
    return with_weights(model, weights | dict.fromkeys("sbv", np.ones(2, np.float32)))


def test_each_is_folded_as_it_is_alone(folder: Path) -> None:
    done = fold(folder, "in/mlp.onnx", "in/residual.onnx", "--out-dir", "out/deep", "--jobs", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert names(folder / "out" / "deep") == ["mlp.folded.onnx", "residual.folded.onnx"]
    for name in ("mlp", "residual"):
        assert fold(folder, f"in/{name}.onnx", "--no-check", "-o", "alone.onnx").returncode == 0
        assert (folder / "out" / "deep" / f"{name}.folded.onnx").read_bytes() == (folder / "alone.onnx").read_bytes()


def test_a_table_has_a_row_for_each_in_their_order_and_no_colour(folder: Path) -> None:
    onnx.save(stays(), folder / "in" / "a.onnx")
    done = fold(folder, "in/residual.onnx", "in/a.onnx", "in/mlp.onnx", "--out-dir", "out", "--jobs", "auto")
    heading, *rows, legend, summary = done.stdout.splitlines()
    assert heading.split() == ["model", "folded", "stays", "error", "written"]
    assert [row.split()[0] for row in rows] == ["residual.onnx", "a.onnx", "mlp.onnx"]
    assert rows[0].split()[1:4] == ["6", "of", "6"]
    assert rows[0].split()[-1] == "residual.folded.onnx"
    assert 0 < float(rows[0].split()[4]) < 1
    assert "0 of 1  1 " in rows[1]
    assert "not checked" in rows[1], "nothing folds, so that nothing is to prove"
    assert legend.startswith("error: ")
    assert summary == "3 of 3 models written to out, 8 of 9 BatchNormalizations folded"
    assert "\x1b" not in done.stdout + done.stderr


def test_one_that_fails_stops_no_other_and_the_worst_status_comes_out(folder: Path) -> None:
    (folder / "in" / "broken.onnx").write_bytes(b"\xff" * 9)
    onnx.save(vacuous(), folder / "in" / "vacuous.onnx")
    done = fold(folder, "gone.onnx", "in/vacuous.onnx", "in/broken.onnx", "in/mlp.onnx", "--out-dir", "out")
    assert done.returncode == 2
    assert names(folder / "out") == ["mlp.folded.onnx"]
    gone, shows_nothing, broken = done.stderr.splitlines()
    assert gone == "bnfold: gone.onnx: 'gone.onnx' does not exist"
    assert shows_nothing.startswith("bnfold: in/vacuous.onnx: nothing was written: output 'y' shows nothing")
    assert broken.startswith("bnfold: in/broken.onnx: ")
    assert [line.rstrip().split("  ")[-1].strip() for line in done.stdout.splitlines()[1:3]] == [
        "failed",
        "not written",
    ]
    assert fold(folder, "in/vacuous.onnx", "in/mlp.onnx", "--out-dir", "out").returncode == 1


def test_strict_is_for_each(folder: Path) -> None:
    onnx.save(stays(), folder / "in" / "stays.onnx")
    done = fold(folder, "in/stays.onnx", "in/mlp.onnx", "--no-check", "--strict")
    assert done.returncode == 1
    assert names(folder / "in") == [
        *("mlp.folded.onnx", "mlp.onnx", "residual.onnx", "stays.folded.onnx", "stays.onnx")
    ]


def test_the_document_holds_that_of_each_and_a_summary(folder: Path) -> None:
    arguments = ["in/mlp.onnx", "gone.onnx", "in/residual.onnx", "--out-dir", "out", "--no-check"]
    done = fold(folder, *arguments, "--json", "-")
    document = json.loads(done.stdout)
    alone = json.loads(fold(folder, "in/mlp.onnx", "--no-check", "-o", "out/mlp.folded.onnx", "--json", "-").stdout)
    assert document["models"][0] == alone
    assert document["models"][1] == {
        "model": "gone.onnx",
        "error": {"status": 2, "text": "'gone.onnx' does not exist"},
    }
    assert document["models"][2]["model"] == "in/residual.onnx"
    assert document["summary"] == {"models": 3, "written": 2, "folded": 8, "kept": 0, "status": 2}
    assert done.stderr == "bnfold: gone.onnx: 'gone.onnx' does not exist\n"
    told = fold(folder, *arguments, "--json", "all.json")
    assert json.loads((folder / "all.json").read_text()) == document
    assert told.stdout.startswith("model ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["in/mlp.onnx", "in/residual.onnx", "-o", "x.onnx"], "--output names one file, and there are 2 models"),
        (["in/mlp.onnx", "-o", "x.onnx", "--out-dir", "out"], "give one of them"),
        (["in/mlp.onnx", "mlp.onnx", "--out-dir", "out"], "the results of 'in/mlp.onnx' and 'mlp.onnx' would both be"),
        (["in", "in/mlp.onnx"], r"'in' is a folder; name its models, as in/\*\.onnx"),
        (["in"], r"'in' is a folder; name its models, as in/\*\.onnx"),
        (["in/mlp.onnx", "in/residual.onnx", "--jobs", "many"], "--jobs takes the number .* not 'many'"),
        (["in/mlp.onnx", "in/residual.onnx", "--jobs", "-1"], "--jobs takes the number .* not '-1'"),
        (["in/mlp.onnx", "in/residual.onnx", "--jobs", "²"], "--jobs takes the number .* not '"),
        (["in/mlp.onnx", "--jobs", "many"], "--jobs takes the number .* not 'many'"),
        (["mlp.onnx", "mlp.folded.onnx"], "written over 'mlp.folded.onnx', which is to be folded too"),
        (["in/mlp.onnx", "mlp.onnx", "--json", "mlp.onnx"], "'mlp.onnx' is the model itself"),
        (["in/mlp.onnx", "mlp.onnx", "--json", "mlp.folded.onnx"], "'mlp.folded.onnx' is "),
        (["in/mlp.onnx", "in/residual.onnx", "--out-dir", "mlp.onnx"], "the folder 'mlp.onnx' can not be made"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_meant_is_refused_before_anything_is_written(
    folder: Path, arguments: list[str], said: str
) -> None:
    shutil.copy(MODELS / "mlp.onnx", folder / "mlp.onnx")
    done = fold(folder, *arguments, "--no-check")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert re.search(said, done.stderr), done.stderr
    assert names(folder) == ["in", "mlp.onnx"]
    assert names(folder / "in") == ["mlp.onnx", "residual.onnx"]


def test_a_model_that_is_named_twice_counts_once(folder: Path) -> None:
    done = fold(folder, "in/mlp.onnx", "./in/../in/mlp.onnx", "--no-check", "-o", "x.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "mlp.onnx: 2 of 2 BatchNormalizations folded\nwrote x.onnx\n", "one model, told as one"


def test_one_model_goes_into_a_folder_too(folder: Path) -> None:
    assert fold(folder, "in/mlp.onnx", "--no-check", "--out-dir", "out").stdout.endswith(
        f"wrote {Path('out', 'mlp.folded.onnx')}\n"
    )
    assert names(folder / "out") == ["mlp.folded.onnx"]


# --- processes that die, and Ctrl-C ----------------------------------------------------------------------------------


@contextmanager
def hanging(folder: Path, *arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A fold that reads a model without an end, after the models before it; and the process that reads."""
    os.mkfifo(folder / "hangs.onnx")
    with subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            with (folder / "hangs.onnx").open("wb"):  # opens once the other side reads
                yield process, reader_of(folder / "hangs.onnx", process.pid)
        finally:
            process.kill()


def reader_of(path: Path, parent: int) -> int:
    """The child that has a file open."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in map(int, children):
        with_path = [link for link in Path(f"/proc/{child}/fd").iterdir() if link.exists() and link.samefile(path)]
        if with_path:
            return child
    raise AssertionError("no process of the pool reads it")


@needs_fifo
@pytest.mark.parametrize(
    ("killed_by", "said"),
    [
        (signal.SIGSEGV, r"crashed (SIGSEGV), most likely in onnxruntime"),
        (signal.SIGKILL, r"was killed (SIGKILL), as the system does when memory runs out"),
    ],
)
def test_a_process_that_dies_is_the_failure_of_its_model(folder: Path, killed_by: int, said: str) -> None:
    arguments = ("in/mlp.onnx", "hangs.onnx", "in/residual.onnx", "--no-check", "--out-dir", "out")
    with hanging(folder, *arguments) as (process, child):
        os.kill(child, killed_by)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("bnfold: hangs.onnx: the process that folded it ")
    assert said in err
    assert names(folder / "out") == ["mlp.folded.onnx", "residual.folded.onnx"]
    assert out.splitlines()[-1] == "2 of 3 models written to out, 8 of 8 BatchNormalizations folded"


def test_a_process_lets_go_of_a_large_graph_before_the_next_one(tmp_path: Path) -> None:
    nodes = " ".join(f"v{k + 1} = Relu(v{k})" for k in range(40_000))
    onnx.save(graph_model(f"(float[2] v0) => (float[2] v40000) {{ {nodes} }}"), tmp_path / "m.onnx")
    script = """
import gc
from bnfold.cli.main import RARELY
from bnfold.cli.worker import _folded, forget
from bnfold.model.graph import Node
gc.set_threshold(RARELY)
_folded({"models": ["m.onnx"], "output": "o.onnx", "check": False, "json": "-"})
for _ in range(2):
    print(sum(isinstance(each, Node) for each in gc.get_objects()))
    forget()
"""
    call = [sys.executable, "-c", script]
    left = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert int(left[0]) >= 40_000, "each knows its neighbours, so that counting references does not tell"
    assert left[1] == "0"


@needs_fifo
@pytest.mark.parametrize("to_all", [False, True], ids=["kill", "terminal"])
def test_an_interrupt_ends_all_and_says_what_is_done(folder: Path, to_all: bool) -> None:
    arguments = ("in/mlp.onnx", "hangs.onnx", "in/residual.onnx", "--no-check", "--out-dir", "out")
    with hanging(folder, *arguments) as (process, child):
        for pid in (process.pid, child) if to_all else (process.pid,):
            os.kill(pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert not Path(f"/proc/{child}").exists()
    assert process.returncode == 130
    assert err == "bnfold: interrupted; 1 of 3 models are done\n"
    assert out.splitlines()[-1] == "1 of 3 models written to out, 2 of 2 BatchNormalizations folded"
    assert out.count("not done") == 2
    assert "failed" not in out, "nothing is wrong with these two"
    assert names(folder / "out") == ["mlp.folded.onnx"]


def slow_to_check() -> onnx.ModelProto:
    """Folds at once, and runs for long: what is written waits without a name, or under a temporary one."""
    nodes = " ".join(f"v{k + 1} = MatMul(v{k}, M)" for k in range(60))
    body = f"(float[1,2,700,700] x) => (float[1,2,700,700] y) {{ v0 = BatchNormalization(c, s, b, m, v) {nodes} "
    body = body.replace("v0 = ", "c = Conv(x, W) v0 = ") + "y = Identity(v60) }"
    weights = {"W": np.ones((2, 2, 1, 1), np.float32), "M": np.eye(700, dtype=np.float32)}
    return with_weights(graph_model(body), weights | dict.fromkeys("sbmv", np.ones(2, np.float32)))


@needs_fifo
@pytest.mark.parametrize("end", ["crash", "interrupt"])
@pytest.mark.parametrize("is_external", [False, True], ids=["inline", "external"])
def test_what_dies_in_the_check_leaves_no_temporary_file(folder: Path, end: str, is_external: bool) -> None:
    options: dict[str, Any] = {"save_as_external_data": True, "location": "slow.data", "size_threshold": 0}
    onnx.save(slow_to_check(), folder / "slow.onnx", **(options if is_external else {}))
    (folder / "out").mkdir()
    call = command("slow.onnx", "in/mlp.onnx", "--out-dir", "out")
    with subprocess.Popen(call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: is_written_to(folder / "out"))
        time.sleep(0.3)  # until it runs: what is killed while it writes is told too, but not always gets that far
        if end == "crash":
            os.kill(worker_of(process.pid), signal.SIGSEGV)
        else:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=100)
    assert process.returncode == {"crash": 2, "interrupt": 130}[end]
    assert names(folder / "out") == {"crash": ["mlp.folded.onnx"], "interrupt": []}[end]


def worker_of(parent: int) -> int:
    """The child that folds; the other one keeps count of what the processes share."""
    for child in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
        if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
            return child
    raise AssertionError("no process folds")


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- the bar ---------------------------------------------------------------------------------------------------------


@needs_fifo
@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_sees_a_bar_after_two_seconds_and_80_columns_hold_the_table(folder: Path, no_color: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    environment |= {"TERM": "xterm", "COLUMNS": "80"} | ({"NO_COLOR": "1"} if no_color else {})
    os.mkfifo(folder / "hangs.onnx")
    call = command("in/mlp.onnx", "hangs.onnx", "--no-check", "--out-dir", "out")
    master, slave = os.openpty()
    with subprocess.Popen(call, cwd=folder, stdout=slave, stderr=slave, env=environment) as process:
        with (folder / "hangs.onnx").open("wb"):
            shown = read_for(master, 4.0)
        process.wait(timeout=60)  # the file has ended, empty
    shown += read_for(master, 0.5)
    os.close(slave)
    os.close(master)
    assert "1/2" in shown
    assert ("\x1b[3" in shown) != no_color
    table = shown[shown.index("written") :]
    assert all(len(line.rstrip("\r")) <= 80 for line in table.split("\n") if "\x1b" not in line)


def read_for(master: int, seconds: float) -> str:
    """What a terminal shows within some time."""
    shown, deadline = b"", time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([master], [], [], left)[0]:
            shown += os.read(master, 65536)
    return shown.decode(errors="replace")


@needs_fifo
def test_a_hangup_ends_all_with_its_own_status(folder: Path) -> None:
    arguments = ("in/mlp.onnx", "hangs.onnx", "--no-check", "--out-dir", "out")
    with hanging(folder, *arguments) as (process, _):
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 129
    assert err == "bnfold: ended by SIGHUP; 1 of 2 models are done\n"
    assert names(folder / "out") == ["mlp.folded.onnx"]
