"""Write the tables of docs/performance.md from results/fold.json, fold_profile.json and inference.json.

    python benchmarks/performance_report.py            # write them
    python benchmarks/performance_report.py --check    # fail if the committed tables say something else

The text around the tables is kept as it is. A table whose results are not there says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

import fold_results
from fold_tables import SECTIONS
from inference_results import Row, row_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
RESULTS = Path(__file__).parent / "results"
AUTHOR = "written by benchmarks/performance_report.py"
NOTHING = "Not measured yet.\n"
Key: TypeAlias = Literal["run_ratio", "open_ratio"]
Run: TypeAlias = tuple[str, int, str]
"""Model, batch and provider."""
CLOSE = 0.02
"""How far a result may be from its bound, over the original's time, to count as at it."""


class Inference(TypedDict):
    """benchmarks/results/inference.json."""

    date: str
    machine: str
    versions: dict[str, str]
    rows: list[dict[str, Any]]


class Profile(TypedDict):
    """benchmarks/results/fold_profile.json: seconds per part of one fold."""

    date: str
    machine: str
    load: float
    model: str
    rounds: int
    seconds: dict[str, float]


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder with the files")
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
    found: Inference | None = _read(results / "inference.json")
    parts: Profile | None = _read(results / "fold_profile.json")
    made["parts"] = NOTHING if parts is None else "".join(profile(parts))
    return {**made, "inference": NOTHING if found is None else "".join(inference(found))}


def _read(path: Path) -> Any:  # noqa: ANN401 (whatever is in it)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def profile(found: Profile) -> Iterator[str]:
    """A row per part of one fold."""
    whole = sum(found["seconds"].values())
    yield f"{found['model']}, {found['date']}, {found['machine']}, load {found['load']}, "
    yield f"medians of {found['rounds']}.\n\n"
    yield "| part | ms | share |\n|---|---:|---:|\n"
    for name, seconds in found["seconds"].items():
        yield f"| {name} | {1e3 * seconds:.0f} | {seconds / whole:.0%} |\n"
    yield f"| together | {1e3 * whole:.0f} | |\n"


def inference(found: Inference) -> Iterator[str]:
    """Where it was measured, how many models are at the bound, and two tables: running and opening."""
    versions = ", ".join(f"{tool} {number}" for tool, number in found["versions"].items())
    yield f"{found['date']}, {found['machine']}; {versions}.\n\n"
    rows: dict[Run, dict[str, Row]] = {}
    for row in map(row_of, found["rows"]):
        rows.setdefault((row.model, row.batch, row.provider), {})[row.form] = row
    yield _summary(list(rows.values()))
    yield from _further(rows)
    forms = list(dict.fromkeys(form for row in rows.values() for form in row if form != "original"))
    yield from _table("run", rows, forms, "run_ratio")
    yield "\nOpening a session:\n\n"
    yield from _table("open", rows, forms, "open_ratio")


def _summary(rows: Sequence[Mapping[str, Row]]) -> str:
    ours = [row["bnfold"] for row in rows]
    both = [row for row in rows if "bound" in row]
    close, slower = sum(map(_is_close, both)), sum(row["bnfold"].run_ratio[1] > 1 + CLOSE for row in both)
    furthest = max((row.off or 0.0 for row in ours), default=0.0)
    return (
        f"Of {len(both)} models with a bound, bnfold's result is at it or below, within {CLOSE:.0%} of the original's "
        f"time, in {close}; it is slower than the original by more than {CLOSE:.0%} in {slower}. Its outputs are off "
        f"by {furthest:.0e} of the largest at most.\n\n"
    )


def _further(rows: Mapping[Run, Mapping[str, Row]]) -> Iterator[str]:
    """The models that are not at the bound, with what is left in them."""
    yield "| not at the bound | bnfold | bound | affines before | left |\n|---|---:|---:|---:|---:|\n"
    for (model, batch, provider), row in rows.items():
        if "bound" not in row or _is_close(row):
            continue
        ratios = (f"{row[form].run_ratio[1]:.2f}" for form in ("bnfold", "bound"))
        counts = (str(row[form].affines) for form in ("original", "bnfold"))
        yield f"| {model}, {batch}, {provider} | {' | '.join((*ratios, *counts))} |\n"
    yield "\n"


def _is_close(row: Mapping[str, Row]) -> bool:
    return row["bnfold"].run_ratio[1] <= row["bound"].run_ratio[1] + CLOSE


def _table(title: str, rows: Mapping[Run, Mapping[str, Row]], forms: Sequence[str], key: Key) -> Iterator[str]:
    """A row per model, batch and provider, a column per form; medians."""
    yield f"| {title} | {' | '.join(forms)} |\n|---|{'---:|' * len(forms)}\n"
    for (model, batch, provider), row in rows.items():
        cells = (f"{getattr(row[form], key)[1]:.2f}" if form in row else "" for form in forms)
        yield f"| {model}, {batch}, {provider} | {' | '.join(cells)} |\n"


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
