"""onnxruntime at its levels of graph optimisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
from onnx import ModelProto
from support import EPSILON, Array, Feeds

LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def run_at(model: ModelProto, feeds: Sequence[Feeds], level: str) -> list[list[Array]]:
    """The outputs for each set of inputs, on the CPU provider with one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, dict(given)) for given in feeds]


def furthest(expected: Sequence[Sequence[Array]], made: Sequence[Sequence[Array]], output: int) -> float:
    """max|y - y'| of an output over all sets of inputs, of max|y|; infinite where a shape or what is finite differs."""
    worst = 0.0
    for one, other in zip(expected, made, strict=True):
        a, b = (np.asarray(values[output]) for values in (one, other))
        if a.shape != b.shape:
            return float("inf")
        wide = [values.astype(np.float64) for values in (a, b)]
        if not np.array_equal(np.isfinite(wide[0]), np.isfinite(wide[1])):
            return float("inf")
        with np.errstate(invalid="ignore"):
            off = np.nan_to_num(np.abs(wide[0] - wide[1]), nan=0.0, posinf=0.0)
            peak = np.nan_to_num(np.abs(wide[0]), nan=0.0, posinf=0.0).max(initial=0.0)
        worst = max(worst, float(off.max(initial=0.0) / max(peak, 1e-30)))
    return worst


def is_rounded(values: Array) -> bool:
    return values.dtype in EPSILON
