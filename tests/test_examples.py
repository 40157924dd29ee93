"""The examples run as their first lines say; those that need keras are in test_keras_export.py."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

import bnfold


def test_the_example_for_people_s_own_tests_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_equivalence.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout or ".." in done.stdout


def test_the_example_of_a_loss_and_data_of_one_s_own_trains_and_writes_both_models(tmp_path: Path) -> None:
    for package in ("torch", "sklearn"):
        pytest.importorskip(package, reason=f"the example needs {package}")
    command = [sys.executable, "-W", "error", "examples/finetune.py", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, folded = (float(done.stdout.split()[index]) for index in (1, 3))
    assert folded < 0.6 * before
    assert bnfold.check(tmp_path / "digits.trained.onnx", tmp_path / "digits.folded.onnx")
