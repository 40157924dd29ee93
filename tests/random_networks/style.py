"""What holds of a whole network: its size, its habits, and how it is written down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto
from random_graphs.options import Options

OPSETS = tuple(range(7, 27))
KINDS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
LIKELY = (0.64, 0.1, 0.2, 0.06)
BFLOAT16_SINCE = 22
"""The first opset whose convolutions and pools have bfloat16."""
TRAINING_SINCE = 14
"""The first opset with the attribute training_mode."""
OPEN = ("none", "batch", "space", "all")
NAMES = ("plain", "slashes", "colliding")
ORDERS = ("conv-norm-act", "conv-act-norm", "norm-act-conv", "norm-conv-act", "mixed")
ACTIVATIONS = ("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "Elu", "HardSwish", "SiLU", "GELU", "Softplus")
FEWEST, MOST = 5, 300


@dataclass(frozen=True)
class Style:
    """One network's.

    Attributes:
        size: about how many nodes it has.
        order: where a unit of convolution, normalization and activation has its normalization.
        activation: the one that it mostly has.
        biased: how many of its linear operators have a bias beside the normalization.
        odd: how many of its blocks are followed by any step of `random_graphs`.
        wrapped: how many of its blocks stand in a body or a function.
        training: whether its normalizations are in training mode.
        lists_initializers: whether all initializers are graph inputs too, as IR version 3 asks for.
    """

    size: int
    order: str
    activation: str
    biased: float
    odd: float
    wrapped: float
    training: bool
    lists_initializers: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator, options: Options) -> Style:
        return cls(
            size=round(FEWEST * (MOST / FEWEST) ** float(rng.beta(1.0, 1.9))),
            order=str(rng.choice(ORDERS, p=[0.45, 0.15, 0.15, 0.05, 0.2])),
            activation=str(rng.choice(ACTIVATIONS, p=[0.4, *[0.06] * 10])),
            biased=float(rng.choice([0.0, 0.3, 1.0])),
            odd=float(rng.choice([0.0, 0.3], p=[0.75, 0.25])) if options.opset >= 9 else 0.0,
            wrapped=float(rng.choice([0.0, 0.3], p=[0.6, 0.4])),
            training=bool(options.opset >= TRAINING_SINCE and rng.random() < 0.12),
            lists_initializers=bool(options.opset <= 8 and rng.random() < 0.5),
        )


def options_drawn(rng: np.random.Generator) -> Options:
    """As for random graphs, but with nodes in order, which onnx.checker asks for."""
    opset = min(int(rng.choice(OPSETS)), onnx.defs.onnx_opset_version())
    kind = int(rng.choice(KINDS, p=LIKELY))
    if kind == TensorProto.BFLOAT16:
        opset = max(opset, BFLOAT16_SINCE)
    return Options(
        opset,
        kind,
        str(rng.choice(OPEN, p=[0.35, 0.4, 0.15, 0.1])),
        unsorted=False,
        names=str(rng.choice(NAMES, p=[0.6, 0.3, 0.1])),
        declared=bool(rng.random() < 0.3),
    )
