"""Temporary folders: whose process is dead, whose goes; whose lives, whose stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.cases import names
from faults.run import left_after

from bnfold.model.scratch_folder import scratch_folder, sweep
from bnfold.model.temporary import SUFFIX

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs locks of POSIX")


HOLDS_A_FOLDER = """
import time
from bnfold.model.scratch_folder import scratch_folder
with scratch_folder() as folder:
    (folder / "sub").mkdir()
    (folder / "sub" / "large.npy").write_bytes(bytes(1000))
    print("made", flush=True)
    time.sleep(60)
"""


@contextmanager
def holding_a_folder(place: Path, before: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process that has made its temporary folder in a place."""
    command, environment = [sys.executable, "-c", before + HOLDS_A_FOLDER], {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_a_temporary_folder_of_a_killed_process_goes_when_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("bnfold-models", "bnfold-abcdefgh", f"bnfold-abcdefgh{SUFFIX}"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").touch()
    others = names(tmp_path)
    with holding_a_folder(tmp_path, "from bnfold.model import guarding; guarding._SHELL = '/no/shell'") as process:
        with scratch_folder() as own:
            assert len(names(tmp_path)) == len(others) + 2, "a living process keeps its folder"
        assert not own.exists()
        process.kill()
        process.wait()
    assert len(names(tmp_path)) == len(others) + 1
    with scratch_folder() as own:
        assert names(tmp_path) == sorted([*others, own.name])
    assert names(tmp_path) == others


def test_a_temporary_folder_of_a_killed_process_goes(tmp_path: Path) -> None:
    with holding_a_folder(tmp_path) as process:
        assert len(names(tmp_path)) == 1
        process.kill()
        process.wait()
    assert not left_after(tmp_path)


def test_an_empty_temporary_folder_of_a_process_that_was_killed_when_it_had_just_made_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"bnfold-abcdefgh{SUFFIX}").mkdir()
    with scratch_folder() as own:
        assert names(tmp_path) == [own.name]


def test_a_temporary_folder_that_is_swept_before_it_holds_anything_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mkdtemp, made = tempfile.mkdtemp, []

    def swept_once(**options: Any) -> str:
        path: str = mkdtemp(**options)
        made.append(path)
        if len(made) == 1:
            sweep(tmp_path)
        return path

    monkeypatch.setattr("tempfile.mkdtemp", swept_once)
    with scratch_folder() as own:
        assert names(tmp_path) == [own.name]
    assert len(made) == 2
