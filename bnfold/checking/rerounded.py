"""The original with its weights rounded otherwise: what one rounding of them does to its outputs.

A fold rounds every weight once more. Most graphs hardly notice, some do: a Softmax of large logits, or a small
variance, makes much of little, and onnxruntime's own rewriting need not show it. So where two models would count as
different, the original also runs with every weight moved to the number above it or below it, whichever chance says, and
what that does to an output is noise as well. A weight of float32 that is wrong by a thousandth is off by thousands of
such steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bnfold.checking.integer_sums import constants_of
from bnfold.checking.subject import Subject
from bnfold.checking.tolerance import LINEAR

if TYPE_CHECKING:
    from onnx import GraphProto, TensorProto

_AFFINE = frozenset({"Add", "BatchNormalization", "Div", "InstanceNormalization", "LayerNormalization", "Mul", "Sub"})
_SEED = 0


def rerounded(model: Subject) -> bytes | None:
    """The model with its weights one rounding off; None where it has none, or does not fit into one message."""
    if not model.fits_into_one_message:
        return None
    proto = model.loaded()
    weights = list(_weights(proto.graph))
    rng = np.random.default_rng(_SEED)
    for tensor in weights:
        _move(tensor, rng)
    return bytes(proto.SerializeToString()) if weights else None


def _weights(graph: GraphProto) -> Iterator[TensorProto]:
    """The constants in floats that linear operators, normalizations and arithmetic read, each once."""
    constants = constants_of(graph)
    readers = [node for node in graph.node if node.op_type in LINEAR | _AFFINE]
    for name in dict.fromkeys(name for node in readers for name in node.input):
        if name in constants and constants[name].data_type in _floats():
            yield constants[name]


def _floats() -> frozenset[int]:
    from onnx import TensorProto

    return frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})


def _move(tensor: TensorProto, rng: np.random.Generator) -> None:
    """Let each number that is neither zero nor without an end become one of its neighbours."""
    from onnx import numpy_helper

    values = np.array(numpy_helper.to_array(tensor))  # the array of a tensor can not be written to
    bits = values.view(f"u{values.dtype.itemsize}")
    up = rng.random(values.shape) < 0.5
    moved = np.where(up, bits + 1, bits - 1).astype(bits.dtype).view(values.dtype)  # of its bits, next to it
    stays = (values == 0) | ~np.isfinite(values.astype(np.float64)) | ~np.isfinite(moved.astype(np.float64))
    for field in ("float_data", "double_data", "int32_data"):
        tensor.ClearField(field)
    tensor.raw_data = numpy_helper.from_array(np.where(stays, values, moved)).raw_data
