"""What holds of a whole random graph: its opset, its floating point type, how it is written down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23)
KINDS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
LIKELY = (0.55, 0.15, 0.2, 0.1)
BFLOAT16_SINCE = 13
OPEN = ("none", "batch", "space", "all")
NAMES = ("plain", "slashes", "colliding")


@dataclass(frozen=True)
class Options:
    """One graph's.

    Attributes:
        opset: of the standard domain.
        kind: the element type of its activations.
        open_axes: which sizes of the input have names for numbers: none, the first, all but the channels, or all.
        unsorted: whether nodes stand in any order.
        names: how values are called: plainly, with slashes and colons, or as bnfold would call its own.
        declared: whether every value has its shape declared, as far as onnx infers it.
    """

    opset: int
    kind: int
    open_axes: str
    unsorted: bool
    names: str
    declared: bool

    @property
    def open_batch(self) -> bool:
        return self.open_axes != "none"

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Options:
        opset = int(rng.choice(OPSETS))
        kind = int(rng.choice(KINDS, p=LIKELY))
        if kind == TensorProto.BFLOAT16 and opset < BFLOAT16_SINCE:
            kind = TensorProto.FLOAT
        return cls(
            opset,
            kind,
            str(rng.choice(OPEN, p=[0.65, 0.23, 0.07, 0.05])),
            bool(rng.random() < 0.1),
            str(rng.choice(NAMES, p=[0.6, 0.2, 0.2])),
            bool(rng.random() < 0.25),
        )
