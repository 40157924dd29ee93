"""What an insertion changes, in numbers, and what onnxsim's bn_recovery changes on the same models.

    python benchmarks/insertion_numbers.py --venvs build/peers            # one to three minutes
    python benchmarks/insertion_numbers.py --venvs build/peers --write    # puts it into docs/insertion.md

DIR/onnxsim is an environment with onnxsim (`python benchmarks/peers.py` makes one).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from machine import processor
from onnx import ModelProto, numpy_helper

import bnfold
from bnfold.inserting.insert import insert
from bnfold.inserting.options import Options
from bnfold.runtime import SizeSearch, draw_inputs, open_session

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "insertion.md"
FOLDERS = (ROOT / "models", Path(os.environ.get("BNFOLD_MODELS", ROOT.parent / "shared" / "models")))
TRAINED = "train_mode_bn_3out.onnx"
"""It holds nothing but a BatchNormalization."""
BEGIN, END = "<!-- measured: written by benchmarks/insertion_numbers.py -->", "<!-- end of measured -->"
DRAWS = 4
ALL = Options(include_classifier=True)

Feeds: TypeAlias = Mapping[str, npt.NDArray[Any]]

SMALL = {
    "Conv, 1-D": ("N,4,9", "y = Conv(x, W, b)", (6, 4, 3)),
    "Conv, 2-D": ("N,4,5,5", "y = Conv(x, W, b)", (6, 4, 3, 3)),
    "Conv, 3-D": ("N,4,3,4,5", "y = Conv(x, W, b)", (6, 4, 2, 2, 2)),
    "Conv, grouped": ("N,4,5,5", "y = Conv<group=2>(x, W, b)", (6, 2, 3, 3)),
    "ConvTranspose": ("N,4,5,5", "y = ConvTranspose(x, W, b)", (4, 6, 3, 3)),
    "ConvTranspose, grouped": ("N,4,5,5", "y = ConvTranspose<group=2>(x, W, b)", (4, 3, 3, 3)),
    "Gemm": ("N,4", "y = Gemm(x, W, b)", (4, 6)),
    "MatMul and Add": ("N,4", "m = MatMul(x, W) y = Add(m, b)", (4, 6)),
    "MatMul and Add on [N, T, C]": ("N,7,4", "m = MatMul(x, W) y = Add(m, b)", (4, 6)),
}
"""For each operator: the shape of x, the nodes, the shape of W. All have six channels."""


@dataclass(frozen=True)
class Made:
    """A model with BatchNormalizations by one tool, against the model without.

    Attributes:
        places: how many were put in.
        off: the largest difference of any output in any draw, of max|y|.
    """

    places: int
    identity: float
    measured: float


def models() -> Iterator[tuple[str, ModelProto]]:
    """Every model at hand, without the BatchNormalizations that a fold takes out."""
    for folder in FOLDERS:
        for path in sorted(folder.glob("*.onnx")):
            if path.name != TRAINED:
                yield path.name, bnfold.fold(path, freeze_initializers=True).model


def small_models() -> Iterator[tuple[str, ModelProto]]:
    """One linear operator each."""
    rng = np.random.default_rng(0)
    for name, (shape, nodes, weight) in SMALL.items():
        model = onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["" : 20]> g (float[{shape}] x) => (float[] y) {{ {nodes} }}'
        )
        for held, size in (("W", weight), ("b", (6,))):
            model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(size).astype(np.float32), held))
        yield name, model


def drawn(model: ModelProto) -> list[Feeds]:
    """Seeded inputs that the model takes."""
    session = open_session(model.SerializeToString())
    sizes = SizeSearch(session, seed=0).first()
    return [draw_inputs(session.inputs, seed=9, draw=draw, sizes=sizes) for draw in range(DRAWS)]


def own(model: ModelProto, batches: Sequence[Feeds], options: Options | None = None) -> tuple[Made, ModelProto]:
    """What bnfold makes of a model; the one with measured statistics besides."""
    identity, measured = insert(model, options=options), insert(model, batches, options)
    made = Made(len(identity.inserted), *(off(model, each.model, batches) for each in (identity, measured)))
    return made, measured.model


def others(model: ModelProto, batches: Sequence[Feeds], python: Path) -> tuple[Made, str]:
    """What onnxsim makes of it, and its version."""
    with tempfile.TemporaryDirectory(prefix="bnfold-insertion-") as folder:
        source, data, identity, measured = (Path(folder, name) for name in ("s.onnx", "d.npz", "i.onnx", "m.onnx"))
        onnx.save(model, source)
        arrays = {f"{k}/{name}": array for k, feeds in enumerate(batches) for name, array in feeds.items()}
        np.savez(data, allow_pickle=False, **arrays)
        worker = Path(__file__).with_name("insertion_peer.py")
        command = [str(python), str(worker), *map(str, (source, data, identity, measured))]
        told = subprocess.run(command, check=True, text=True, capture_output=True).stdout
        made = [onnx.load(path) for path in (identity, measured)]
        places = normalizations(made[0]) - normalizations(model)
        return Made(places, *(off(model, each, batches) for each in made)), told.split()[-1]


def normalizations(model: ModelProto) -> int:
    """How many the main graph has."""
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)


def off(model: ModelProto, made: ModelProto, batches: Sequence[Feeds]) -> float:
    """The largest difference on onnxruntime with graph optimisation off, of max|y|."""
    before, after = (open_session(each.SerializeToString()) for each in (model, made))
    worst = 0.0
    for feeds in batches:
        wanted, found = before.run(feeds), after.run(feeds)
        for name, values in wanted.items():
            if values.dtype.kind != "f":
                continue
            y, other = values.astype(np.float64), found[name].astype(np.float64)
            worst = max(worst, float(np.abs(y - other).max() / max(np.abs(y).max(), 1e-30)))
    return worst


def noise_of(model: ModelProto, made: ModelProto) -> str:
    """The model's own rounding noise of max|y|, and whether a check finds the two equal."""
    report = bnfold.check(model, made, allow_vacuous=True)
    noise = max((output.noise / max(output.max_y, 1e-30) for output in report.outputs), default=0.0)
    return f"{noise:.1e} | {'equal' if report else '**different**'}"


def section(python: Path) -> str:
    """Both tables."""
    rows, versions = [], set()
    for name, model in models():
        batches = drawn(model)
        ours, measured = own(model, batches)
        if not ours.places:
            continue
        theirs, told = others(model, batches, python)
        versions.add(told)
        rows.append(f"| `{name}` | {_cells(ours)} | {noise_of(model, measured)} | {_cells(theirs)} |")
    covered = []
    for name, model in small_models():
        batches = drawn(model)
        ours, _ = own(model, batches, ALL)
        covered.append(f"| {name} | {_cells(ours)} | {_cells(others(model, batches, python)[0])} |")
    return HEAD.format(
        models="\n".join(rows),
        operators="\n".join(covered),
        versions=f"onnxsim {', '.join(sorted(versions))}, onnxruntime {version('onnxruntime')}, onnx {version('onnx')}",
        place=f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {processor()}",
    )


def _cells(made: Made) -> str:
    return f"{made.places} | {made.identity:.1e} | {made.measured:.1e}" if made.places else "0 | - | -"


HEAD = """## Measured, beside onnxsim's bn_recovery

The largest difference of any output from the model without, over max|y|: 4 draws of inputs, onnxruntime's CPU provider,
graph optimisation off. *Noise* is what the model's own output moves by when onnxruntime rewrites it. *Check* is what
`bnfold.check` says of the model with measured statistics. All models were folded first. The outputs of the `light_`
models do not depend on their inputs ([coverage.md](coverage.md): vacuous), so that their zeros show little.

{versions}; {place}; printed by `python benchmarks/insertion_numbers.py --venvs build/peers`.

| model | bnfold: places | identity | measured | noise | check | onnxsim: places | identity | measured |
|---|---:|---:|---:|---:|---|---:|---:|---:|
{models}

One operator alone, with bias, `--include-classifier`:

| operator | bnfold: places | identity | measured | onnxsim: places | identity | measured |
|---|---:|---:|---:|---:|---:|---:|
{operators}

`bn_recovery` is made for another end: to give a graph whose BatchNormalizations were folded such nodes again, to train,
behind Conv and ConvTranspose. Its identity has variance 1, so that each node divides by sqrt(1 + epsilon), as its docs
say; along a network that adds up. What is shown as measured is its way with `target_model`, given the model itself:
scale = sqrt(variance), without epsilon, so that a channel with a small variance shrinks. Without `target_model` the
values become standard normal, as with `--reset` here. It puts one behind the last convolution too.
"""


def main() -> None:
    """Run, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--venvs", type=Path, default=ROOT / "build" / "peers", help="where the environments are")
    parser.add_argument("--write", action="store_true", help="put the section into docs/insertion.md")
    given = parser.parse_args()
    text = section(given.venvs / "onnxsim" / "bin" / "python")
    print(text)
    if given.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        behind = rest.partition(END)[2]
        PAGE.write_text(f"{before.rstrip()}\n\n{BEGIN}\n\n{text}\n{END}\n{behind.lstrip()}", encoding="utf-8")


if __name__ == "__main__":
    main()
