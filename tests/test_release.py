"""A release: one version everywhere, a tag that is refused for a reason, and workflows whose commands are there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import bnfold_process
from versions import SETS

from bnfold import __version__

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
READ = ("bnfold/_version.py", "CITATION.cff", "pyproject.toml", ".ci/release.py")
NOTES = "### Added\n\n- all of it\n"
CHANGELOG = f"""# Changelog

## [Unreleased]

## [{__version__}] - 2026-01-31

{NOTES}
## [0.0.1] - 2025-01-31

- less
"""
"""As on the day of a release; the real one is like that on few days."""
ACTION = re.compile(r"[\w-]+/[\w-]+@(v\d+|release/v\d+|[0-9a-f]{40})")


# --- One version ---


def test_the_version_is_the_same_wherever_it_is_said() -> None:
    assert bnfold_process("--version").out == f"bnfold {__version__}\n"
    assert metadata.version("bnfold") == __version__, "install anew: pip install -e ."
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
    numbered = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert numbered[:1] in ([], [__version__]), "the newest section of the changelog is of another version"


def test_the_version_is_written_in_one_file_of_the_package() -> None:
    files = (ROOT / "bnfold").rglob("*.py")
    having = [path for path in files if f'"{__version__}"' in path.read_text(encoding="utf-8")]
    assert having == [ROOT / "bnfold" / "_version.py"]
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_citation_has_all_that_its_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == "MIT"


# --- A tag ---


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """What the check of a tag reads, as it is on the day of a release."""
    for name in READ:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    if "[project.urls]" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8"):
        urls = '[project.urls]\nSource = "x"\n\n[project.scripts]'
        changed(tmp_path / "pyproject.toml", r"\[project.scripts\]", urls)
    return tmp_path


def changed(path: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, path.read_text(encoding="utf-8"), count=1)
    assert count == 1
    path.write_text(text, encoding="utf-8")


def check_tag(root: Path, *arguments: str) -> tuple[int, str, list[str]]:
    command = [sys.executable, str(root / ".ci" / "release.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_a_tag_of_the_version_passes_and_has_its_notes(ready: Path) -> None:
    notes = ready / "notes.md"
    assert check_tag(ready, f"v{__version__}", "--notes", str(notes)) == (0, f"{__version__}\n", [])
    assert notes.read_text(encoding="utf-8") == NOTES


@pytest.mark.parametrize("tag", [__version__, "v9.9.9", f"v{__version__}.dev1", f"v{__version__} "])
def test_another_tag_does_not_pass(ready: Path, tag: str) -> None:
    status, out, (reason,) = check_tag(ready, tag)
    assert (status, out) == (1, "")
    assert reason == f"the tag is {tag!r}, and bnfold/_version.py has {__version__}: the tag has to be 'v{__version__}'"


@pytest.mark.parametrize(
    ("name", "pattern", "by", "says"),
    [
        ("CITATION.cff", r"\nversion: .*", "\nversion: 9.9.9", "CITATION.cff has version 9.9.9"),
        ("CHANGELOG.md", r"## \[Unreleased\]\n", "## [Unreleased]\n\n- more\n", "CHANGELOG.md has lines under"),
        ("CHANGELOG.md", r"\] - 2026-01-31", "]", "CHANGELOG.md has no date behind"),
        ("CHANGELOG.md", r"## \[\d.*", "## [9.9.9] - 2026-01-31", "CHANGELOG.md says nothing under"),
        ("pyproject.toml", r"\[project.urls\]\n(.+\n)+", "", "pyproject.toml has no [project.urls]"),
    ],
)
def test_what_does_not_agree_does_not_pass(ready: Path, name: str, pattern: str, by: str, says: str) -> None:
    changed(ready / name, pattern, by)
    status, _, (reason,) = check_tag(ready, f"v{__version__}")
    assert status == 1
    assert reason.startswith(says)


# --- The workflows ---


def loaded(path: Path) -> dict[Any, Any]:
    workflow: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return workflow


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in loaded(path)["jobs"].values():
        yield from job["steps"]


def test_there_is_one_for_every_change_and_one_for_a_tag() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]
    triggers = {path.stem: loaded(path)[True] for path in WORKFLOWS}  # YAML 1.1 reads `on` as true
    assert set(triggers["ci"]) == {"push", "pull_request"}
    assert triggers["release"] == {"push": {"tags": ["v*"]}}


def test_ci_runs_all_tests_with_each_set_of_versions() -> None:
    job = loaded(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["versions"]
    assert job["steps"][-1]["run"] == 'python tests/versions.py "$VERSIONS" --whole'
    assert job["steps"][-1]["env"] == {"VERSIONS": "${{ matrix.set }}"}
    found = [each.python if each.name.startswith("newest") else each.name for each in SETS]
    assert job["strategy"]["matrix"]["set"] == found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_of_a_workflow_is_in_the_repository(path: Path) -> None:
    own = [word for step in steps(path) for word in step.get("run", "").split() if word.startswith(".ci/")]
    assert ".ci/run" in own
    for word in own:
        assert (ROOT / word).is_file()
        runs_itself = (ROOT / word).stat().st_mode & 0o100
        assert runs_itself or f"python {word}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_runs_a_command_or_an_action_of_a_version(path: Path) -> None:
    for step in steps(path):
        assert ("run" in step) != ("uses" in step)
        assert "uses" not in step or step["uses"] == "./" or ACTION.fullmatch(step["uses"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_do_no_more_than_it_says(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {"contents": "read"}
    granted = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    wanted = {"publish": {"id-token": "write", "attestations": "write"}, "announce": {"contents": "write"}}
    assert granted == (wanted if path.stem == "release" else {})
    assert "secrets." not in path.read_text(encoding="utf-8")
    assert not re.search(r"run:.*\$\{\{", path.read_text(encoding="utf-8")), "a name of a branch could be a command"


def test_nothing_is_published_that_was_not_tested_and_compared() -> None:
    jobs = loaded(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    order = ["test", "build", "publish", "announce"]
    assert list(jobs) == order
    assert [jobs[name].get("needs") for name in order] == [None, *order[:-1]]
    commands = {name: [step.get("run", "") for step in job["steps"]] for name, job in jobs.items()}
    assert 'python .ci/release.py "$GITHUB_REF_NAME"' in commands["test"]
    assert ".ci/build dist" in commands["build"]


@pytest.mark.slow
def test_what_is_published_is_built_twice_and_kept_where_it_is_the_same(tmp_path: Path) -> None:
    pytest.importorskip("twine", reason="looks at what is to be published: pip install '.[release]'")
    made = tmp_path / "dist"
    build = [str(ROOT / ".ci" / "build"), str(made)]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(build, capture_output=True, text=True, check=False, env={"PATH": path, "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK\n") == 2
    assert sorted(file.suffix for file in made.iterdir()) == [".gz", ".whl"]
    again = subprocess.run(build, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (1, f"'{made}' is there already; name a new folder\n")
