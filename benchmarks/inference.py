"""How much faster onnxruntime runs a network without its affines: the original, bnfold, other tools, and the bound.

    python benchmarks/inference.py                              # ten minutes; benchmarks/results/inference.json
    python benchmarks/inference.py --make-peers build/peers     # other tools too, each from an environment of its own
    python benchmarks/inference.py --only resnet --batch 1 32   # what has that in its name
    python benchmarks/inference.py --provider cuda              # status 2 where there is no device

Measured are models/*.onnx, those of the folder that BNFOLD_MODELS names, those whose files leave the weights out once
more with weights (inference_weights.py), and what architectures.py builds. What the results hold already, from the
same version of bnfold, is not measured again without --again.

All forms of a network run in turns in one process (inference_timing.py). A cell reads `0.84 (0.82-0.86)`: the form's
time over the original's, both of the same round, median and quartiles; below 1 is faster. "Again" is the original once
more: how far it is from 1 is the error of the measurement. "Bnfold-frozen" is bnfold's result with
--freeze-initializers, where a model's weights are inputs too. "Bound" is the original with every affine cut out: it
computes something else, and no exact form can do with less. "Affines" counts the BatchNormalizations and the Add, Sub,
Mul, Div with a constant vector that are left. The other tools simplify shape arithmetic as well, which bnfold leaves
alone: on networks of a few microseconds that is most of their gain.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from inference_feeds import Array, difference, feeds_for
from inference_forms import AGAIN, BOUND, ORIGINAL, affines, forms_of, operators
from inference_peers import make_peers, peer_versions
from inference_results import Row, is_measured, quartiles, read, versions, write
from inference_timing import interleaved
from inference_weights import filled
from onnx import ModelProto

import bnfold
from bnfold.runtime import CPU, CUDA, open_session, provider_name

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("BNFOLD_MODELS", ROOT.parent / "shared" / "models"))
RESULTS = ROOT / "benchmarks" / "results" / "inference.json"
MOST_DIFFERENCE = 1e-3
"""Over the largest output: a form that is further off computes something else, and its time means nothing."""

MOST_WORDS = 200
"""Letters of a reason: onnxruntime names every input that is missing."""


def main() -> int:
    """Measure, print and write; the exit status."""
    options = _options()
    try:
        open_session(os.fspath(ROOT / "models" / "residual.onnx"), provider=options.provider)
    except bnfold.RuntimeUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    if options.make_peers is not None:
        make_peers(options.models, options.make_peers)
    found = versions(dict(peer_versions(options.peers)) if options.peers is not None else {})
    rows = read(options.write)
    for path in options.models:
        for batch in options.batch:
            rows = _with(rows, path, batch, options)
            write(options.write, rows, found)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--only", metavar="TEXT", help="models that have this in their name")
    parser.add_argument("--architectures", type=Path, metavar="DIR", default=ROOT / "build" / "architectures")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where files <model>.<tool>.onnx lie")
    parser.add_argument("--make-peers", type=Path, metavar="DIR", help="make them there, environments included")
    parser.add_argument("--provider", type=provider_name, choices=(CPU, CUDA), default=CPU)
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="others than 1 where a model leaves it open")
    parser.add_argument("--seconds", type=float, default=6.0, help="of processor time per model and batch")
    parser.add_argument("--again", action="store_true", help="measure what is measured already, too")
    parser.add_argument("--write", type=Path, metavar="FILE", default=RESULTS)
    options = parser.parse_args()
    options.peers = options.make_peers or options.peers
    paths = options.models or default_models(options.architectures)
    options.models = [path for path in paths if (options.only or "") in path.stem]
    return options


def default_models(architectures: Path) -> list[Path]:
    """What is measured when nothing is named, as far as it is there; the architectures are built where they are not."""
    paths = [path for folder in (ROOT / "models", SHARED) for path in sorted(folder.glob("*.onnx"))]
    return [*paths, *filled(paths, architectures), *_architectures(architectures)]


def _architectures(folder: Path) -> list[Path]:
    try:
        from architectures import NAMES, build
    except ImportError as error:
        print(f"the architectures are left out, since torch can not be imported: {error}", file=sys.stderr)
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.onnx" for name in NAMES]
    for path in paths:
        if not path.exists():
            build(path.stem, path)
    return paths


def _with(rows: list[Row], path: Path, batch: int, options: argparse.Namespace) -> list[Row]:
    """The rows, and those of one more model in place of older ones."""
    provider = options.provider.removesuffix("ExecutionProvider").lower()
    if not options.again and is_measured(rows, path.stem, batch, provider):
        return rows
    try:
        made = measure(path, batch, options.peers, options.provider, options.seconds)
    except bnfold.BnfoldError as error:
        print(f"{path.stem} is left out: {error}", file=sys.stderr)
        return rows
    print("\n".join(table(made)), flush=True)
    new = {(row.model, row.batch, row.provider) for row in made}
    return [row for row in rows if (row.model, row.batch, row.provider) not in new] + made


def measure(path: Path, batch: int, peers: Path | None, provider: str, seconds: float) -> list[Row]:
    """A row per form of a model; none where its batch is another one.

    Raises:
        BnfoldError: The model can not be run or folded.
    """
    forms = forms_of(path, peers)
    drawn = feeds_for(forms[ORIGINAL], batch)
    if drawn is None:
        return []
    feeds, batch = drawn
    offs = dict(_usable(path, forms, feeds, provider))
    forms = {name: forms[name] for name in offs}
    times = interleaved([model.SerializeToString() for model in forms.values()], feeds, seconds, provider)
    return [
        Row(
            path.stem,
            batch,
            provider.removesuffix("ExecutionProvider").lower(),
            name,
            quartiles(times.run[:, column], times.run[:, 0]),
            quartiles(times.open[:, column], times.open[:, 0]),
            len(operators(model)),
            sum(1 for _ in affines(model)),
            offs[name],
        )
        for column, (name, model) in enumerate(forms.items())
    ]


def _usable(
    path: Path, forms: Mapping[str, ModelProto], feeds: Mapping[str, Array], provider: str
) -> Iterator[tuple[str, float | None]]:
    """The forms that run, with how far each is off; which do not and why is said."""
    expected: list[Array] = []
    for name, model in forms.items():
        try:
            opened = open_session(model.SerializeToString(), optimized=True, provider=provider, label=name)
            outputs = list(opened.run(feeds).values())
            expected = expected or outputs
            off = difference(expected, outputs)
        except bnfold.ModelError as error:
            if name in (ORIGINAL, AGAIN):
                raise
            print(f"{path.stem}, {name} is left out: {str(error)[:MOST_WORDS]}", file=sys.stderr)
            continue
        yield name, None if name == BOUND else off


def table(rows: list[Row]) -> Iterator[str]:
    """Lines: a row per form."""
    if not rows:
        return
    yield f"\n{rows[0].model}, batch {rows[0].batch}, {rows[0].provider}"
    yield f"{'form / original':20}{'run':>22}{'open':>22}{'nodes':>8}{'affines':>9}   outputs"
    for row in rows:
        cells = [f"{median:.3f} ({low:.2f}-{high:.2f})" for low, median, high in (row.run_ratio, row.open_ratio)]
        yield f"{row.form:20}{cells[0]:>22}{cells[1]:>22}{row.nodes:8}{row.affines:9}   {verdict(row.off)}"


def verdict(off: float | None) -> str:
    """Whether a form computes what the original does."""
    if off is None:
        return "others, on purpose"
    return f"off by {off:.0e}" if np.abs(off) <= MOST_DIFFERENCE else f"WRONG: off by {off:.0e}"


if __name__ == "__main__":
    sys.exit(main())
