"""The commands of the README do in an empty home, in a fresh clone, what the README says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import first_steps
import pytest
from docs_script import load

README = (first_steps.ROOT / "README.md").read_text(encoding="utf-8")
PRINTED = re.compile(r"<!-- output: bnfold fold .*? -->\n```text\n(.*?)```", re.DOTALL)


def test_both_commands_are_found() -> None:
    assert set(first_steps.commands()) == set(first_steps.WHAT)
    assert all(command.startswith("python3 -m venv .venv && ") for command in first_steps.commands().values())


def test_nothing_of_this_environment_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "somewhere")
    monkeypatch.setenv("PIP_CERT", "a certificate")
    left = first_steps.environment(tmp_path)
    assert left["HOME"] == str(tmp_path)
    assert left["PIP_CERT"] == "a certificate"
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & left.keys()


def test_the_time_that_the_readme_gives_was_measured() -> None:
    record = json.loads((first_steps.ROOT / "benchmarks/results/reliability/first-steps.json").read_text("utf-8"))
    seconds = int(record["figures"][first_steps.WHAT["fold"]].removesuffix(" s"))
    assert ("less than a minute" in README) == (seconds < 60)


@pytest.mark.slow
def test_the_first_command_sets_up_and_folds_in_an_empty_home() -> None:
    step = first_steps.run("fold")
    (shown,) = PRINTED.findall(README)
    printed = "".join(line.rstrip() + "\n" for line in step.output.splitlines())
    assert load("sessions").same(f"...\n{shown}", printed), printed
