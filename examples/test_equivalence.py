"""For your own test suite: a model and its fold are the same function, today and after every change.

pip install 'bnfold[cpu]' pytest
pytest examples/test_equivalence.py
"""

from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

import bnfold

MODEL = Path(__file__).parent.parent / "models" / "residual.onnx"


def test_the_fold_is_the_same_function() -> None:
    """Raises an AssertionError with the numbers where it is not."""
    bnfold.assert_equivalent(MODEL, bnfold.fold(MODEL).model)


def test_a_wrong_weight_would_be_noticed() -> None:
    """A test that could not fail would prove nothing."""
    wrong = bnfold.fold(MODEL).model
    weights = next(tensor for tensor in wrong.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(weights).copy()
    values[0, 0, 1, 1] += 0.01
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    onnx.checker.check_model(wrong)
    with pytest.raises(AssertionError, match="logits"):
        bnfold.assert_equivalent(MODEL, wrong)
