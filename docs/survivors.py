"""Write docs/mutants.md from the record of the last run of mutants and the list of what survived it.

    python docs/survivors.py            # write the page
    python docs/survivors.py --check    # fail if the committed page says something else

`PYTHONPATH=tests python -m mutants` writes both, into benchmarks/results/reliability (mutants.json, survivors.json).
Why a mutant survives is written by hand into tests/mutants/known.json, for the next run, and into the list: a kind,
which is a key of KINDS, and a sentence. What has no such reason is a gap.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from kept import keep

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "mutants.md"
RECORDS = ROOT / "benchmarks" / "results" / "reliability"
KINDS = {
    "same": "compute the same for every graph that there can be, so that no test can notice them",
    "cost": "only cost time or memory",
    "guard": "change a guard that nothing comes to, or what only the reader of the source sees",
    "later": "are noticed by a test that came after the run, or was not among those tried",
    "gap": "are noticed by no test, and are not known to be harmless",
}
"""Why a mutant survives, in the order of the page."""

TEXT = """# Mutants that no test noticed

The run in [reliability.md](reliability.md) (`{command}`, {date}) tried {tried} mutants, each at another of {places}
places; {killed} were killed, {survived} survived. Of these
{kinds}.

Of those that can be noticed at all, which is all but the first kind, {share} were killed in that run.

Lines are those of commit {commit}. A mutant is tried with the {most} tests at most that run its line within their own
process and are likeliest to notice it; what only more tests, or the command line's processes, would notice counts as a
survivor.

| where | as it is | changed | why it survives |
|---|---|---|---|
{rows}
"""


def page(record: dict[str, Any], survivors: list[dict[str, Any]]) -> str:
    """The page.

    Raises:
        SystemExit: the two are not of one run, or a reason is missing.
    """
    tried, killed = (record["figures"][key] for key in ("mutants tried, one for each of so many places", "killed"))
    if len(survivors) != tried - killed:
        raise SystemExit(f"{len(survivors)} survivors are listed, and {tried - killed} survived")
    unknown = [entry for entry in survivors if entry["kind"] not in KINDS or not entry["why"]]
    if unknown:
        raise SystemExit(f"{len(unknown)} survivors have no reason: {_where(unknown[0])} is the first")
    counts = Counter(entry["kind"] for entry in survivors)
    kinds = ";\n".join(f"- {counts[kind]} {text}" for kind, text in KINDS.items() if counts[kind])
    order = sorted(survivors, key=lambda entry: (-list(KINDS).index(entry["kind"]), entry["path"], entry["line"]))
    return TEXT.format(
        command=record["command"].removeprefix("PYTHONPATH=tests python -m mutants "),
        date=record["date"],
        tried=tried,
        places=record["figures"]["places that can be changed"],
        killed=killed,
        survived=len(survivors),
        kinds=kinds,
        share=f"{killed / (tried - counts['same']):.1%} ({killed} of {tried - counts['same']})",
        commit=record["figures"]["commit"],
        most=record["figures"]["tests for each at most"],
        rows="\n".join(map(_row, order)),
    )


def _row(entry: dict[str, Any]) -> str:
    cells = (_where(entry), _code(entry["before"]), _code(entry["after"]), entry["why"])
    return f"| {' | '.join(cells)} |"


def _where(entry: dict[str, Any]) -> str:
    return f"{entry['path'].removeprefix('bnfold/')}:{entry['line']}"


def _code(line: str) -> str:
    escaped = line.strip().replace("|", "\\|")
    return f"`{escaped}`"


def main() -> int:
    """Write or check the page."""
    record, survivors = (
        json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8")) for name in ("mutants", "survivors")
    )
    return keep({PAGE: page(record, survivors)}, "survivors.py")


if __name__ == "__main__":
    sys.exit(main())
