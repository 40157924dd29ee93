"""Flushing while writing: the file is whole, and what the disk refuses is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bnfold.model.flushing import PAUSE, flushing


def test_what_is_written_slowly_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "slow.bin"
    with path.open("wb") as file, flushing(file):
        for number in range(8):
            file.write(bytes([number]) * 100_000)
            time.sleep(PAUSE / 2)
    assert path.read_bytes() == b"".join(bytes([number]) * 100_000 for number in range(8))


def test_an_error_of_a_flush_on_the_way_is_not_lost() -> None:
    reading, writing = os.pipe()  # can not be flushed to a disk
    told = pytest.raises(OSError, match="Invalid argument")
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as file, told, flushing(file):
        time.sleep(PAUSE * 5)


def test_an_error_of_the_writer_is_the_one_that_is_told(tmp_path: Path) -> None:
    with (tmp_path / "cut.bin").open("wb") as file, pytest.raises(ZeroDivisionError), flushing(file):
        raise ZeroDivisionError
