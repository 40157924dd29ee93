"""Every command and program in README and docs runs, and prints what the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from docs_script import load

sessions = load("sessions")

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/*.md")])
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w+)\n(?P<body>.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


class Block(NamedTuple):
    page: Path
    mark: str
    language: str
    body: str

    def __str__(self) -> str:
        return f"{self.page.name}: {self.body.splitlines()[0][:50]}"


def blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if "```console\n" in text:  # tests/test_sessions.py runs it, from its first block to its last
            continue
        for match in BLOCK.finditer(text):
            if match["language"] == language:
                found.append(Block(page, match["mark"] or "", language, match["body"]))
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as a reader may have it: a model, inputs for it, and a place to deploy to."""
    sessions.furnish(tmp_path)
    shutil.copy(ROOT / "models" / "residual.onnx", tmp_path / "model.onnx")
    np.savez(tmp_path / "inputs.npz", image=np.random.default_rng(0).uniform(size=(4, 1, 8, 8)).astype(np.float32))
    (tmp_path / "deploy").mkdir()
    return tmp_path


def run(command: list[str] | str, place: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=place,
        shell=isinstance(command, str),
        text=True,
        capture_output=True,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", [b for b in blocks("bash") if not b.mark.startswith("setup:")], ids=str)
def test_every_command_runs(block: Block, place: Path) -> None:
    for line in block.body.splitlines():
        run(line, place)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_every_program_runs(block: Block, place: Path) -> None:
    run([sys.executable, "-W", "error", "-c", block.body], place)


@pytest.mark.parametrize("block", [b for b in blocks("text") if b.mark.startswith("output:")], ids=str)
def test_every_output_is_what_the_command_prints(block: Block, place: Path) -> None:
    printed = run(block.mark.removeprefix("output:"), place)
    assert sessions.same(block.body, "".join(line.rstrip() + "\n" for line in printed.splitlines())), printed


def test_the_setup_commands_are_one_line_each_and_ci_runs_them() -> None:
    setups = {b.mark.removeprefix("setup: "): b.body for b in blocks("bash") if b.mark.startswith("setup:")}
    assert set(setups) == {"fold", "test"}
    assert all(body.count("\n") == 1 for body in setups.values())
    assert "for name in fold test; do" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not broken


def test_the_readme_is_no_more_than_two_screens() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 80
    assert [line for line in lines if len(line) > 240] == []


def test_the_picture_of_the_readme_is_that_of_the_graphs() -> None:
    picture = load("picture")
    assert picture.PICTURE.read_text(encoding="utf-8") == picture.picture(), "run python docs/picture.py"


def test_what_the_tutorial_says_of_the_source_s_claims_was_measured() -> None:
    """Its table quotes docs/training.md, which is written from the measurements."""
    table = re.findall(r"^\| .* \|$", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.MULTILINE)
    measured = " ".join((ROOT / "docs" / "training.md").read_text(encoding="utf-8").split())
    figures = re.findall(r"[\d.]+ to [\d.]+|one seed of three never gets there", " ".join(table))
    assert len(figures) == 3
    assert [figure for figure in figures if figure not in measured] == []
