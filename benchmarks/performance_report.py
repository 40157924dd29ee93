"""Write the tables of docs/performance.md from results/fold.json and results/inference.json.

    python benchmarks/performance_report.py            # write them
    python benchmarks/performance_report.py --check    # fail if the committed tables say something else

The text around the tables is kept as it is. A table whose results are not there says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import fold_results
from fold_tables import SECTIONS, spread
from fold_targets import Quartiles

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
RESULTS = Path(__file__).parent / "results"
AUTHOR = "written by benchmarks/performance_report.py"
NOTHING = "Not measured yet.\n"
INFERENCE = """| model | batch | provider | form | run over original | open over original | nodes | affines | off |
|---|---:|---|---|---:|---:|---:|---:|---:|
"""


class Form(TypedDict):
    """One form of a model on onnxruntime: its time over the original's in the same round, below 1 is faster."""

    model: str
    batch: int
    provider: str
    form: str
    run_ratio: Quartiles
    open_ratio: Quartiles
    nodes: int
    affines: int
    off: float | None


class Inference(TypedDict):
    """benchmarks/results/inference.json."""

    date: str
    machine: str
    versions: dict[str, str]
    rows: list[Form]


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder with the two files")
    options = parser.parse_args()
    committed = options.page.read_text(encoding="utf-8")
    made = page(committed, sections(options.results))
    if options.check:
        if made != committed:
            print(f"{options.page} is stale: run python benchmarks/performance_report.py", file=sys.stderr)
        return int(made != committed)
    options.page.write_text(made, encoding="utf-8")
    return 0


def sections(results: Path) -> dict[str, str]:
    """The text of every section, by its name."""
    entries = fold_results.read(results / "fold.json")
    made = {name: "".join(lines(entries)) if entries else NOTHING for name, lines in SECTIONS.items()}
    path = results / "inference.json"
    found: Inference | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return {**made, "inference": NOTHING if found is None else "".join(inference(found))}


def inference(found: Inference) -> Iterator[str]:
    """Where it was measured, and a row per form."""
    versions = ", ".join(f"{tool} {number}" for tool, number in found["versions"].items())
    yield f"{found['date']}, {found['machine']}; {versions}.\n\n{INFERENCE}"
    for row in found["rows"]:
        off = "" if row["off"] is None else f"{row['off']:.0e}"
        ratios = f"{spread(row['run_ratio'])} | {spread(row['open_ratio'])}"
        head = f"{row['model']} | {row['batch']} | {row['provider']} | {row['form']}"
        yield f"| {head} | {ratios} | {row['nodes']} | {row['affines']} | {off} |\n"


def page(text: str, made: Mapping[str, str]) -> str:
    """The page with these sections.

    Raises:
        ValueError: The page has no markers for one of them.
    """
    for name, section in made.items():
        begin, end = f"<!-- {name}: {AUTHOR} -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page has no lines {begin} and {end}, between which the section would stand")
        text = f"{before}{begin}\n\n{section}\n{end}{after}"
    return text


if __name__ == "__main__":
    sys.exit(main())
