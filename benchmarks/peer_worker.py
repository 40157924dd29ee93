"""One tool over models, a JSON line each: run by the interpreter of the tool's own environment, so it imports no more.

    PYTHON peer_worker.py TOOL        # stdin: {"source": ..., "target": ..., "freeze": ...}; stdout: {"ok": true}

An exception of the tool ends the process: whoever started it reads the last line of stderr, and starts another.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any


def bnfold(source: str, target: str, freeze: bool) -> None:
    """Default options."""
    import bnfold

    bnfold.fold(source, freeze_initializers=freeze).save(target)


def onnxruntime(source: str, target: str, freeze: bool) -> None:
    """Its own optimiser, saved at BASIC: further levels are for one machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = target
    options.log_severity_level = 4
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def onnxslim(source: str, target: str, freeze: bool) -> None:
    """Default options."""
    import onnx
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(source)), target)


def onnxsim(source: str, target: str, freeze: bool) -> None:
    """Default options."""
    import onnx
    import onnxsim

    simplified, agrees = onnxsim.simplify(onnx.load(source))
    if not agrees:
        raise ValueError("onnxsim's own check failed")
    onnx.save(simplified, target)


def onnxscript(source: str, target: str, freeze: bool) -> None:
    """The optimizer, then the rewriter with its default rules."""
    import onnx
    import onnxscript.optimizer
    import onnxscript.rewriter

    onnx.save(onnxscript.rewriter.rewrite(onnxscript.optimizer.optimize(onnx.load(source))), target)


def onnxoptimizer(source: str, target: str, freeze: bool) -> None:
    """The passes that it has by default."""
    import onnx
    import onnxoptimizer

    onnx.save(onnxoptimizer.optimize(onnx.load(source)), target)


TOOLS: dict[str, Callable[[str, str, bool], None]] = {
    tool.__name__: tool for tool in (bnfold, onnxruntime, onnxslim, onnxsim, onnxscript, onnxoptimizer)
}


def main() -> None:
    """Answer every line, and first say the version. What the tool prints goes to stderr."""
    name = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    _answer(answers, {"version": version(name)})
    for line in sys.stdin:
        job = json.loads(line)
        TOOLS[name](job["source"], job["target"], job["freeze"])
        _answer(answers, {"ok": True})


def _answer(answers: Any, told: dict[str, Any]) -> None:  # noqa: ANN401 - a text file of any kind
    answers.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
