"""What several files of tests are given."""

import os
import sys
from pathlib import Path

import choosing
import older_versions
import pytest
from command_line import Outcome, Run

from bnfold import cli

os.environ.pop("PYTHONUNBUFFERED", None)  # which makes other processes of those that tests start than users have


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of our own."""
    choosing.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """See what is skipped."""
    config.pluginmanager.register(choosing.Skipped(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take what is asked for, and leave out what the installed versions are too old for, with the reason."""
    choosing.choose(config, items)
    older_versions.skip(items)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, in this process."""

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["bnfold", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        captured = capsys.readouterr()
        code = exited.value.code
        return Outcome(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return call
