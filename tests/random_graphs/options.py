"""What holds of a whole random graph: its opset, its floating point type, how it is written down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

OPSETS = (7, 9, 11, 13, 17, 20, 22)
KINDS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
LIKELY = (0.55, 0.15, 0.2, 0.1)
BFLOAT16_SINCE = 13
NAMES = ("plain", "slashes", "colliding")


@dataclass(frozen=True)
class Options:
    """One graph's.

    Attributes:
        opset: of the standard domain.
        kind: the element type of its activations.
        open_batch: whether the first size of the input has a name for a number.
        unsorted: whether nodes stand in any order.
        names: how values are called: plainly, with slashes and colons, or as bnfold would call its own.
    """

    opset: int
    kind: int
    open_batch: bool
    unsorted: bool
    names: str

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Options:
        opset = int(rng.choice(OPSETS))
        kind = int(rng.choice(KINDS, p=LIKELY))
        if kind == TensorProto.BFLOAT16 and opset < BFLOAT16_SINCE:
            kind = TensorProto.FLOAT
        return cls(
            opset, kind, bool(rng.random() < 0.3), bool(rng.random() < 0.1), str(rng.choice(NAMES, p=[0.6, 0.2, 0.2]))
        )
