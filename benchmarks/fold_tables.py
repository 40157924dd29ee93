"""The tables of docs/performance.md that come from benchmarks/results/fold.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from fold_results import Entry, Row
from fold_targets import Quartiles, Verdict, pairs

Entries: TypeAlias = Mapping[str, Entry]

TARGETS = """| scenario | what | measured | at most | |
|---|---|---:|---:|---|
"""
TIMES = """| model | tool | seconds | processor | bnfold over it | peak MB | left |
|---|---|---:|---:|---:|---:|---:|
"""
MEMORY = """| model | MB | peak MB | peak over size |
|---|---:|---:|---:|
"""
GROWTH = """| graph | pairs | processor | per pair |
|---|---:|---:|---:|
"""
MEGA = 1e6


def measured(entries: Entries) -> Iterator[str]:
    """Where and with what, scenarios of the same day, machine and versions together."""
    groups: dict[str, list[str]] = {}
    for name, entry in entries.items():
        versions = ", ".join(f"{tool} {number}" for tool, number in entry["versions"].items())
        groups.setdefault(f"{entry['date']}, {entry['machine']}; {versions}", []).append(name)
    for place, names in groups.items():
        loads = [load for name in names for load in entries[name]["load"]]
        rounds = sorted({entries[name]["rounds"] for name in names})
        yield f"- {', '.join(f'`{name}`' for name in names)}: {place}; {' or '.join(map(str, rounds))} rounds,\n"
        yield f"  load {min(loads):.1f} to {max(loads):.1f}.\n"


def targets(entries: Entries) -> Iterator[str]:
    """Every target with its number, and whether it is met."""
    yield TARGETS
    for name, entry in entries.items():
        for verdict in entry["targets"]:
            yield f"| `{name}` | {verdict['text']} | {_measured(verdict)} | {verdict['limit']:g} | {_word(verdict)} |\n"


def _measured(verdict: Verdict) -> str:
    value = "-" if verdict["value"] is None else spread(verdict["value"])
    return f"< {value}" if verdict["bound"] else value


def _word(verdict: Verdict) -> str:
    return {True: "yes", False: "**no**", None: "not shown"}[verdict["met"]]


def times(entries: Entries) -> Iterator[str]:
    """Every way."""
    yield TIMES
    for entry in entries.values():
        for row in entry["rows"]:
            cells = (row["model"], row["tool"], *_numbers(row), "" if row["left"] is None else str(row["left"]))
            yield f"| {' | '.join(cells)} |\n"


def _numbers(row: Row) -> tuple[str, str, str, str]:
    if row["wall"] is None or row["cpu"] is None or row["peak"] is None:
        return row["missed"] or "-", "", "", ""
    ratio = "" if row["bnfold_wall"] is None else spread(row["bnfold_wall"])
    return spread(row["wall"]), f"{row['cpu'][1]:.3g}", ratio, f"{row['peak'][1] / MEGA:.0f}"


def memory(entries: Entries) -> Iterator[str]:
    """Of bnfold on every model."""
    yield MEMORY
    for entry in entries.values():
        for row in _ours(entry):
            size, peak = entry["bytes"][row["model"]], _median(row["peak"])
            yield f"| {row['model']} | {size / MEGA:.1f} | {peak / MEGA:.0f} | {peak / size:.3g} |\n"


def growth(entries: Entries) -> Iterator[str]:
    """Of bnfold on graphs of one kind: what a pair costs beyond the smallest graph."""
    yield GROWTH
    for entry in entries.values():
        ours = _ours(entry)
        for row in ours[1:]:
            start = ours[0]
            more = pairs(row["model"]) - pairs(start["model"])
            each = (_median(row["cpu"]) - _median(start["cpu"])) / more
            kind = row["model"].partition("-")[0]
            yield f"| {kind} | {pairs(row['model'])} | {_median(row['cpu']):.3g} s | {each * 1e6:.0f} µs |\n"


def _ours(entry: Entry) -> list[Row]:
    return [row for row in entry["rows"] if row["tool"] == "bnfold" and row["wall"] is not None]


def _median(values: Quartiles | None) -> float:
    return values[1] if values is not None else float("nan")


def spread(values: Quartiles) -> str:
    """Median, and quartiles where they differ."""
    low, middle, high = (f"{value:.3g}" for value in values)
    return middle if low == high else f"{middle} ({low}-{high})"


SECTIONS: dict[str, Callable[[Entries], Iterator[str]]] = {
    "measured": measured,
    "targets": targets,
    "times": times,
    "memory": memory,
    "growth": growth,
}
"""By the name that stands in the marker."""
