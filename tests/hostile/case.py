"""One hostile model: how it is written, and what bnfold makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper
from support import graph_model, normal, statistics

MODEL = "model.onnx"

FOLDS, STAYS = "folds", "stays"
"""What becomes of a model that is not refused: something of it folds, or it stays byte for byte as it came."""

Maker = TypeVar("Maker", bound=Callable[[], ModelProto | bytes])
Writer: TypeAlias = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """A hostile model.

    Attributes:
        name: what it is, in words that make a test's name.
        write: puts the model, and what lies beside it, into a folder.
        outcome: `FOLDS`, `STAYS`, or what the sentence says with which it is refused (a regular expression).
        is_run: it may be run: what it computes takes seconds and not hours.
    """

    name: str
    write: Writer
    outcome: str
    is_run: bool = True

    @property
    def is_refused(self) -> bool:
        """Whether bnfold refuses it."""
        return self.outcome not in {FOLDS, STAYS}


CASES: list[Case] = []


def hostile(outcome: str, *, is_run: bool = True) -> Callable[[Maker], Maker]:
    """Register a function that makes a model; its name is the case's."""

    def register(make: Maker) -> Maker:
        def write(folder: Path) -> None:
            made = make()
            (folder / MODEL).write_bytes(made if isinstance(made, bytes) else made.SerializeToString())

        CASES.append(Case(make.__name__, write, outcome, is_run))
        return make

    return register


def hostile_folder(outcome: str) -> Callable[[Writer], Writer]:
    """Register a function that writes a model and files beside it."""

    def register(write: Writer) -> Writer:
        CASES.append(Case(write.__name__, write, outcome))
        return write

    return register


def conv_bn(*, channels: int = 4, name: str = "bn", more: str = "", opset: int = 20) -> ModelProto:
    """A Conv and a BatchNormalization behind it, which folds: what the hostile ones are made from."""
    nodes = f"c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) {more}"
    model = graph_model(
        f"(float[N,3,5,5] x) => (float[N,{channels},3,3] y) {{ {nodes} }}", opset=opset, W=normal(channels, 3, 3, 3)
    )
    for key, values in zip("sbmv", statistics(channels), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values, key))
    model.graph.node[0].name, model.graph.node[1].name = "conv", name
    return model


def tensor_of(model: ModelProto, name: str) -> TensorProto:
    """The initializer of that name."""
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def replaced(model: ModelProto, name: str, tensor: TensorProto) -> ModelProto:
    """The model with another tensor in the place of an initializer."""
    old = tensor_of(model, name)
    old.CopyFrom(tensor)
    old.name = name
    return model


def with_values(name: str, values: object) -> ModelProto:
    """`conv_bn` with other values of one initializer."""
    return replaced(conv_bn(), name, numpy_helper.from_array(np.asarray(values, np.float32)))
