"""What CI runs again, and what it does not: the options of choosing.py, in runs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
import choosing


def pytest_addoption(parser):
    choosing.add_options(parser)


def pytest_configure(config):
    config.addinivalue_line("markers", "does_more: of pyproject.toml")
    config.pluginmanager.register(choosing.Skipped(config))


def pytest_collection_modifyitems(config, items):
    choosing.choose(config, items)
"""
SOME = """
import os
import pytest

pytestmark = []


@pytest.mark.parametrize("number", range(5))
def test_always(number):
    pass


@pytest.mark.skipif("MORE" not in os.environ, reason="needs more")
def test_marked():
    pass


def test_saying_so():
    if "MORE" not in os.environ:
        pytest.skip("needs more")


@pytest.mark.does_more
def test_with_a_part_that_needs_more():
    pass
"""
WHOLE = """
import os
import pytest

if "MORE" not in os.environ:
    pytest.skip("needs more", allow_module_level=True)


def test_of_a_file_that_needs_more():
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST.format(tests=str(ROOT / "tests")))
    (tmp_path / "test_some.py").write_text(SOME)
    (tmp_path / "test_whole.py").write_text(WHOLE)
    return tmp_path


def ran(folder: Path, *arguments: str, more: bool = False) -> list[str]:
    """The tests that passed, in the order of their names."""
    place = str(folder)
    command = [sys.executable, "-m", "pytest", "-rA", "-q", "-c", os.devnull, "--rootdir", place, *arguments, place]
    environment = {"MORE": "1"} if more else {}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return sorted(line.partition("::")[2] for line in done.stdout.splitlines() if line.startswith("PASSED "))


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["in this process", "in two"])
def test_what_was_left_out_is_run_and_what_ran_is_not(folder: Path, workers: tuple[str, ...]) -> None:
    always = [f"test_always[{number}]" for number in range(5)]
    twice = "test_with_a_part_that_needs_more"
    assert ran(folder, *workers) == [*always, twice]
    others = ["test_marked", "test_of_a_file_that_needs_more", "test_saying_so", twice]
    assert ran(folder, "--left-out", *workers, more=True) == others


@pytest.mark.parametrize("how", [(), ("-p", "no:cacheprovider")], ids=["", "where nothing is kept"])
def test_every_third_test_of_a_file(folder: Path, how: tuple[str, ...]) -> None:
    assert ran(folder, "--every", "3", *how, more=True) == [
        "test_always[0]",
        "test_always[3]",
        "test_of_a_file_that_needs_more",
        "test_saying_so",
    ]
