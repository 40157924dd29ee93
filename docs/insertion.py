"""Write the table of docs/insertion.md: where `bnfold insert` puts a BatchNormalization into the models at hand.

    python docs/insertion.py            # write the table
    python docs/insertion.py --check    # fail if the committed table says something else of a model that is here

The models of the folder that BNFOLD_MODELS names (default ../shared/models) are taken in where it is there. The text
around the table is kept as it is; the section "Measured" is written by benchmarks/insertion_numbers.py.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from onnx import ModelProto

import bnfold
from bnfold.inserting.insert import insert
from bnfold.runtime import Session, SizeSearch, draw_inputs, open_session
from bnfold.runtime.arrays import Array

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "insertion.md"
FOLDERS = (ROOT / "models", Path(os.environ.get("BNFOLD_MODELS", ROOT.parent / "shared" / "models")))
TRAINED = "train_mode_bn_3out.onnx"
"""It holds nothing but a BatchNormalization."""
BEGIN, END = "<!-- table: written by docs/insertion.py -->", "<!-- end of table -->"
DRAWS = 2
HEAD = """| model, folded | put in | passed over | identity | folded again, with data or without |
|---|---:|---|---|---|
"""


def rows() -> list[str]:
    """A line per model, by folder and name."""
    paths = [path for folder in FOLDERS for path in sorted(folder.glob("*.onnx"))]
    return [_row(path) for path in paths if path.name != TRAINED]


def _row(path: Path) -> str:
    model = bnfold.fold(path, freeze_initializers=True).model
    result = insert(model)
    over = ", ".join(f"{n} {code}" for code, n in sorted(Counter(each.code for each in result.skipped).items()))
    if not result:
        return f"| `{path.name}` | 0 | {over} |  |  |"
    same = "every bit the same" if is_same(model, result.model) else "**other bits**"
    made = result.model, insert(model, drawn(open_session(model.SerializeToString()))).model
    back = [_operators(bnfold.fold(each, freeze_initializers=True).model) for each in made]
    nodes = "the same operators" if back == [_operators(model)] * len(made) else "**other operators**"
    return f"| `{path.name}` | {len(result.inserted)} | {over} | {same} | {nodes} |"


def is_same(model: ModelProto, made: ModelProto) -> bool:
    """Whether onnxruntime, graph optimisation off, gives the same bits for both."""
    before, after = (open_session(each.SerializeToString()) for each in (model, made))
    for feeds in drawn(before):
        wanted, found = before.run(feeds), after.run(feeds)
        if not all(np.array_equal(values, found[name]) for name, values in wanted.items()):
            return False
    return True


def drawn(session: Session) -> list[dict[str, Array]]:
    """Seeded inputs."""
    sizes = SizeSearch(session, seed=0).first()
    return [draw_inputs(session.inputs, seed=9, draw=draw, sizes=sizes) for draw in range(DRAWS)]


def _operators(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node if node.op_type != "Constant")


def stale(found: list[str]) -> list[str]:
    """Lines that the committed page does not have."""
    committed = PAGE.read_text(encoding="utf-8").splitlines()
    return [row for row in found if row not in committed]


def main() -> int:
    """Write or check the table."""
    found = rows()
    if "--check" in sys.argv:
        for row in stale(found):
            print(f"docs/insertion.md is stale, run python docs/insertion.py: {row}", file=sys.stderr)
        return 1 if stale(found) else 0
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table = HEAD + "".join(row + "\n" for row in found)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
