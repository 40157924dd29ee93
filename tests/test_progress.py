"""Progress: shown on a terminal where something takes more than two seconds, whatever it is, and gone at the end.

What takes long here is mostly a model that comes through a pipe, late: it waits, and takes nothing from other tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from support import MODELS, graph_model, normal, run_ort, statistics
from terminal import Shown, on_terminal

from bnfold.inserting.batches import as_batches
from bnfold.model.bounded import ONLY_SHOWING
from bnfold.runtime import open_session

pytest.importorskip("fcntl", reason="needs pseudo terminals")

HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
LATE = 5.0
"""Seconds until the model comes; the command begins to show something after two."""


@contextmanager
def late(path: Path) -> Iterator[str]:
    """A pipe through which a model comes late; its name."""
    os.mkfifo(path)
    content = (MODELS / "mlp.onnx").read_bytes()

    def feed() -> None:
        time.sleep(LATE)
        with path.open("wb") as file:
            file.write(content)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield path.name
    finally:
        thread.join()


def shown_words(shown: Shown) -> str:
    """All that was to be seen at some time."""
    return "\n".join(shown.screens)


def assert_shown_and_gone(shown: Shown, words: str) -> None:
    assert shown.status == 0, shown.last
    seconds = {int(number) for number in re.findall(rf"{words}  (\d+) s", shown_words(shown))}
    assert len(seconds) > 1, "the line has to be there, and to go on"
    assert not re.search(rf"{words}|\d s$", shown.last, re.MULTILINE)
    assert shown.sent.count(HIDE) == shown.sent.count(SHOW) >= 1
    assert shown.sent.rindex(SHOW) > shown.sent.rindex(HIDE)


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["colour", "no colour"])
def test_what_takes_long_is_shown_while_it_does_and_gone_then(tmp_path: Path, environment: dict[str, str]) -> None:
    with late(tmp_path / "late.onnx") as name:
        shown = on_terminal(["inspect", name], tmp_path, environment=environment)
    assert_shown_and_gone(shown, "planning late.onnx")
    assert shown.last.startswith("node")
    assert not shown.colours or not environment


def test_a_fold_shows_it_too_and_a_long_name_keeps_to_its_line(tmp_path: Path) -> None:
    with late(tmp_path / ("a" * 120 + ".onnx")) as name:
        shown = on_terminal(["fold", name, "--no-check", "-o", "out.onnx"], tmp_path, columns=60)
    lines = [line for screen in shown.screens for line in screen.splitlines() if "planning" in line]
    assert lines
    assert all(len(line) <= 60 for line in lines)
    assert all(screen.count("planning") <= 1 for screen in shown.screens)
    assert (tmp_path / "out.onnx").exists()


def test_what_is_quick_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "quick.onnx").write_bytes((MODELS / "mlp.onnx").read_bytes())
    shown = on_terminal(["--version"], tmp_path)
    assert (shown.status, HIDE in shown.sent) == (0, False)


def test_a_terminal_that_can_take_nothing_back_gets_none(tmp_path: Path) -> None:
    with late(tmp_path / "late.onnx") as name:
        shown = on_terminal(["inspect", name], tmp_path, environment={"TERM": "dumb"})
    assert shown.status == 0
    assert not shown.escapes
    assert "planning" not in shown_words(shown)


def test_progress_is_for_stderr_alone(tmp_path: Path) -> None:
    with late(tmp_path / "late.onnx") as name:
        shown = on_terminal(["inspect", name, "--json", "-"], tmp_path, streams="stderr")
    assert "planning late.onnx" in shown_words(shown)
    assert shown.last == ""
    assert shown.piped.startswith("{")
    assert "\x1b" not in shown.piped


def test_a_stderr_that_is_piped_gets_none(tmp_path: Path) -> None:
    with late(tmp_path / "late.onnx") as name:
        shown = on_terminal(["inspect", name], tmp_path, streams="stdout")
    assert (shown.status, shown.piped, HIDE in shown.sent) == (0, "", False)


def test_every_batch_is_told_and_which_time_it_is_read() -> None:
    batches = as_batches({"image": normal(5, 1, 8, 8)}, open_session(MODELS / "residual.onnx").inputs, 2)
    told: list[str] = []
    batches.tell = told.append
    assert len(list(batches)) == len(list(batches)) == 3
    assert told == ["batch 1", "batch 2", "batch 3", "batch 1, pass 2", "batch 2, pass 2", "batch 3, pass 2"]


BOUNDED = """
import resource, sys, threading
from bnfold.model.bounded import bounded_memory

stop = threading.Event()
thread = threading.Thread(target=stop.wait, name=sys.argv[1])
thread.start()
with bounded_memory(1 << 30):
    print(resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY)
stop.set()
"""


@pytest.mark.parametrize(("name", "is_bounded"), [(ONLY_SHOWING, "True"), ("another", "False")])
def test_the_thread_that_shows_leaves_the_bound_of_memory_in_place(name: str, is_bounded: str) -> None:
    done = subprocess.run([sys.executable, "-c", BOUNDED, name], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == is_bounded


# --- What takes long since it computes ---

SIZE = 1500


def slow() -> ModelProto:
    """One run of it takes two seconds on this machine, as it is now, inside onnxruntime."""
    begun = time.monotonic()
    run_ort(products(1), {"w0": normal(SIZE, SIZE)})
    return products(round(2.0 / (time.monotonic() - begun)) + 1)


def products(count: int) -> ModelProto:
    nodes = " ".join(f"v{k} = MatMul (w{k}, w{k}) w{k + 1} = Tanh (v{k})" for k in range(count))
    return graph_model(f"(float[{SIZE},{SIZE}] w0) => (float[{SIZE},{SIZE}] w{count}) {{ {nodes} }}")


def normalized() -> ModelProto:
    nodes = "y = Conv <pads = [1, 1, 1, 1]> (x, w) z = BatchNormalization (y, s, b, m, v)"
    constants: dict[str, Any] = dict(zip("sbmv", statistics(64), strict=True))
    return graph_model(f"(float[N,3,H,W] x) => (float[] z) {{ {nodes} }}", w=normal(64, 3, 3, 3), **constants)


@pytest.mark.slow
def test_one_long_run_inside_onnxruntime_is_shown_as_it_goes_on(tmp_path: Path) -> None:
    onnx.save(slow(), tmp_path / "slow.onnx")
    np.savez(tmp_path / "one.npz", w0=normal(SIZE, SIZE))
    shown = on_terminal(["check", "slow.onnx", "slow.onnx", "--data", "one.npz"], tmp_path)
    assert_shown_and_gone(shown, "inputs 1")
    assert shown.lines[0].startswith("inputs: one.npz")


@pytest.mark.slow
def test_measuring_is_shown_batch_by_batch(tmp_path: Path) -> None:
    onnx.save(normalized(), tmp_path / "norm.onnx")
    np.savez(tmp_path / "images.npz", x=normal(150, 3, 160, 160))
    shown = on_terminal(["calibrate", "norm.onnx", "--data", "images.npz", "--batch-size", "1"], tmp_path)
    assert_shown_and_gone(shown, r"measuring, batch \d+")
