"""Measure which lines and branches of bnfold the tests run, and write the record; 1 where it is less than 95 %.

    python tests/coverage_run.py            # from the root of the repository, with torch and coverage installed
    python tests/coverage_run.py --again    # tell of the last run

Processes that the tests start are measured too (pyproject.toml). Left out are tests that only repeat what others run:
random graphs and networks, costs, benchmarks, commands of the docs, faults, and every kind of Resize; and those that
can not hold under measurement: what is imported, what an interrupt meets, and a disk that is full.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import record

LEAST = 95.0
REPEATING = """
    random esize esampl docs benchmarks determin fault test_push_carry keras architectures cuda versions costs planner
    imports interrupt hangup disk_that_is_full
"""
REPORT = Path("build/coverage.json")


def measure(workers: str = "2") -> None:
    """Run the tests, and put together what their processes wrote."""
    chosen = " and ".join(f"not {word}" for word in REPEATING.split())
    coverage = [sys.executable, "-m", "coverage"]
    pytest = ["-m", "pytest", "-n", workers, "--dist", "loadfile", "-p", "no:cacheprovider", "-k", chosen]
    subprocess.run([*coverage, "erase"], check=True)
    subprocess.run([*coverage, "run", *pytest], check=True)
    subprocess.run([*coverage, "combine", "-q"], check=True)


def main(arguments: list[str]) -> int:
    """0 where enough is covered."""
    start = time.monotonic()
    if "--again" not in arguments:
        measure()
    REPORT.parent.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(REPORT)], check=True)
    found = json.loads(REPORT.read_text(encoding="utf-8"))
    totals, share = found["totals"], found["totals"]["percent_covered"]
    files = {name: entry["summary"]["percent_covered"] for name, entry in found["files"].items()}
    for name, percent in sorted(files.items(), key=lambda item: item[1])[:20]:
        print(f"{percent:5.1f} %  {name}")
    print(f"{share:.2f} % of lines and branches")
    if "--again" not in arguments:
        record.write("coverage", "python tests/coverage_run.py", time.monotonic() - start, figures(totals))
    return int(share < LEAST)


def figures(totals: dict[str, Any]) -> dict[str, int | str]:
    """The rows of the record."""
    return {
        "lines": totals["num_statements"],
        "lines that no test runs": totals["missing_lines"],
        "branches": totals["num_branches"],
        "branches that no test takes": totals["missing_branches"],
        "lines and branches that tests run": f"{totals['percent_covered']:.2f} %",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
