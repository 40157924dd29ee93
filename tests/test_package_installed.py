"""The wheel alone in an environment with nothing else: what it can do, and what it says that it needs for the rest."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import Outcome
from packing import ROOT, build, copy_repository, environment

from bnfold import __version__

pytestmark = pytest.mark.slow  # an environment of its own is installed, from a registry
pytest.importorskip("hatchling", reason="builds the package: pip install '.[dev]'")
pytest.importorskip("build", reason="builds the package: pip install '.[dev]'")

NO_ONNXRUNTIME = (
    "bnfold: onnxruntime, which runs the models, can not be imported (No module named 'onnxruntime'); "
    "install it with: pip install 'bnfold[cpu]'\n"
)
NO_TORCH = "bnfold: training needs torch, which is not installed: pip install 'bnfold[train]'\n"

CLIENT = """
from pathlib import Path

import onnx

import bnfold


def folded(path: Path) -> list[str]:
    result = bnfold.fold(path, prefer="no-batchnorm")
    model: onnx.ModelProto = result.model
    result.save(path.with_suffix(".out.onnx"))
    return [kept.reason for kept in result.kept] + [entry.node for entry in result.folded] + [model.producer_name]


def reveal(result: bnfold.FoldResult, report: bnfold.CheckReport) -> None:
    reveal_type(bnfold.fold("x"))
    reveal_type(result.kept)
    reveal_type(report.outputs)
    reveal_type(bnfold.check("x", "y"))
    reveal_type(bnfold.__version__)
"""
WRONG = 'import bnfold\n\nbnfold.fold("x", prefer=1)\nbnfold.fold("x").no_such_thing\n'


class Installed(NamedTuple):
    """An environment with the wheel, and a folder in which a model lies."""

    python: Path
    wheel: Path
    folder: Path

    def run(self, *arguments: str) -> Outcome:
        return self._run(str(self.python.parent / "bnfold"), *arguments)

    def python_says(self, program: str) -> Outcome:
        return self._run(str(self.python), "-W", "error", "-c", program)

    def pip(self, *arguments: str) -> str:
        done = self._run(str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments)
        assert done.status == 0, done.err
        return done.out

    def _run(self, *command: str) -> Outcome:
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, env=environment(COLUMNS="200")
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("bare")
    wheel = build(copy_repository(folder / "repository")).wheel
    subprocess.run([sys.executable, "-m", "venv", folder / "environment"], check=True)
    (folder / "work").mkdir()
    shutil.copy(ROOT / "models" / "residual.onnx", folder / "work" / "model.onnx")
    installed = Installed(folder / "environment" / "bin" / "python", wheel, folder / "work")
    installed.pip("install", "-q", str(wheel))
    return installed


@pytest.fixture(scope="module")
def with_cpu(bare: Installed) -> Installed:
    """The same environment once onnxruntime is in it; tests of the bare one stand above those of this."""
    bare.pip("install", "-q", f"{bare.wheel}[cpu]")
    return bare


# --- The wheel alone ---


def test_it_comes_with_five_packages_and_what_they_need(bare: Installed) -> None:
    there = {line.partition("==")[0].lower().replace("_", "-") for line in bare.pip("freeze").splitlines()}
    assert {"onnx", "numpy", "ml-dtypes", "typer", "rich"} <= {name.partition(" @")[0] for name in there}
    assert not {"onnxruntime", "torch", "matplotlib", "pytest", "hatchling"} & there
    assert "No broken requirements" in bare.pip("check")


def test_it_says_its_version_and_its_help(bare: Installed) -> None:
    assert bare.run("--version") == (0, f"bnfold {__version__}\n", "")
    shown = bare.run("--help")
    assert (shown.status, shown.err) == (0, "")
    assert all(command in shown.out for command in ("fold", "insert", "calibrate", "train", "check", "inspect"))


@pytest.mark.parametrize("command", ["fold", "insert", "calibrate", "train", "check", "inspect"])
def test_every_command_has_its_help(bare: Installed, command: str) -> None:
    shown = bare.run(command, "--help")
    assert (shown.status, shown.err) == (0, "")
    assert f"bnfold {command}" in shown.out


def test_it_is_imported_without_a_warning(bare: Installed) -> None:
    program = "import bnfold; print(bnfold.fold('model.onnx').folded.__len__(), bnfold.__version__)"
    assert bare.python_says(program) == (0, f"6 {__version__}\n", "")


def test_it_folds_without_a_check(bare: Installed) -> None:
    done = bare.run("fold", "model.onnx", "--no-check", "-o", "unchecked.onnx")
    assert (done.status, done.err) == (0, "")
    assert "6 of 6 BatchNormalizations folded" in done.out
    assert (bare.folder / "unchecked.onnx").stat().st_size > 0


def test_a_fold_says_what_its_check_needs_and_writes_nothing(bare: Installed) -> None:
    done = bare.run("fold", "model.onnx", "-o", "refused.onnx")
    assert (done.status, done.err) == (2, NO_ONNXRUNTIME)
    assert not (bare.folder / "refused.onnx").exists()


@pytest.mark.parametrize("command", [["check", "model.onnx", "model.onnx"], ["calibrate", "model.onnx", "--data", "d"]])
def test_what_runs_models_says_what_it_needs(bare: Installed, command: list[str]) -> None:
    (bare.folder / "d").mkdir(exist_ok=True)
    done = bare.run(*command)
    assert (done.status, done.err) == (2, NO_ONNXRUNTIME)


def test_it_inspects(bare: Installed) -> None:
    done = bare.run("inspect", "model.onnx")
    assert (done.status, done.err) == (0, "")
    assert "BatchNormalization" in done.out


def test_training_says_what_it_needs(bare: Installed) -> None:
    assert bare.run("train", "model.onnx", "--data", "d") == (2, "", NO_TORCH)


# --- With onnxruntime ---


def test_with_the_extra_it_folds_and_proves(with_cpu: Installed) -> None:
    done = with_cpu.run("fold", "model.onnx", "-o", "proved.onnx")
    assert (done.status, done.err) == (0, "")
    assert "equal" in done.out
    assert (with_cpu.folder / "proved.onnx").exists()
    again = with_cpu.run("check", "model.onnx", "proved.onnx")
    assert (again.status, again.err) == (0, "")


# --- Its types ---


def mypy(installed: Installed, program: str, name: str) -> Outcome:
    file = installed.folder / name
    file.write_text(program, encoding="utf-8")
    options = ["--strict", "--no-incremental", "--python-executable", str(installed.python)]
    command = [sys.executable, "-m", "mypy", *options, str(file)]
    done = subprocess.run(
        command, cwd=installed.folder, capture_output=True, text=True, check=False, env=environment(COLUMNS="200")
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_a_program_that_uses_it_is_checked_by_its_types(bare: Installed) -> None:
    done = mypy(bare, CLIENT, "client.py")
    assert done.status == 0, done.out + done.err
    revealed = re.findall(r'Revealed type is "(.+)"', done.out)
    words = ["FoldResult[", "tuple[", "tuple[", "CheckReport", "str"]
    assert [word in kind for word, kind in zip(words, revealed, strict=True)] == [True] * len(words), revealed
    assert "Any" not in "".join(revealed)


def test_a_program_that_uses_it_wrongly_is_told(bare: Installed) -> None:
    done = mypy(bare, WRONG, "wrong.py")
    assert done.status == 1
    assert re.search(r'wrong.py:3: error: .*"fold".*"int"', done.out, re.DOTALL)
    assert re.search(r'wrong.py:4: error: "FoldResult.*" has no attribute "no_such_thing"', done.out)
