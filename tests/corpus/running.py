"""What runs a graph that onnxruntime does not run, or not in every type."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from support import Array, Feeds

from bnfold.checking import reference_operators


class BatchNormalization(reference_operators.BatchNormalization):
    """By the formula of the specification, with opset 7's statistics per element too, in the type of x."""

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, bias: Array, mean: Array, var: Array, **attributes: Any
    ) -> tuple[Array, ...]:
        parameters = [np.asarray(values, np.float64) for values in (scale, bias, mean, var)]
        wide = np.asarray(x, np.float64)
        if attributes.get("spatial") != 0:
            return (
                reference_operators.BatchNormalization._run(self, wide, *parameters, **attributes)[0].astype(x.dtype),
            )
        scale, bias, mean, var = parameters
        return ((scale * (wide - mean) / np.sqrt(var + np.float32(1e-5)) + bias).astype(x.dtype),)


def run_by_formula(model: ModelProto, feeds: Feeds) -> list[Array]:
    """onnx.reference with that BatchNormalization: its own is wrong or missing for some opsets."""
    with np.errstate(all="ignore"):
        evaluator = ReferenceEvaluator(model, new_ops=[BatchNormalization])
        return [np.asarray(value) for value in evaluator.run(None, dict(feeds))]
