"""Write docs/coverage.md: what `bnfold fold` does with every model at hand, and why the rest stays.

    python docs/coverage.py            # write the table
    python docs/coverage.py --check    # fail if the committed table says something else of a model that is here

The models of the folder that BNFOLD_MODELS names (default ../shared/models) are taken in where it is there. The section
"Peers" is written by benchmarks/peers.py, and kept as it is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import bnfold

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "coverage.md"
FOLDERS = (ROOT / "models", Path(os.environ.get("BNFOLD_MODELS", ROOT.parent / "shared" / "models")))
FROZEN = frozenset({"ultraface_rfb320.onnx"})
"""Models whose weights are overridable inputs: shown with --freeze-initializers as well."""

PEERS = "<!-- peers: written by benchmarks/peers.py -->"
"""Where that section begins: from there on the page stays as it is."""

HEAD = """# Coverage

What `bnfold fold` does with each model of `models/` and of the folder of real models, written by
`python docs/coverage.py`. *Checked* is the proof that the command line makes before it writes anything: original and
result on onnxruntime's CPU provider, graph optimisation off. *Vacuous* means that the outputs of the model do not
depend on its inputs, so that a comparison shows nothing (`--allow-vacuous` writes such a result all the same). Models
in which nothing folds are written as they came in, byte for byte.

| model | BatchNormalizations | left | other affines folded | checked |
|---|---:|---:|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One model: its line of the table, and the reasons for what stays."""

    name: str
    line: str
    reasons: tuple[str, ...]


def rows() -> list[Row]:
    """A row per model, by folder and name."""
    found: list[Row] = []
    for folder in FOLDERS:
        for path in sorted(folder.glob("*.onnx")):
            found.append(_row(path, freeze=False))
            if path.name in FROZEN:
                found.append(_row(path, freeze=True))
    return found


def _row(path: Path, *, freeze: bool) -> Row:
    result = bnfold.fold(path, freeze_initializers=freeze)
    kinds = Counter(folded.op_type for folded in result.folded)
    folded = kinds.pop("BatchNormalization", 0)
    others = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    name = f"`{path.name}`" + (" `--freeze-initializers`" if freeze else "")
    line = f"| {name} | {folded + len(result.kept)} | {len(result.kept)} | {others} | {_checked(path, result)} |"
    return Row(name, line, tuple(f"- {kept.node}: {kept.reason} `[{kept.code}]`" for kept in result.kept))


def _checked(path: Path, result: bnfold.FoldResult) -> str:
    if not result:
        return "unchanged"
    with tempfile.TemporaryDirectory() as folder:
        after = Path(folder, "folded.onnx")
        result.save(after)
        report = bnfold.check(path, after)
    if report:
        return "equal"
    if all(output.equal for output in report.outputs):
        return "equal, vacuous"
    return "**different**"


def text(found: list[Row]) -> str:
    """The whole page."""
    parts = [HEAD, *(row.line + "\n" for row in found), "\n## Why the rest stays\n"]
    for row in found:
        if row.reasons:
            parts += [f"\n### {row.name}\n\n", *(reason + "\n" for reason in row.reasons)]
    return "".join(parts) + kept_section()


def kept_section() -> str:
    """What benchmarks/peers.py has written at the end of the page; empty if it has not."""
    _, marker, section = TABLE.read_text(encoding="utf-8").partition(PEERS) if TABLE.exists() else ("", "", "")
    return f"\n{marker}{section}" if marker else ""


def stale(found: list[Row]) -> list[str]:
    """Models of which the committed table says something else."""
    committed = TABLE.read_text(encoding="utf-8").splitlines()
    return [row.name for row in found if any(line not in committed for line in (row.line, *row.reasons))]


def main() -> int:
    """Write or check the table."""
    found = rows()
    if "--check" not in sys.argv:
        TABLE.write_text(text(found), encoding="utf-8")
        return 0
    for name in stale(found):
        print(f"docs/coverage.md is stale for {name}: run python docs/coverage.py", file=sys.stderr)
    return 1 if stale(found) else 0


if __name__ == "__main__":
    sys.exit(main())
