"""A process ends at once, and nothing that was to happen at its end is lost."""

import os
import subprocess
import sys

import pytest
from support import MODELS


def ended(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_what_asked_to_be_called_at_the_end_is_called() -> None:
    done = ended("import atexit; atexit.register(print, 'called'); from bnfold.cli.leaving import leave; leave(7)")
    assert (done.returncode, done.stdout, done.stderr) == (7, "called\n", "")


def test_what_is_printed_arrives_before_the_end() -> None:
    done = ended("from bnfold.cli.leaving import leave; print('x' * 9, end=''); leave(0)")
    assert done.stdout == "x" * 9


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_output_is_no_success() -> None:
    full = "import sys; sys.stdout = open('/dev/full', 'w')"
    assert ended(f"{full}; from bnfold.cli.leaving import leave; print('x'); leave(0)").returncode != 0


@pytest.mark.parametrize(("arguments", "status"), [(["--version"], 0), (["fold"], 2), (["fold", "nowhere.onnx"], 2)])
def test_the_exit_status_is_that_of_the_command(arguments: list[str], status: int) -> None:
    done = subprocess.run([sys.executable, "-m", "bnfold", *arguments], capture_output=True, check=False)
    assert done.returncode == status


def test_a_reader_that_goes_early_is_no_fault() -> None:
    command = f"{sys.executable} -m bnfold inspect {MODELS / 'residual.onnx'} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
