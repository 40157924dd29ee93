"""What a check costs: `bnfold check` against polygraphy, and against the bare sessions and runs that a check needs.

    python benchmarks/check.py --make-peers /tmp/peers      # makes an environment with polygraphy there, once
    python benchmarks/check.py --polygraphy /tmp/peers      # takes that environment

A network of the size of ResNet-50 (53 Conv, 53 BatchNormalization, a 224x224 image, random weights) against its fold.
Every way is a whole process, from its start to its exit, all in turns; medians. Memory is the most that was resident.

"bare" opens the three sessions that a check cannot do without (the original, the original as onnxruntime rewrites it,
the fold) and runs each as often as `bnfold check` does; `tests/test_check_costs.py` counts both. "polygraphy" runs both
models on the same random input in one process each, the second against the saved outputs of the first: one run per
model, and no measure of the rounding, so that it has to be told a tolerance (1e-3; its default, 1e-5, can be a false
alarm on a fold of that depth).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx
from machine import processor
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import bnfold

ROOT = Path(__file__).resolve().parent.parent
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
"""Blocks of a stage, and the channels inside them; four times as many leave it."""

Commands: TypeAlias = Sequence[Sequence[str | Path]]

BARE = """
import sys, numpy, onnxruntime as ort
def opened(path, level):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
off, on = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL
sessions = [opened(sys.argv[1], off), opened(sys.argv[1], on), opened(sys.argv[2], off)]
for draw in range(3):
    x = numpy.random.default_rng(draw).standard_normal((1, 3, 224, 224), dtype=numpy.float32)
    outputs = [session.run(None, {"image": x}) for session in sessions]
again = sessions[0].run(None, {"image": x})
"""
"""Three draws on three sessions, and one input again, which tells a random model from others."""

CHECK = "import sys, bnfold; sys.exit(not bnfold.check(sys.argv[1], sys.argv[2]))"


LOOSE = ["--atol", "1e-3", "--rtol", "1e-3"]


class Cost(NamedTuple):
    """Of one process, or of several that belong together: seconds, and bytes resident at most."""

    seconds: float
    memory: int


def resnet50(seed: int = 0) -> ModelProto:
    """The graph of ResNet-50, with weights by fan-in and statistics that are nothing special."""
    rng = np.random.default_rng(seed)
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []

    def constant(values: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(values.astype(np.float32), f"c{len(tensors)}"))
        return tensors[-1].name

    def node(operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def conv(x: str, channels: int, width: int, kernel: int, stride: int = 1, *, by: float = 1.0) -> str:
        weights = rng.standard_normal((width, channels, kernel, kernel)) * np.sqrt(2 / (channels * kernel**2))
        x = node("Conv", x, constant(weights), strides=[stride] * 2, pads=[kernel // 2] * 4, kernel_shape=[kernel] * 2)
        scale, variance = by * rng.uniform(0.5, 1.5, width), rng.uniform(0.5, 2, width)
        shift, mean = rng.standard_normal((2, width)) / 4
        return node("BatchNormalization", x, *map(constant, (scale, shift, mean, variance)))

    def block(x: str, channels: int, width: int, stride: int) -> str:
        inner = node("Relu", conv(x, channels, width, 1))
        inner = node("Relu", conv(inner, width, width, 3, stride))
        inner = conv(inner, width, 4 * width, 1, by=0.3)  # or 16 sums would let the activations grow
        skip = x if channels == 4 * width and stride == 1 else conv(x, channels, 4 * width, 1, stride)
        return node("Relu", node("Add", inner, skip))

    x = node("Relu", conv("image", 3, 64, 7, 2))
    x, channels = node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 64
    for stage, (blocks, width) in enumerate(STAGES):
        for number in range(blocks):
            x = block(x, channels, width, 2 if stage and not number else 1)
            channels = 4 * width
    x = node("Flatten", node("GlobalAveragePool", x))
    weights, bias = rng.standard_normal((channels, 1000)) / np.sqrt(channels), rng.standard_normal(1000)
    nodes.append(helper.make_node("Gemm", [x, constant(weights), constant(bias)], ["scores"], "scores"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 224, 224])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1000])
    graph = helper.make_graph(nodes, "resnet50", [image], [scores], tensors)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def write(before: Path, after: Path) -> None:
    """Write the network and its fold."""
    onnx.save(resnet50(), before)
    bnfold.fold(before).save(after)


def ways(before: Path, after: Path, folder: Path, polygraphy: Path | None) -> dict[str, Commands]:
    """The commands of every way to compare the two, by name."""
    python = sys.executable
    found: dict[str, Commands] = {
        "bnfold check": [[python, *_bnfold_check(), before, after]],
        "bare": [[python, "-c", BARE, before, after]],
    }
    if polygraphy is not None:
        saved = folder / "outputs.json"
        run: list[str | Path] = [polygraphy / "bin" / "polygraphy", "run"]
        first = [*run, before, "--onnxrt", "--save-outputs", saved]
        found["polygraphy"] = [first, [*run, after, "--onnxrt", "--load-outputs", saved, *LOOSE]]
    return found


def _bnfold_check() -> list[str]:
    """The command, or the function in its place where there is no such command yet."""
    command = ["-m", "bnfold", "check"]
    there = subprocess.run([sys.executable, *command, "--help"], capture_output=True, check=False).returncode == 0
    return command if there else ["-c", CHECK]


def cost(commands: Commands) -> Cost:
    """Run commands one after the other; the output of one that fails is shown.

    Raises:
        subprocess.CalledProcessError: One of them failed.
    """
    seconds, memory = 0.0, 0
    for command in commands:
        with tempfile.TemporaryFile() as output:
            begin = time.perf_counter()
            process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds += time.perf_counter() - begin
            memory = max(memory, used.ru_maxrss * 1024)
            if process.returncode:
                output.seek(0)
                print(output.read().decode(errors="replace")[-2000:], file=sys.stderr)
                raise subprocess.CalledProcessError(process.returncode, [str(part) for part in command])
    return Cost(seconds, memory)


def rows(measured: Mapping[str, Sequence[Cost]]) -> list[str]:
    """A line per way; ratios are medians of those within a round."""
    lines = [f"{'':14}{'seconds':>22}{'over bare':>12}{'over polygraphy':>18}{'resident MB':>14}"]
    for name, costs in measured.items():
        seconds = [found.seconds for found in costs]
        spread = f"{median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})"
        over = [f"{_ratio(costs, measured.get(other)):>{width}}" for other, width in (("bare", 12), ("polygraphy", 18))]
        lines.append(f"{name:14}{spread:>22}{''.join(over)}{max(found.memory for found in costs) / 1e6:>14.0f}")
    return lines


def _ratio(costs: Sequence[Cost], base: Sequence[Cost] | None) -> str:
    return f"{median(a.seconds / b.seconds for a, b in zip(costs, base, strict=True)):.2f}" if base else "-"


def head(polygraphy: Path | None) -> str:
    """What was measured where."""
    versions = ", ".join(f"{package} {version(package)}" for package in ("onnxruntime", "onnx", "numpy"))
    own = f"bnfold {bnfold.__version__}, {versions}, Python {platform.python_version()}"
    if polygraphy is None:
        return f"{time.strftime('%Y-%m-%d')}; {own}; {processor()}"
    program = "from importlib.metadata import version; print(version('polygraphy'), 'on', version('onnxruntime'))"
    ran = subprocess.run([polygraphy / "bin" / "python", "-c", program], capture_output=True, text=True, check=True)
    return f"{time.strftime('%Y-%m-%d')}; {own}; polygraphy {ran.stdout.strip()}; {processor()}"


def make_environment(folder: Path) -> None:
    """An environment with polygraphy, and the onnxruntime that is measured here."""
    if (folder / "bin" / "polygraphy").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    packages = ["polygraphy", "onnx", "numpy", f"onnxruntime=={version('onnxruntime')}"]
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *packages], check=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--polygraphy", type=Path, metavar="DIR", help="an environment that has it")
    where.add_argument("--make-peers", type=Path, metavar="DIR", help="make that environment")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", type=Path, nargs=2, metavar="FILE", help="only write the two models")
    options = parser.parse_args()
    if options.write is not None:
        write(*options.write)
        return
    if options.make_peers is not None:
        make_environment(options.make_peers)
    polygraphy = options.polygraphy or options.make_peers
    with tempfile.TemporaryDirectory() as name:
        before, after = Path(name, "before.onnx"), Path(name, "after.onnx")
        # In a process of its own: what this one has had resident would count for those that it starts.
        subprocess.run([sys.executable, __file__, "--write", before, after], check=True)
        commands = ways(before, after, Path(name), polygraphy)
        measured: dict[str, list[Cost]] = {way: [] for way in commands}
        for turn in range(options.rounds + 1):
            for way, parts in commands.items():
                found = cost(parts)
                if turn:  # the first round fills the caches
                    measured[way].append(found)
    print(head(polygraphy))
    print(f"{options.rounds} rounds of whole processes in turns; median (least-most)\n")
    print("\n".join(rows(measured)))


if __name__ == "__main__":
    main()
