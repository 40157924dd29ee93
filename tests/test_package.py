"""What is published: the same bytes wherever they are built, all of the package, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packing import (
    ROOT,
    UNPACKED,
    Built,
    build,
    built_from,
    copy_repository,
    environment,
    names_in,
    repository_files,
    texts_in,
    unpacked,
)

from bnfold import __version__

pytest.importorskip("hatchling", reason="builds the package: pip install '.[dev]'")
pytest.importorskip("build", reason="builds the package: pip install '.[dev]'")

Y2001, Y2033 = 1_000_000_000, 2_000_000_000


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    with umask(0o022):
        return build(copy_repository(tmp_path_factory.mktemp("one"), modified=Y2001))


@pytest.fixture(scope="module")
def metadata(built: Built) -> Message:
    return Parser().parsestr(texts_in(built.wheel)["METADATA"])


# --- The same bytes ---


def test_another_folder_time_and_umask_make_the_same_bytes(built: Built, tmp_path: Path) -> None:
    with umask(0o077):
        again = build(copy_repository(tmp_path / "another place" / "ü", modified=Y2033))
    assert again.sdist.name == built.sdist.name
    assert again.sdist.read_bytes() == built.sdist.read_bytes()
    assert again.wheel.read_bytes() == built.wheel.read_bytes()


def test_the_wheel_of_the_tree_is_the_wheel_of_the_sdist(built: Built, tmp_path: Path) -> None:
    of_tree = built_from(copy_repository(tmp_path / "tree"), "wheel", tmp_path / "made")
    assert of_tree.read_bytes() == built.wheel.read_bytes()


def test_an_sdist_of_an_sdist_is_the_same(built: Built, tmp_path: Path) -> None:
    again = built_from(unpacked(built.sdist, tmp_path / "unpacked"), "sdist", tmp_path / "made")
    assert again.read_bytes() == built.sdist.read_bytes()


def test_files_are_in_order_of_one_time_and_nobody_s(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert len({member.mtime for member in members}) == 1
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert {oct(member.mode) for member in members} == {oct(0o644), oct(0o755)}
    with zipfile.ZipFile(built.wheel) as archive:
        assert len({entry.date_time for entry in archive.infolist()}) == 1


# --- All of it, and nothing else ---


def test_the_sdist_is_the_repository(built: Built) -> None:
    assert names_in(built.sdist) == {*repository_files(), *UNPACKED}
    assert built.sdist.stat().st_size < 3_000_000, "ADR 18 says how large it is"


def test_the_wheel_is_the_package_and_its_metadata(built: Built) -> None:
    package = {name for name in repository_files() if name.startswith("bnfold/")}
    info = f"bnfold-{__version__}.dist-info"
    about = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    with zipfile.ZipFile(built.wheel) as archive:
        assert set(archive.namelist()) == package | about
    assert "bnfold/py.typed" in package


# --- What it says of itself ---


def test_the_metadata_say_what_it_is(metadata: Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("bnfold", __version__)
    assert metadata["Summary"].startswith("BatchNormalization in ONNX graphs")
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_the_licence_is_an_expression_and_a_file(built: Built, metadata: Message) -> None:
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert texts_in(built.wheel)["LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")
    classifiers = metadata.get_all("Classifier", [])
    assert not [line for line in classifiers if line.startswith("License ::")]  # PEP 639: one or the other


def test_the_classifiers_say_what_it_is_tried_with(metadata: Message) -> None:
    classifiers = set(metadata.get_all("Classifier", []))
    assert {"Operating System :: POSIX :: Linux", "Typing :: Typed", "Environment :: Console"} <= classifiers
    minor = "Programming Language :: Python :: 3."
    assert {line.removeprefix(minor) for line in classifiers if line.startswith(minor)} == {"11", "12", "13"}


def test_only_five_packages_are_needed_and_each_extra_has_its_own(metadata: Message) -> None:
    needed: dict[str, set[str]] = {}
    for line in metadata.get_all("Requires-Dist", []):
        extra = line.rpartition("extra == ")[2].strip("'") if "extra ==" in line else ""
        needed.setdefault(extra, set()).add(line.partition(";")[0].strip().split(">")[0].split("=")[0].split("<")[0])
    assert needed[""] == {"onnx", "numpy", "ml-dtypes", "typer", "rich"}
    assert (needed["cpu"], needed["train"]) == ({"onnxruntime"}, {"torch", "matplotlib"})
    assert needed["cuda"] == {"onnxruntime-gpu[cuda,cudnn]"}
    assert set(metadata.get_all("Provides-Extra", [])) == set(needed) - {""}


def test_the_wheel_has_one_command_and_fits_every_machine(built: Built) -> None:
    texts = texts_in(built.wheel)
    assert texts["entry_points.txt"].split("\n")[:2] == ["[console_scripts]", "bnfold = bnfold.__main__:program"]
    assert "Root-Is-Purelib: true" in texts["WHEEL"]
    assert built.wheel.name == f"bnfold-{__version__}-py3-none-any.whl"


def test_twine_finds_nothing_to_object_to(built: Built) -> None:
    pytest.importorskip("twine", reason="looks at what is to be published: pip install '.[release]'")
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(COLUMNS="200"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2
