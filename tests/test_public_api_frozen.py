"""The public API is what tests/api.txt says, line by line."""

from difflib import unified_diff
from pathlib import Path

from api import lines

ROOT = Path(__file__).resolve().parent.parent


def test_the_public_api_is_the_one_that_was_agreed_on() -> None:
    agreed = (ROOT / "tests" / "api.txt").read_text(encoding="utf-8").splitlines()
    changes = list(unified_diff(agreed, list(lines()), "agreed", "found", lineterm="", n=1))
    assert not changes, "\n".join(["if this is meant: python tests/api.py > tests/api.txt", *changes])
