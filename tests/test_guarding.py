"""A process that is killed while its result is checked leaves nothing, though its files had names by then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.cases import listing, two_models
from faults.run import left_after

import bnfold
from bnfold.model import guarding
from bnfold.model.guarding import Guard

CHECKED_FOR_EVER = """
import sys, time, bnfold
with bnfold.fold(sys.argv[1]).staged(sys.argv[2], sys.argv[3]) as staged:
    print(flush=True)
    time.sleep(100)
"""


KILLS_ITSELF = """
import os, bnfold
with bnfold.fold("e.onnx").staged("his.onnx", "external"):
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("form", ["external", "inline"])
@pytest.mark.parametrize("to_all", [False, True], ids=["the process", "its group"])
def test_a_killed_process_leaves_no_file(tmp_path: Path, form: str, to_all: bool) -> None:
    folder = two_models(tmp_path)
    before = listing(folder)
    command = [sys.executable, "-c", CHECKED_FOR_EVER, "e.onnx", "out.onnx", form]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        had_names = bool(list(folder.glob(".out.onnx.*")))
        (os.killpg if to_all else os.kill)(process.pid, signal.SIGKILL)
    assert had_names == (form == "external")
    assert not left_after(folder)
    assert listing(folder) == before


def test_what_is_done_is_guarded_by_nobody(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    guard.watch()
    shell = guard._shell
    guard.watch()
    assert guard._shell is shell
    assert shell is not None
    assert shell.poll() is None
    guard.close()
    assert shell.returncode == 0
    guard.close()


def test_of_other_processes_nothing_is_removed(tmp_path: Path) -> None:
    folder = two_models(tmp_path)
    with bnfold.fold(folder / "e.onnx").staged(folder / "mine.onnx", "external") as staged:
        subprocess.run([sys.executable, "-c", KILLS_ITSELF], cwd=folder, check=False)
        until = time.monotonic() + 10
        while list(folder.glob(".his.onnx.*")) and time.monotonic() < until:
            time.sleep(0.02)
        staged.commit()
    assert bnfold.fold(folder / "mine.onnx").save(folder / "again.onnx") is not None
    assert not list(folder.glob(".*"))


def test_without_a_shell_or_a_python_there_is_no_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "_SHELL", "/no/shell")
    guard = Guard(tmp_path)
    guard.watch()
    assert guard._shell is None
    guard.close()
    monkeypatch.setattr(sys, "executable", "/opt/app/server")
    monkeypatch.setattr(guarding, "_SHELL", "/bin/sh")
    guard = Guard(tmp_path)
    guard.watch()
    assert guard._shell is None
    guard.close()
