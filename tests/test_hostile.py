"""Hostile models: a clear error or a result, and never a traceback, a hang, a crash, memory without bound, or a file
that nobody asked for. Each is tried with every command, and with the functions of the package, in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile import CASES
from hostile.case import MODEL, STAYS, Case
from hostile.client import Client, Ended

OUT = "out.onnx"
LONGEST = 15.0
"""Seconds that a call may take; on an idle machine none takes three."""
MOST = 1 << 30
"""By how many bytes the memory of a call may grow."""

PLAIN = ("fold", MODEL, "--no-check", "-o", OUT)
READING = [PLAIN, ("inspect", MODEL), ("insert", MODEL, "--no-check", "-o", OUT), ("api",)]
RUNNING = [
    ("fold", MODEL, "-o", OUT),
    ("calibrate", MODEL, "--data", "data.npz", "-o", OUT),
    ("check", MODEL, MODEL),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a model lies: beside what it must not touch."""
    place = tmp_path / "models"
    place.mkdir()
    np.savez(place / "data.npz", x=np.ones((2, 3, 5, 5), np.float32))
    return place


def contents(folder: Path) -> dict[Path, bytes | str]:
    """Every file beside the models and in their folder, and what it holds; of all else, that it is there."""
    places = sorted(folder.parent.rglob("*"))
    return {place: place.read_bytes() if place.is_file() and not place.is_symlink() else "" for place in places}


def assert_harmless(ended: Ended, folder: Path, before: dict[Path, bytes | str]) -> None:
    """What must hold of any call. Its output is removed."""
    assert not ended.signal, ended
    assert ended.status in {0, 1, 2}, ended
    assert ended.seconds < LONGEST, ended
    if ended.status == 2:
        assert re.fullmatch(r"bnfold: [^\n]+\n", ended.err), ended.err
    assert all(line.isprintable() for line in (ended.out + ended.err).split("\n")), ended
    for name in (OUT, f"{OUT}.data"):
        (folder / name).unlink(missing_ok=True)
    assert contents(folder) == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_model(case: Case, client: Client, folder: Path) -> None:
    case.write(folder)
    before = contents(folder)
    ended = client.call(folder, *PLAIN)
    if case.is_refused:
        assert ended.status == 2, ended
        assert re.search(case.outcome, ended.err), ended.err
    else:
        assert ended.status == 0, ended
        assert ((folder / OUT).read_bytes() == before[folder / MODEL]) == (case.outcome == STAYS)
    assert_harmless(ended, folder, before)
    assert ended.peak < MOST
    for arguments in READING[1:]:
        ended = client.call(folder, *arguments)
        assert_harmless(ended, folder, before)
        assert ended.peak < MOST, arguments
    for arguments in RUNNING if case.is_run else []:
        assert_harmless(client.call(folder, *arguments), folder, before)
