"""Whether BatchNormalizations have the statistics of what they see: computed in float64, beside bnfold's own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from random_graphs.check import all_run_wide
from random_graphs.truth import in_double
from support import Array, Feeds

from bnfold.inserting.calibrate import CalibrateResult

ROUNDINGS = 2000
"""How many epsilon statistics may be off: they are measured where values are rounded."""


def have_the_statistics_that_they_see(
    result: CalibrateResult, shown: ModelProto, feeds: Sequence[Feeds], epsilon: float
) -> None:
    """Mean and biased variance of every normalization that was calibrated.

    Args:
        result: of the calibration.
        shown: the model in which the values in front of them are looked at.
        feeds: what it was calibrated with.
        epsilon: of the type of the network.

    Raises:
        AssertionError: one has other ones.
    """
    nodes = list(_calibrated(result))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer}
    values = _values(shown, sorted({node.input[0] for node in nodes}), feeds)
    for node in nodes:
        mean, variance = (held[name].astype(np.float64) for name in node.input[3:5])
        seen = values[node.input[0]]
        axes = (0, *range(2, seen.ndim))
        scale = max(float(np.abs(seen).max()), 1e-30)
        off = np.abs(mean - seen.mean(axes)).max() / scale, np.abs(variance - seen.var(axes)).max() / scale**2
        assert max(off) <= ROUNDINGS * epsilon, f"the statistics of {node.output[0]} are off by {max(off):.1e}"


def _calibrated(result: CalibrateResult) -> Iterator[NodeProto]:
    chosen = {entry.node for entry in result.calibrated}
    for node in result.model.graph.node:
        label = node.name or f"{node.op_type} -> {node.output[0]}"
        if node.op_type == "BatchNormalization" and label in chosen:
            yield node


def _values(model: ModelProto, names: list[str], feeds: Sequence[Feeds]) -> dict[str, Array]:
    """Inner values in float64, all sets of inputs one after the other."""
    if not names:
        return {}
    wide = in_double(model)
    del wide.graph.output[:]
    wide.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in names)
    runs = all_run_wide(wide, feeds)
    return {name: np.concatenate([run[k] for run in runs]) for k, name in enumerate(names)}
