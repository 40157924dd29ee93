"""What is published, made from a copy of the repository: the sdist and the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
UNPACKED = ("PKG-INFO",)
"""What an sdist has beside the files of the repository."""


class Built(NamedTuple):
    """The two files that are published."""

    sdist: Path
    wheel: Path


def repository_files() -> list[str]:
    """The files of the repository: those that git knows, or in an unpacked sdist all that are there."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return sorted(name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())
    with tempfile.TemporaryDirectory() as folder:
        return sorted(names_in(built_from(ROOT, "sdist", Path(folder))).difference(UNPACKED))


def copy_repository(folder: Path, *, modified: int | None = None) -> Path:
    """A copy of the repository as a clone has it, its files of that time, with the modes that the umask gives them."""
    for name in repository_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        if os.access(ROOT / name, os.X_OK):
            target.chmod(target.stat().st_mode | 0o100)
        if modified is not None:
            os.utime(target, (modified, modified))
    return folder


def build(folder: Path) -> Built:
    """The sdist of the folder, and the wheel of that sdist, as `python -m build` makes them."""
    made = folder / "dist"
    _build(folder, made)
    return Built(next(made.glob("*.tar.gz")), next(made.glob("*.whl")))


def built_from(folder: Path, kind: str, made: Path) -> Path:
    """An sdist or a wheel of the folder, in another."""
    _build(folder, made, f"--{kind}")
    (file,) = made.iterdir()
    return file


def _build(folder: Path, made: Path, *options: str) -> None:
    """Run `python -m build` with the hatchling of this environment."""
    command = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(made), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr


def environment(**more: str) -> dict[str, str]:
    """The variables of this process, without those that say what is built or where packages are."""
    left_out = {"SOURCE_DATE_EPOCH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
    return {name: value for name, value in os.environ.items() if name not in left_out} | more


def unpacked(sdist: Path, folder: Path) -> Path:
    """The folder that an sdist unpacks to."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


def names_in(sdist: Path) -> set[str]:
    """The files in an sdist, without its folder."""
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}


def texts_in(wheel: Path) -> dict[str, str]:
    """The files of a wheel's metadata by their names, and of the package by their paths."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name.rpartition("/")[2] if ".dist-info/" in name else name: archive.read(name).decode()
            for name in archive.namelist()
        }
