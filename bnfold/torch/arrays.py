"""numpy arrays to torch tensors and back, bfloat16 among them, which numpy itself does not have."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bnfold.model.tensors import Array


def to_tensor(values: Array) -> Tensor:
    """A tensor of its own memory, of the array's type and shape."""
    if values.dtype.name == "bfloat16":
        bits = torch.from_numpy(np.array(values, order="C").view(np.int16))
        return bits.view(torch.bfloat16)
    return torch.from_numpy(np.array(values, order="C"))


def to_float64(tensor: Tensor) -> Array:
    """The tensor's values in float64, from whatever device and floating type."""
    values: Array = tensor.detach().to("cpu", torch.float64).numpy()
    return values
