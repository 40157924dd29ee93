"""Print the three numbers of the README.

    python docs/three_numbers.py            # print them
    python docs/three_numbers.py --write    # and put them into the README

The first two are computed: what bnfold makes of every graph of the corpus (`tests/corpus`), judged as other tools are
by `benchmarks/peers.py`, and how far the folds of `models/` are off. The other tools' figures are those of
docs/coverage.md, and the time is that of benchmarks/results/inference.json, which `benchmarks/inference.py` measured.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import bnfold

ROOT = Path(__file__).resolve().parent.parent
COVERAGE = ROOT / "docs" / "coverage.md"
MEASURED = ROOT / "benchmarks" / "results" / "inference.json"
PEER = re.compile(r"^- (\w+): of (\d+) cases where something folds (\d+) folded.* (\d+) wrong, (\d+) inv", re.MULTILINE)
README = ROOT / "README.md"
SHOWN = re.compile(r"(?<=<!-- output: python docs/three_numbers.py -->\n```text\n).*?(?=```\n)", re.DOTALL)
PEERS = ("onnxruntime-basic", "onnxscript", "onnxsim", "onnxslim")


def main() -> None:
    """Print them, or write them too."""
    text = "".join(f"{line}\n" for line in lines())
    print(text, end="")
    if "--write" in sys.argv:
        README.write_text(SHOWN.sub(text, README.read_text(encoding="utf-8")), encoding="utf-8")


def lines() -> Iterator[str]:
    """A line per number, with those of other tools below it."""
    outcomes = corpus()
    folded, foldable, wrong, every = (outcomes[key] for key in ("folded", "foldable", "wrong", "all"))
    yield f"{folded} of {foldable} patterns folded, {wrong} of {every} graphs made wrong"
    for name, foldable, folded, wrong in peers():
        yield f"  {name}: {folded} of {foldable} folded, {wrong} made wrong"
    error, models = rounding()
    yield f"{error:.1e} of the largest output is the most by which {models} folds are off"
    network = "the source's network as Keras exports it, on onnxruntime's CPU provider"
    yield f"{ratio('bnfold'):.2f} of the time for {network}"
    yield "  " + ", ".join(f"{name}: {ratio(name):.2f}" for name in PEERS)


def corpus() -> Counter[str]:
    """What comes of every graph of the corpus: folded, foldable, wrong, and how many there are."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from peer_judge import draws_of, is_settled, judge

    from corpus import CASES  # isort: skip - peer_judge puts tests/ on the path

    counts: Counter[str] = Counter()
    for case in CASES:
        model = case.build()
        result = bnfold.fold(model, freeze_initializers=case.freeze).model
        outcome = judge(case, model, result, draws_of(case, model)).outcome
        foldable = not is_settled(case, model)
        counts["all"] += 1
        counts["foldable"] += foldable
        counts["folded"] += foldable and outcome == "folded"
        counts["wrong"] += outcome in ("wrong", "invalid")
    return counts


def peers() -> list[tuple[str, int, int, int]]:
    """Other tools: name, patterns, how many of them they folded, and graphs that they made wrong."""
    found = PEER.findall(COVERAGE.read_text(encoding="utf-8"))
    return [
        (name, int(foldable), int(folded), int(wrong) + int(invalid))
        for name, foldable, folded, wrong, invalid in found
        if name != "bnfold"
    ]


def rounding() -> tuple[float, int]:
    """The largest difference of any output over its largest value, over the models that are shipped."""
    paths = sorted((ROOT / "models").glob("*.onnx"))
    worst = 0.0
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, path.name)
            bnfold.fold(path).save(target)
            report = bnfold.assert_equivalent(path, target)
        worst = max(worst, *(output.rel_to_max for output in report.outputs))
    return worst, len(paths)


def ratio(form: str, model: str = "keras3_source_cnn") -> float:
    """The time of one run over the original's, as it was measured."""
    rows = json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]
    (median,) = (r["run_ratio"][1] for r in rows if (r["model"], r["form"], r["provider"]) == (model, form, "cpu"))
    return float(median)


if __name__ == "__main__":
    main()
