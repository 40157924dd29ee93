"""Write docs/comparison.md: bnfold beside other tools, from what benchmarks/peers.py has written into docs/coverage.md.

    python docs/comparison.py            # write the page
    python docs/comparison.py --check    # fail if the committed page says something else

Nothing is measured here: the same results, by question and not by case.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kept import keep

DOCS = Path(__file__).resolve().parent
DATA, PAGE = DOCS / "coverage.md", DOCS / "comparison.md"

PURPOSE = {
    "bnfold": "fold and insert normalizations, prove it, and say why the rest stays",
    "onnxruntime": "runs models; its optimizer rewrites a model when it is loaded, and can save the result",
    "onnxslim": "makes a model small: constants, dead nodes, shapes, known patterns",
    "onnxsim": "simplifies a model by evaluating what is constant, with onnxoptimizer's passes",
    "onnxscript": "an optimizer for torch's exporter: constants, and rules that rewrite patterns",
    "onnxoptimizer": "passes, each for one pattern of nodes",
}
"""What each tool says that it is for."""

HEAD = """# Beside other tools

Several tools take a BatchNormalization out of an ONNX graph on their way to something larger. This page says which of
them takes out what. Written by `python docs/comparison.py` from the table that `benchmarks/peers.py` puts into
[coverage](coverage.md#peers): {cases} small models, each with one question, given to each tool in a process of its own
with its default options, and judged by one judge.

The cases were written with bnfold, to cover the rules that it has and what must not happen. So its own column is a test
that it passes, and no finding; what the page is about are the other columns, and the cases are small enough to judge.

{versions}

| tool | what it is for |
|---|---|
{purposes}
## In all

*Folded*: no more affines are left than the mathematics leaves. *Wrong*: the result computes something else, has lost an
input, or takes training for inference. *Invalid*: onnx.checker or onnxruntime refuses it. *Crashed*: no result.

| tool | folded, of {folding} | of them in part | left alone, of {staying} | wrong | invalid | crashed |
|---|---:|---:|---:|---:|---:|---:|
{totals}
## What each folds

Cases folded whole, by what stands between the BatchNormalization and the weights that take it. The families are those
of [tests/corpus](../tests/corpus/__init__.py).

{families}
## Where results are wrong

Cases whose result computes something else, without a word, by tool.

{wrong}
## Which to take

- **A Conv with a BatchNormalization behind it, in float32, run by onnxruntime**: onnxruntime does it when it loads the
  model, {conv} of that family; bnfold adds the proof, and a file that any other runtime gets it from too.
- **Anything around it**: a Gemm or MatMul, a Transpose or Reshape in between, a branch, channels last, a map in front
  of the weights, half precision with float32 statistics, integer weights: the families above in which others fold
  little.
- **More than normalizations**: the other tools evaluate constants, take out dead nodes and fuse much else, which bnfold
  does not. Let bnfold go first: what it leaves is an ordinary model, its inputs, outputs and metadata as they were.
- **Why one stays**: `bnfold inspect` names the node that blocks and what would unblock it; see [refusals](refusals.md).

How fast each is, and how much memory it takes, is in
[performance](performance.md#beside-other-tools-and-a-copy-of-the-file).
"""


class Family(NamedTuple):
    """One family of cases in which something folds.

    Attributes:
        name: of the family.
        cases: how many.
        folded: by tool, how many of them it folds whole.
    """

    name: str
    cases: int
    folded: dict[str, int]


def section() -> str:
    """What benchmarks/peers.py has written."""
    text = DATA.read_text(encoding="utf-8")
    return text.partition("<!-- peers: written")[2].partition("<!-- end of peers -->")[0]


def families(text: str) -> list[Family]:
    """The rows of the first table."""
    table = text.partition("### Where something folds")[2].partition("### Where nothing")[0]
    header, _, *rows = [_cells(line) for line in table.splitlines() if line.startswith("|")]
    tools = header[2:]
    return [
        Family(
            row[0].strip("*"), int(row[1]), {t: int(cell.split()[0]) for t, cell in zip(tools, row[2:], strict=True)}
        )
        for row in rows
    ]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


TOTAL = re.compile(
    r"- (?P<tool>\w+): of (?P<folding>\d+) cases where something folds (?P<folded>\d+) folded, (?P<partly>\d+) partly, "
    r"\d+ left; of (?P<staying>\d+) where nothing may go (?P<right>\d+) right; "
    r"in all (?P<wrong>\d+) wrong, (?P<invalid>\d+) invalid, (?P<crashed>\d+) crashed\."
)


def text() -> str:
    """The whole page."""
    data = section()
    totals = [found.groupdict() for found in TOTAL.finditer(data)]
    found = families(data)
    folding, staying = totals[0]["folding"], totals[0]["staying"]
    conv = next(family for family in found if family.name == "conv")
    versions = next(line for line in data.splitlines() if line.startswith("bnfold ") and "judged by" in line)
    return HEAD.format(
        cases=int(folding) + int(staying),
        versions=versions,
        purposes="".join(f"| {total['tool']} | {PURPOSE[total['tool']]} |\n" for total in totals),
        folding=folding,
        staying=staying,
        totals="".join(_total(total) for total in totals),
        families="\n".join(_families(found)) + "\n",
        wrong="".join(_wrong(data, [total["tool"] for total in totals])),
        conv=f"{conv.folded['onnxruntime']} of {conv.cases}",
    )


def _total(total: dict[str, str]) -> str:
    keys = ("tool", "folded", "partly", "right", "wrong", "invalid", "crashed")
    return "| " + " | ".join(total[key] for key in keys) + " |\n"


def _families(found: Sequence[Family]) -> Iterator[str]:
    tools = list(found[0].folded)
    yield f"| family | cases | {' | '.join(tools)} |"
    yield f"|---|---:|{'---:|' * len(tools)}"
    for family in found:
        yield f"| {family.name} | {family.cases} | {' | '.join(str(family.folded[tool]) for tool in tools)} |"


def _wrong(data: str, tools: Sequence[str]) -> Iterator[str]:
    """By tool, the cases with a wrong result, with the reason where it is no number."""
    for tool in tools:
        own = data.partition(f"\n#### {tool}\n")[2].partition("\n####")[0]
        cases = Counter(re.findall(r"^- wrong: (?:\w[\w ]*): (.+): `.*`$", own, re.MULTILINE))
        if cases:
            yield f"- {tool}: {'; '.join(cases)}.\n"


def main() -> int:
    """Write or check the page."""
    return keep({PAGE: text()}, "comparison.py")


if __name__ == "__main__":
    sys.exit(main())
