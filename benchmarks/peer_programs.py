"""Other tools that fold BatchNormalizations: what to install for each, and the program that folds with it.

Every tool lives in an environment of its own, named as the first of its packages: onnxsim and onnxslim ask for versions
of onnx that others do not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Peer(NamedTuple):
    """Another tool: what to install, and a program that reads argv[0] and writes argv[1]."""

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
    "onnxoptimizer": Peer(
        ("onnxoptimizer", "onnx"),
        "import onnx, onnxoptimizer; "
        "onnx.save(onnxoptimizer.optimize(onnx.load(argv[0]), ['fuse_bn_into_conv']), argv[1])",
    ),
    "onnxruntime-basic": Peer(
        ("onnxruntime",),
        "import onnxruntime as ort; options = ort.SessionOptions(); options.optimized_model_filepath = argv[1]; "
        "options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC; "
        "ort.InferenceSession(argv[0], options, providers=['CPUExecutionProvider'])",
    ),
}
"""By name. What each does on its own account beyond BatchNormalizations belongs to it, except for onnxoptimizer, whose
other passes nobody needs for a fold."""


def interpreter(tool: str, venvs: Path) -> Path:
    """The Python of a tool's environment, there or not."""
    return venvs / PEERS[tool].packages[0] / "bin" / "python"


def command(tool: str, venvs: Path, source: Path, target: Path) -> list[str | Path]:
    """The whole process that folds one file with a tool: start, imports, load, optimise, save."""
    program = f"from sys import argv; argv = argv[1:]; {PEERS[tool].program}"
    return [interpreter(tool, venvs), "-c", program, source, target]


def make_environments(tools: Iterable[str], venvs: Path) -> None:
    """Make what is missing, with the newest versions that pip finds.

    Raises:
        subprocess.CalledProcessError: pip or venv failed.
    """
    for tool in tools:
        python = interpreter(tool, venvs)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[tool].packages], check=True)


def version_of(tool: str, venvs: Path) -> str:
    """What is installed of a tool.

    Raises:
        subprocess.CalledProcessError: The environment does not have it.
    """
    program = f"from importlib.metadata import version; print(version('{PEERS[tool].packages[0]}'))"
    ran = subprocess.run([interpreter(tool, venvs), "-c", program], capture_output=True, text=True, check=True)
    return ran.stdout.strip()
