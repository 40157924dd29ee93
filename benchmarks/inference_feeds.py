"""What a model is run on, and whether a form of it computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from bnfold.errors import ModelError
from bnfold.runtime import Session, SizeSearch, draw_inputs, hints_of, open_axes, open_session

Array: TypeAlias = npt.NDArray[Any]


def feeds_for(model: ModelProto, batch: int) -> tuple[dict[str, Array], int] | None:
    """Inputs on which the model runs, drawn as `bnfold check` draws them, and their batch.

    A model whose batch is fixed is run with that one, and only when 1 is asked for: `None` otherwise.

    Raises:
        ModelError: onnxruntime can not load the model, or no inputs are found on which it runs.
    """
    opened = open_session(model.SerializeToString())
    leading = [key for key, axis in open_axes(opened.inputs).items() if axis == 0]
    if not leading and batch != 1:
        return None
    hints = hints_of(model)
    sizes = SizeSearch(opened, seed=0, hints=hints, given=dict.fromkeys(leading, batch)).first()
    feeds = draw_inputs(opened.inputs, seed=0, draw=0, sizes=sizes, hints=hints, scale=1.0)
    return feeds, batch if leading else _fixed_batch(opened)


def _fixed_batch(opened: Session) -> int:
    first = opened.inputs[0].shape[0] if opened.inputs and opened.inputs[0].shape else 1
    return first if isinstance(first, int) else 1


def difference(expected: Sequence[Array], outputs: Sequence[Array]) -> float:
    """How far outputs are off, over the largest of each; the worst of them.

    Raises:
        ModelError: There are others, or they have other shapes.
    """
    if [values.shape for values in expected] != [values.shape for values in outputs]:
        raise ModelError("its outputs have other shapes")
    return max((_difference(one, other) for one, other in zip(expected, outputs, strict=True)), default=0.0)


def _difference(expected: Array, output: Array) -> float:
    if not expected.size:
        return 0.0
    one, other = expected.astype(np.float64), output.astype(np.float64)
    differs = (one != other) & ~(np.isnan(one) & np.isnan(other))
    off = np.abs(one[differs] - other[differs]).max(initial=0.0)
    largest = np.abs(one[np.isfinite(one)]).max(initial=0.0)
    return float(off / largest) if largest else float(off)
