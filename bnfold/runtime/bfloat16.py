"""bfloat16 at the border of a graph.

numpy has no such type, so onnxruntime's `run` refuses it in both directions. An OrtValue takes it in with an explicit
element type; on the way out its buffer is read as bytes and viewed as `ml_dtypes.bfloat16`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.errors import RuntimeUnavailable

NAME = "bfloat16"
_ONNX_BFLOAT16 = 16


def dtype() -> np.dtype[Any]:
    """The numpy dtype of bfloat16, from ml_dtypes (which onnx brings along).

    Raises:
        RuntimeUnavailable: ml_dtypes is not installed.
    """
    try:
        import ml_dtypes
    except ImportError as error:
        raise RuntimeUnavailable("bfloat16 tensors need ml_dtypes; install it with: pip install ml_dtypes") from error
    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found


def run(inference: Any, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ANN401
    """Run an onnxruntime.InferenceSession some of whose inputs or outputs are bfloat16; same contract as its `run`."""
    values = {name: _value(array) for name, array in feeds.items()}
    return [_array(value) for value in inference.run_with_ort_values(names, values)]


def _value(array: NDArray[Any]) -> Any:  # noqa: ANN401 - onnxruntime ships no types
    from onnxruntime import OrtValue

    if array.dtype.name == NAME:
        return OrtValue.ortvalue_from_numpy_with_onnx_type(np.asarray(array, order="C"), _ONNX_BFLOAT16)
    return OrtValue.ortvalue_from_numpy(array)


def _array(value: Any) -> NDArray[Any]:  # noqa: ANN401
    if value.data_type() != f"tensor({NAME})":
        plain: NDArray[Any] = value.numpy()
        return plain
    content = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(content, dtype()).reshape(value.shape())
