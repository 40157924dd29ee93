"""Pages that are a session print, command by command, what they show; docs/sessions.py runs them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from docs_script import load

ROOT = Path(__file__).resolve().parent.parent
FENCES = re.compile(r"^```(\w*)\n.*?^```$", re.MULTILINE | re.DOTALL)


sessions = load("sessions")
PAGES = sessions.sessions()


def case(page: Path) -> Any:
    """A page as a parameter, left out where what it needs is not installed."""
    needs = sessions.needs(page.read_text(encoding="utf-8"))
    missing = sessions.missing(needs)
    skip = pytest.mark.skipif(bool(missing), reason=f"the page needs {', '.join(missing)}")
    return pytest.param(page, marks=[skip] if needs else [], id=str(page.relative_to(ROOT)))


@pytest.mark.parametrize("page", [case(page) for page in PAGES])
def test_a_session_prints_what_its_page_shows(page: Path, tmp_path: Path) -> None:
    sessions.furnish(tmp_path)
    found = sessions.differences(page.read_text(encoding="utf-8"), tmp_path)
    assert not found, "\n".join(f"$ {step.command}\n{printed}" for step, printed in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_everything_that_a_session_shows_is_run_or_compared(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    languages = [found[1] for found in FENCES.finditer(text)]
    shown = sum(1 for step in sessions.steps(text) if step.is_program and step.is_shown)
    assert set(languages) <= {"console", "python", "text"}
    assert languages.count("text") == shown, "a block of text has to stand right below its program"


def test_the_index_of_the_tasks_has_every_page_once() -> None:
    folder = ROOT / "docs" / "howto"
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(linked) == sorted(page.name for page in folder.glob("*.md") if page.name != "README.md")


def test_every_model_of_a_page_has_a_page() -> None:
    named = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in load("howto/situations").SITUATIONS if name not in named] == []


# --- What counts as the same ---

SHOWN = "off by 2.62e-06 in 12 of 12 nodes, 0.95 right\n"


@pytest.mark.parametrize(
    "printed",
    [
        SHOWN,
        SHOWN.replace(" of ", "  of  "),
        SHOWN.replace("2.62e-06", "2.5e-05"),
        SHOWN.replace("2.62e-06", "0.00e+00"),
    ],
)
def test_blanks_and_roundings_are_loose(printed: str) -> None:
    assert sessions.same(SHOWN, printed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("12 of 12", "11 of 12"),
        ("2.62e-06", "2.62e-03"),
        ("0.95", "0.94"),
        ("right", "wrong"),
    ],
)
def test_everything_else_has_to_be_the_same(old: str, new: str) -> None:
    assert not sessions.same(SHOWN, SHOWN.replace(old, new))


def test_a_line_more_or_less_differs() -> None:
    assert not sessions.same(SHOWN, SHOWN * 2)
    assert not sessions.same(SHOWN * 2, SHOWN)
    assert sessions.same(f"...\n{SHOWN}...\n", SHOWN * 3)


def test_numbers_with_a_point_are_as_loose_as_the_page_says() -> None:
    assert sessions.same("loss 0.50\n", "loss 0.54\n", about=10)
    assert not sessions.same("loss 0.50\n", "loss 0.56\n", about=10)


def test_a_failure_that_no_page_announces_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="status 3"):
        sessions.differences("```console\n$ exit 3\n```\n", tmp_path)
    assert not sessions.differences("```console\n$ exit 3\n$ true\n$ exit 4\n$ echo $?\n4\n```\n", tmp_path)


def test_what_a_page_shows_is_updated_where_it_differs(tmp_path: Path) -> None:
    page = "```console\n$ echo 1\n...\n$ echo 2\n3\n```\n\n```python\nprint(4)\n```\n\n```text\n```\n"
    found = sessions.differences(page, tmp_path)
    assert [printed for _, printed in found] == ["2\n", "4\n"]
    assert sessions.updated(page, found) == page.replace("3\n", "2\n").replace("```text\n", "```text\n4\n")
