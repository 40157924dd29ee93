"""One constant: its shape and type, and its values where they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import SparseTensorProto, TensorProto

from bnfold.model.quantized import Quantization
from bnfold.model.sparse import dense_shape, to_dense
from bnfold.model.stored import Stored
from bnfold.model.tensors import FLOATS, Array, believable_shape, to_array
from bnfold.values import frozen


def _nowhere() -> Stored | None:
    return None


@frozen
class Constant:
    """The value of a constant expression; a stored tensor is read when its values are asked for.

    Attributes:
        shape: its shape.
        elem_type: the ONNX element type it has in the graph.
        load: gives the values; float64 where something was computed, else the stored type.
        quantization: the DequantizeLinear that it comes from, or None.
        locate: says where the values can be read block by block; None where they are in memory, or are computed.
        is_held: its values are in memory for as long as it is.
        steps: how many operators its values go through each time they are asked for.
    """

    shape: tuple[int, ...]
    elem_type: int
    load: Callable[[], Array]
    quantization: Quantization | None = None
    locate: Callable[[], Stored | None] = _nowhere
    is_held: bool = False
    steps: int = 0

    @classmethod
    def of(cls, values: Array, elem_type: int) -> Constant:
        """A constant whose values are at hand."""
        return cls(values.shape, elem_type, lambda: values, is_held=True)

    @classmethod
    def stored(cls, tensor: TensorProto, base_dir: Path | None) -> Constant:
        """A constant whose values stay where they are until asked for.

        Raises:
            ModelError: it declares a shape that no values of it could have.
        """
        return cls(
            believable_shape(tensor),
            tensor.data_type,
            lambda: to_array(tensor, base_dir),
            locate=lambda: Stored.of(tensor, base_dir),
        )

    @classmethod
    def sparse(cls, tensor: SparseTensorProto, base_dir: Path | None) -> Constant | None:
        """A constant whose zeros are not stored; None where it is too large to write them out."""
        shape = dense_shape(tensor)
        return None if shape is None else cls(shape, tensor.values.data_type, lambda: to_dense(tensor, base_dir))

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether bnfold computes with this type."""
        return self.elem_type in FLOATS

    @property
    def values(self) -> Array:
        """The values in the type they are held in."""
        return self.load()

    @property
    def wide(self) -> Array:
        """The values in float64."""
        return self.load().astype(np.float64)
