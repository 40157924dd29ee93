"""Two processes with synchronized or frozen statistics make the step of one with the whole batch, and stop together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import MODELS, ROOT, normal

pytest.importorskip("torch", reason="torch is not installed")
import torch

import bnfold
from bnfold.torch import to_module

needs_gloo = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch has no gloo here"
)


PATIENCE = 120
"""Seconds after which a process counts as hanging."""


@needs_gloo
@pytest.mark.parametrize("how", ["synchronized", "frozen"])
def test_two_processes_make_the_step_of_one(how: str, tmp_path: Path) -> None:
    model, images = MODELS / "residual.onnx", normal(10, 1, 8, 8)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, str(ROOT / "tests" / "torch_processes.py")]
    rest = [tmp_path / "store", model, tmp_path / "images.npy", tmp_path / "state.pt", how]
    processes = [subprocess.Popen([*command, str(rank), *map(str, rest)], env=environment()) for rank in (0, 1)]
    assert [process.wait(timeout=PATIENCE) for process in processes] == [0, 0]

    module = to_module(model).double().train()
    if how == "frozen":
        module.modes.eval()
    made = module(torch.from_numpy(images).double())
    made.square().mean().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    state = torch.load(tmp_path / "state.pt")
    assert state.keys() == module.state_dict().keys()
    for name, expected in module.state_dict().items():
        assert torch.allclose(state[name], expected, rtol=1e-8, atol=1e-10), name


# --- bnfold train under torchrun --------------------------------------------------------------------------------------

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "bnfold"]
ALONE = [sys.executable, "-m", "bnfold"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Classes that a straight line parts, so that losses are smooth and two roundings stay near each other."""
    images = normal(192, 1, 8, 8)
    np.savez(tmp_path / "data.npz", image=images, target=(images.sum(axis=(1, 2, 3)) > 0).astype(np.int64))
    return tmp_path / "data.npz"


def arguments(data: Path, name: str, *more: str, model: Path = MODELS / "residual.onnx") -> list[str]:
    target = data.with_name(name)
    places = ["-o", f"{target}.onnx", "--log", f"{target}.jsonl"]
    return ["train", str(model), "--data", str(data), "--epochs", "2", "--lr", "0.001", *places, *more]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment(), text=True, capture_output=True, timeout=PATIENCE, check=False)


def losses(data: Path, name: str) -> list[list[float]]:
    lines = data.with_name(f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [[epoch["loss"], epoch["validation_loss"]] for epoch in map(json.loads, lines)]


@needs_gloo
def test_two_processes_have_the_loss_curve_of_one_where_statistics_are_synchronized(data: Path) -> None:
    for command, name in ((ALONE, "one"), (TORCHRUN, "two")):
        done = run([*command, *arguments(data, name)])
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote ") == 2, "only the first process writes"
    np.testing.assert_allclose(losses(data, "two"), losses(data, "one"), rtol=1e-4)
    one, two = (onnx.load(data.with_name(f"{name}.folded.onnx")) for name in ("one", "two"))
    for expected, made in zip(one.graph.initializer, two.graph.initializer, strict=True):
        wanted, found = map(onnx.numpy_helper.to_array, (expected, made))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3 * max(np.abs(wanted).max(), 1))


@needs_gloo
def test_a_part_of_a_batch_has_other_statistics_than_the_batch(data: Path) -> None:
    """Not synchronized, the curves part at the first step; without BatchNormalization they are one again."""
    folded = data.with_name("folded.onnx")
    bnfold.fold(MODELS / "residual.onnx").save(folded)
    bare = ["--no-insert", "--no-synchronize"]
    for command, name, more, model in (
        (ALONE, "one", [], MODELS / "residual.onnx"),
        (TORCHRUN, "two", ["--no-synchronize"], MODELS / "residual.onnx"),
        (ALONE, "one bare", bare, folded),
        (TORCHRUN, "two bare", bare, folded),
    ):
        done = run([*command, *arguments(data, name, "--epochs", "1", *more, model=model)])
        assert done.returncode == 0, done.stderr
    assert abs(losses(data, "two")[0][0] / losses(data, "one")[0][0] - 1) > 1e-2
    np.testing.assert_allclose(losses(data, "two bare"), losses(data, "one bare"), rtol=1e-4)


@needs_gloo
def test_a_batch_that_can_not_be_shared_evenly_is_refused(data: Path) -> None:
    done = run([*TORCHRUN, *arguments(data, "two", "--batch-size", "33")])
    assert done.returncode != 0
    assert "bnfold: a batch of 33 rows can not be shared evenly by 2 processes" in done.stderr


def interrupted(data: Path, stop: Callable[[subprocess.Popen[str]], Any]) -> str:
    """What two processes with an endless training say when they are stopped after an epoch."""
    command = [*TORCHRUN, *arguments(data, "two", "--epochs", "100000")]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=environment(), text=True, start_new_session=True, **pipes) as process:
        begun, log = time.monotonic(), data.with_name("two.jsonl")
        while not (log.exists() and log.read_text(encoding="utf-8")):
            assert time.monotonic() - begun < PATIENCE, "no epoch in that time"
            time.sleep(0.1)
        stop(process)
        return str(process.communicate(timeout=PATIENCE)[0])


@needs_gloo
def test_ctrl_c_ends_all_processes_together_and_keeps_the_best(data: Path) -> None:
    said = interrupted(data, lambda process: os.killpg(process.pid, signal.SIGINT))
    assert said.count("note interrupted after") == 1
    assert bnfold.check(data.with_name("two.onnx"), data.with_name("two.folded.onnx"))
    assert data.with_name("two.checkpoint").exists()


@needs_gloo
def test_a_process_that_is_lost_is_told_of_in_a_sentence_and_nobody_waits_for_it(data: Path) -> None:
    def kill_the_second(process: subprocess.Popen[str]) -> None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        os.kill(int(children[-1]), signal.SIGKILL)

    said = interrupted(data, kill_the_second)
    assert "bnfold: this process has lost the other ones" in said
    assert not data.with_name("two.onnx").exists()
