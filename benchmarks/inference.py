"""How much faster onnxruntime runs a network without its affines: the original, bnfold, other tools, and the bound.

    python benchmarks/inference.py                              # the original, bnfold and the bound
    python benchmarks/inference.py --make-peers /tmp/peers      # other tools too, each from an environment of its own
    python benchmarks/inference.py --peers /tmp/peers MODEL...  # files <model>.<tool>.onnx that lie there already

By default the source's network as Keras 3 exports it (in the folder that BNFOLD_MODELS names), with `--keras DIR` its
variants that examples/keras_export.py wrote there, and models/*.onnx. onnxruntime's CPU provider, one thread, all that
it optimises by itself.

All forms of a network run in turns in one process, each once per round, in an order drawn for every round; sessions are
opened afresh several times, since where their memory happens to lie makes some faster than others. Time is the
processor time of the one thread that computes, so that other processes count little. A cell reads `1.19 (1.17-1.21)`:
the original's time over the form's, both of the same round, median and quartiles; above 1 is faster. "Again" is the
original a second time: how far it is from 1 is the error of the measurement. "Bound" is the original with every affine
cut out, biases that are nodes of their own among them: it computes something else, and no exact form can do with less.
"Affines" counts the BatchNormalizations and the Add, Sub, Mul, Div with a constant operand that are left, the bias of a
last MatMul among them. The other tools simplify shape arithmetic as well, which bnfold leaves alone: on networks of a
few microseconds that is most of their gain.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto

import bnfold

Array: TypeAlias = npt.NDArray[Any]
ROOT = Path(__file__).resolve().parent.parent
KERAS = Path(os.environ.get("BNFOLD_MODELS", ROOT.parent / "shared" / "models")) / "keras3_source_cnn.onnx"
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
OPENINGS = 12
"""How often the sessions are opened afresh."""
LEAST_ROUNDS = 2
"""Of every opening."""
LEAST_SAMPLE = 1e-3
"""Seconds that a sample takes at least: shorter runs are repeated within it."""
MOST_DIFFERENCE = 1e-3
"""Over the largest output: a form that is further off computes something else, and its time means nothing."""


class Peer(NamedTuple):
    """Another tool: what to install, and a program that reads argv[1] and writes argv[2]."""

    packages: tuple[str, ...]
    program: str


PEERS = {
    "onnxslim": Peer(("onnxslim", "onnxruntime"), "import onnxslim; onnxslim.slim(*argv)"),
    "onnxsim": Peer(
        ("onnxsim", "onnxruntime"),
        "import onnx, onnxsim; made, ok = onnxsim.simplify(onnx.load(argv[0])); assert ok; onnx.save(made, argv[1])",
    ),
    "onnxscript": Peer(
        ("onnxscript",),
        "import onnx; from onnxscript import optimizer, rewriter; "
        "onnx.save(rewriter.rewrite(optimizer.optimize(onnx.load(argv[0]))), argv[1])",
    ),
    "onnxruntime-basic": Peer(
        ("onnxruntime",),
        "import onnxruntime as ort; options = ort.SessionOptions(); options.optimized_model_filepath = argv[1]; "
        "options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC; "
        "ort.InferenceSession(argv[0], options, providers=['CPUExecutionProvider'])",
    ),
}


def main() -> None:
    """Measure and print, a table per model and batch."""
    options = _options()
    if options.make_peers is not None:
        make_peers(options.models, options.make_peers)
    print(head(options.peers), flush=True)
    for path in options.models:
        forms = forms_of(path, options.peers)
        for batch in options.batch:
            print("\n".join(table(path, forms, batch, options.seconds)), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--keras", type=Path, metavar="DIR", help="where examples/keras_export.py has written")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where files <model>.<tool>.onnx lie")
    parser.add_argument("--make-peers", type=Path, metavar="DIR", help="make them there, environments included")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=20.0, help="of processor time per model and batch")
    options = parser.parse_args()
    options.peers = options.make_peers or options.peers
    options.models = options.models or default_models(options.keras)
    return options


def default_models(keras: Path | None) -> list[Path]:
    """What is measured when nothing is named, as far as it is there."""
    exports = [] if keras is None else sorted(p for p in keras.glob("*.onnx") if not p.stem.endswith(".folded"))
    return [*([KERAS] if KERAS.exists() else []), *exports, *sorted((ROOT / "models").glob("*.onnx"))]


def head(peers: Path | None) -> str:
    """What was measured where."""
    versions = [f"{package} {version(package)}" for package in ("onnxruntime", "onnx", "numpy")]
    own = ", ".join([f"bnfold {bnfold.__version__}", *versions, f"Python {platform.python_version()}"])
    others = ", ".join(f"{tool} {found}" for tool, found in peer_versions(peers))
    return f"{time.strftime('%Y-%m-%d')}; {own}; {processor()}" + (f"\nother tools: {others}" if others else "")


def peer_versions(peers: Path | None) -> Iterator[tuple[str, str]]:
    """The version of every tool that has an environment."""
    for tool, peer in PEERS.items() if peers is not None else ():
        python = environment(peers, tool)
        program = f"from importlib.metadata import version; print(version('{peer.packages[0]}'))"
        if python.exists():
            ran = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
            yield tool, ran.stdout.strip()


def environment(peers: Path | None, tool: str) -> Path:
    """The Python of another tool's environment."""
    return Path(peers or "", "environments", tool, "bin", "python")


def processor() -> str:
    """Its name as Linux gives it, and how many processes want one of its cores."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if sys.platform == "linux" else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores{load}"


def forms_of(path: Path, peers: Path | None) -> dict[str, ModelProto]:
    """The original and what every tool makes of it, by name."""
    original = onnx.load(path)
    files = sorted(peers.glob(f"{path.stem}.*.onnx")) if peers is not None else []
    others = {made.name.split(".")[-2]: onnx.load(made) for made in files}
    return {
        "original": original,
        "again": original,
        "bnfold": bnfold.fold(path).model,
        **others,
        "bound": bound(original),
    }


def make_peers(models: Sequence[Path], folder: Path) -> None:
    """What the other tools make of the models; what one fails at is said and left out."""
    for tool, peer in PEERS.items():
        python = environment(folder, tool)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *peer.packages], check=True)
        for path in models:
            program = f"from sys import argv; argv = argv[1:]; {peer.program}"
            arguments: list[str | Path] = [python, "-c", program, path, folder / f"{path.stem}.{tool}.onnx"]
            ran = subprocess.run(arguments, capture_output=True, text=True, check=False)
            if ran.returncode:
                print(f"{tool} fails at {path.name}: {ran.stderr.strip()[-200:]}", file=sys.stderr)


def bound(model: ModelProto) -> ModelProto:
    """The model with every affine cut out: what reads one reads what stands in front of it."""
    cut = ModelProto()
    cut.CopyFrom(model)
    gone = {node.output[0]: value for node, value in affines(cut)}
    kept = [node for node in cut.graph.node if not any(output in gone for output in node.output)]
    for node in kept:
        node.input[:] = [_in_front(name, gone) for name in node.input]
    del cut.graph.node[:]
    cut.graph.node.extend(kept)
    return cut


def _in_front(name: str, gone: Mapping[str, str]) -> str:
    while name in gone:
        name = gone[name]
    return name


def affines(model: ModelProto) -> Iterator[tuple[onnx.NodeProto, str]]:
    """BatchNormalizations and arithmetic with a constant, each with the value that it maps."""
    constants = {tensor.name for tensor in model.graph.initializer if tensor.data_type in FLOATS}
    constants |= {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Constant" and any(a.t.data_type in FLOATS for a in node.attribute)
    }
    outputs = {entry.name for entry in model.graph.output}
    for node in model.graph.node:
        mapped = [name for name in node.input[:2] if name not in constants]
        arithmetic = node.op_type in ("Add", "Sub", "Mul", "Div") and len(mapped) == 1
        if (arithmetic or node.op_type == "BatchNormalization") and node.output[0] not in outputs:
            yield node, mapped[0]


def session(model: ModelProto) -> Any:  # noqa: ANN401 (onnxruntime is untyped)
    """One thread, everything on that onnxruntime does by itself."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feeds_for(opened: Any, batch: int) -> dict[str, Array] | None:  # noqa: ANN401
    """Numbers between 0 and 1 for every input; None where the batch of the model is another one."""
    feeds = {}
    for number, entry in enumerate(opened.get_inputs()):
        shape = [batch, *entry.shape[1:]]
        if entry.shape[0] not in (batch, None) and isinstance(entry.shape[0], int):
            return None
        feeds[entry.name] = np.random.default_rng(number).random(shape, dtype=np.float32)
    return feeds


def table(path: Path, forms: Mapping[str, ModelProto], batch: int, seconds: float) -> Iterator[str]:
    """Lines: a row per form."""
    sessions = {name: session(model) for name, model in forms.items()}
    feeds = feeds_for(sessions["original"], batch)
    yield ""
    if feeds is None:
        yield f"{path.name} has another batch than {batch}"
        return
    outputs = {name: opened.run(None, feeds) for name, opened in sessions.items()}
    times = interleaved(list(forms.values()), feeds, seconds)
    yield f"{path.name}, batch {batch}: {np.median(times[:, 0]) * 1e3:.3f} ms, {len(times)} rounds"
    yield f"{'':20}{'original / form':>20}{'nodes':>8}{'affines':>9}   outputs"
    for column, (name, model) in enumerate(forms.items()):
        low, median, high = np.quantile(times[:, 0] / times[:, column], [0.25, 0.5, 0.75])
        ratio = f"{median:.3f} ({low:.2f}-{high:.2f})" if column else ""
        counts = f"{len(operators(model)):8}{sum(1 for _ in affines(model)):9}"
        yield f"{name:20}{ratio:>20}{counts}   {verdict(name, outputs['original'], outputs[name])}"


def operators(model: ModelProto) -> list[str]:
    """Nodes that compute something."""
    return [node.op_type for node in model.graph.node if node.op_type != "Constant"]


def verdict(name: str, expected: Sequence[Array], outputs: Sequence[Array]) -> str:
    """How far a form's outputs are from the original's, over the largest of them."""
    if name == "bound":
        return "others, on purpose"
    pairs = zip(expected, outputs, strict=True)
    off = max(float(np.abs(one - other).max() / np.abs(one).max()) for one, other in pairs)
    return f"off by {off:.0e}" if off <= MOST_DIFFERENCE else f"WRONG: off by {off:.0e}"


def interleaved(models: Sequence[ModelProto], feeds: Mapping[str, Array], seconds: float) -> Array:
    """Seconds per run, ``[rounds, models]``."""
    order = np.random.default_rng(0)
    rounds: list[Array] = []
    for _ in range(OPENINGS):
        sessions: list[Any] = [None] * len(models)
        for index in order.permutation(len(models)):
            sessions[index] = session(models[index])
        rounds += _rounds(sessions, feeds, seconds / OPENINGS, order)
    return np.stack(rounds)


def _rounds(
    sessions: Sequence[Any], feeds: Mapping[str, Array], seconds: float, order: np.random.Generator
) -> Iterator[Array]:
    """Seconds per run of each session, round by round."""
    first = [_sample(each, feeds, 1) for _ in range(3) for each in sessions]
    repeats = max(1, round(LEAST_SAMPLE / min(first)))
    begin, count = time.thread_time(), 0
    while count < LEAST_ROUNDS or time.thread_time() - begin < seconds:
        taken = np.zeros(len(sessions))
        for index in order.permutation(len(sessions)):
            taken[index] = _sample(sessions[index], feeds, repeats)
        yield taken
        count += 1


def _sample(opened: Any, feeds: Mapping[str, Array], repeats: int) -> float:  # noqa: ANN401
    begin = time.thread_time()
    for _ in range(repeats):
        opened.run(None, feeds)
    return (time.thread_time() - begin) / repeats


if __name__ == "__main__":
    main()
