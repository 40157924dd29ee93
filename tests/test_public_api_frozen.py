"""The public API is what tests/api.txt says, line by line; the wheel holds all of the package, py.typed included."""

import shutil
import subprocess
import sys
import zipfile
from difflib import unified_diff
from pathlib import Path

import pytest
from api import lines

ROOT = Path(__file__).resolve().parent.parent


def test_the_public_api_is_the_one_that_was_agreed_on() -> None:
    agreed = (ROOT / "tests" / "api.txt").read_text(encoding="utf-8").splitlines()
    changes = list(unified_diff(agreed, list(lines()), "agreed", "found", lineterm="", n=1))
    assert not changes, "\n".join(["if this is meant: python tests/api.py > tests/api.txt", *changes])


def test_the_wheel_holds_every_file_of_the_package_and_says_that_it_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="builds the wheel; pip brings it along only while it builds")
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "bnfold", tmp_path / "bnfold", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    files = {str(path.relative_to(tmp_path)) for path in (tmp_path / "bnfold").rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == files
    assert "bnfold/py.typed" in packed
