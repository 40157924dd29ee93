"""What benchmarks/peers.py prints, and writes into docs/coverage.md between two markers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

BEGIN, END = "<!-- peers: written by benchmarks/peers.py -->", "<!-- end of peers -->"
"""docs/coverage.py keeps what stands from the first on."""

Cell: TypeAlias = Callable[[Mapping[str, int]], str]

BROKEN = ("wrong", "invalid", "crashed")

HEAD = """## Peers

The conformance corpus of `tests/corpus` through bnfold and other tools, each in a process and an environment of its
own, with its default options; printed by `python benchmarks/peers.py`. Every result is loaded, checked and run by the
same judge. *Folded* means that no more affines are left than the mathematics leaves, *partly* fewer than there were,
*left* as many as there were, and the values equal in all three; *wrong* other values, a lost input or output, training
taken for inference; *invalid* what onnx.checker or onnxruntime refuses although it takes the original; *crashed* no
result: an exception (onnxruntime's optimiser takes only what onnxruntime can run), a signal, or {seconds:.0f} s.
How an affine went is all one: folded, evaluated, fused.

{frozen}

{versions}
"""
FROZEN = (
    "Two cases ask for weights that are graph inputs to be taken for constants: there bnfold gets its option for it "
    "(`--freeze-initializers`); the others have none that says so, and run with their defaults."
)


@dataclass(frozen=True)
class Result:
    """What one tool made of one case.

    Attributes:
        tool: its name.
        family: the case's family.
        case: the case's label.
        settled: whether nothing may go, so that leaving it is right.
        trap: whether the graph has to come out as it went in.
        outcome: one of folded, partly, left, wrong, invalid, crashed.
        text: what happened, if it is broken.
    """

    tool: str
    family: str
    case: str
    settled: bool
    trap: bool
    outcome: str
    text: str = ""


def section(results: Sequence[Result], *, versions: str, seconds: float) -> str:
    """The whole section in Markdown."""
    parts = [HEAD.format(seconds=seconds, frozen=FROZEN, versions=versions), summary(results)]
    foldable = [result for result in results if not result.settled]
    closed = [result for result in results if result.settled]
    parts += ["### Where something folds: folded / partly / left", _table(foldable, _progress)]
    parts += ["### Where nothing may go", _table(closed, _rightness, by_trap=True)]
    parts += ["### Wrong, invalid, crashed", *_broken(results)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def summary(results: Sequence[Result]) -> str:
    """A sentence per tool."""
    lines = []
    for tool in _tools(results):
        own = [result for result in results if result.tool == tool]
        foldable = [result for result in own if not result.settled]
        counts, broken = Counter(r.outcome for r in foldable), Counter(r.outcome for r in own)
        right = sum(result.settled and result.outcome not in BROKEN for result in own)
        lines.append(
            f"- {tool}: of {len(foldable)} cases where something folds {counts['folded']} folded, "
            f"{counts['partly']} partly, {counts['left']} left; of {len(own) - len(foldable)} where nothing may go "
            f"{right} right; in all {broken['wrong']} wrong, {broken['invalid']} invalid, {broken['crashed']} crashed."
        )
    return "\n".join(lines)


def _tools(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(result.tool for result in results))


def _table(results: Sequence[Result], cell: Cell, *, by_trap: bool = False) -> str:
    if not results:
        return "No cases."
    tools = _tools(results)
    rows: dict[str, list[Result]] = {}
    for result in results:
        name = ("traps" if result.trap else "no layer takes it") if by_trap else result.family
        rows.setdefault(name, []).append(result)
    rows["**all**"] = list(results)
    lines = ["| " + " | ".join(["family", "cases", *tools]) + " |", "|---|---:|" + "---|" * len(tools)]
    for name, group in rows.items():
        cells = [_cell([r for r in group if r.tool == tool], cell) for tool in tools]
        lines.append("| " + " | ".join([name, str(len(group) // len(tools)), *cells]) + " |")
    return "\n".join(lines)


def _cell(results: Sequence[Result], cell: Cell) -> str:
    counts = Counter(result.outcome for result in results)
    broken = ", ".join(f"{counts[outcome]} {outcome}" for outcome in BROKEN if counts[outcome])
    return f"{cell(counts)}" + (f" ({broken})" if broken else "")


def _progress(counts: Mapping[str, int]) -> str:
    return f"{counts['folded']} / {counts['partly']} / {counts['left']}"


def _rightness(counts: Mapping[str, int]) -> str:
    return f"{counts['folded'] + counts['partly'] + counts['left']} right"


def _broken(results: Sequence[Result]) -> list[str]:
    parts = []
    for tool in _tools(results):
        lines = [
            f"- {r.outcome}: {r.case}: {_plain(r.text)}" for r in results if r.tool == tool and r.outcome in BROKEN
        ]
        parts.append(f"#### {tool}\n\n" + ("\n".join(lines) or "None."))
    return parts


def _plain(text: str) -> str:
    """Foreign text as code, so that nothing in it is Markdown."""
    return "`" + text.replace("`", "'").replace("|", "/") + "`"


def write(page: Path, text: str) -> None:
    """Put the section between its markers; at the end where there are none yet."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, behind = rest.partition(END)
    page.write_text(f"{before.rstrip()}\n\n{BEGIN}\n\n{text}\n{END}\n{behind.lstrip()}", encoding="utf-8")
