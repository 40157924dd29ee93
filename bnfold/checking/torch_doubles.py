"""A graph in float64 by way of torch, for graphs that are too large for onnx.reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bnfold.checking.statistics import Array, is_float
from bnfold.checking.subject import Subject
from bnfold.errors import ModelError, RuntimeUnavailable

if TYPE_CHECKING:
    from torch import Tensor


class TorchDoubles:
    """A model as a torch module in double, in eval mode; as `bnfold.checking.doubles.Doubles`.

    Args:
        model: The model; it is not changed.

    Raises:
        RuntimeUnavailable: torch is not installed.
        ModelError: The model has an operator that the bridge does not know.
    """

    def __init__(self, model: Subject) -> None:
        from bnfold.torch import to_module

        self._module = to_module(model.loaded()).double().eval()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs, floats in float64.

        Args:
            feeds: One array per input.
        """
        import torch

        wide = {name: _tensor(array) for name, array in feeds.items()}
        with torch.inference_mode():
            outputs = self._module(wide)
        tensors = outputs if isinstance(outputs, tuple) else (outputs,)
        return {name: tensor.numpy() for name, tensor in zip(self._module.output_names, tensors, strict=True)}


def torch_doubles(model: Subject) -> TorchDoubles | None:
    """The model in torch, where torch is installed and knows its operators, and no node is in training mode."""
    if model.stateful or model.random:
        return None  # in eval mode the module computes something else
    try:
        return TorchDoubles(model)
    except (RuntimeUnavailable, ModelError):
        return None


def _tensor(array: Array) -> Tensor:
    import torch

    return torch.from_numpy(np.array(array.astype(np.float64) if is_float(array) else array))
