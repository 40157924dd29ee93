"""Write the figures in docs/reliability.md from the records of the last runs (benchmarks/results/reliability/*.json).

    python docs/reliability.py            # write the page
    python docs/reliability.py --check    # fail if the committed page says something else

The text of the page is written by hand. What stands between `<!-- record: NAME -->` and `<!-- end of record -->` is
written from NAME.json, which the program that NAME is about wrote with `tests/record.py`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from kept import keep

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
RECORDS = ROOT / "benchmarks" / "results" / "reliability"
PLACE = re.compile(r"(?<=<!-- record: )(?P<name>[\w-]+)( -->\n).*?(?=<!-- end of record -->)", re.DOTALL)


def table(record: dict[str, Any]) -> str:
    """What was run, when and on what, and its figures, a row each."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    rows = "\n".join(f"| {what} | {_number(value)} |" for what, value in record["figures"].items())
    return (
        f"`{record['command']}`, {record['date']},\n"
        f"{_seconds(record['seconds'])} on {record['machine']}; {versions}.\n\n"
        f"| | |\n|---|---:|\n{rows}\n\n"
    )


def _number(value: object) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} minutes"


def page(text: str) -> str:
    """The page with the figures of the records in their places."""

    def filled(match: re.Match[str]) -> str:
        record = json.loads((RECORDS / f"{match['name']}.json").read_text(encoding="utf-8"))
        return f"{match['name']} -->\n\n{table(record)}"

    return PLACE.sub(filled, text)


def main() -> int:
    """Write or check the page."""
    return keep({PAGE: page(PAGE.read_text(encoding="utf-8"))}, "reliability.py")


if __name__ == "__main__":
    sys.exit(main())
