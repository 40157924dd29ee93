"""Random graphs with weights and biases in integers: folded equals original, but for what the remarks tell.

The graphs are made by the package `random_quantized`, which also runs them by the thousand outside CI.
"""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from random_quantized import draw
from random_quantized.run import tallied

import bnfold

SEED, NUMBERS = 1, range(60)


def test_a_random_graph_in_integers_folds_to_an_equal_one() -> None:
    tally = tallied(SEED, NUMBERS)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.graphs >= 50
    assert tally.folded >= 35, "a drawer in which hardly anything folds shows nothing"
    assert tally.rounded >= 3, "shifts into biases in integers are what these graphs are for"
    assert set(tally.operators) == {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def test_the_same_seed_and_number_make_the_same_graph() -> None:
    one, other = (draw(7, 11).model.SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def test_steps_more_in_a_folded_bias_than_are_told_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The law is not so wide that a wrong bias in integers passes it."""
    fold = bnfold.fold

    def off_by_steps(model: onnx.ModelProto) -> bnfold.FoldResult:
        result = fold(model)
        for tensor in result.model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT32:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.int32(200), tensor.name))
        return result

    monkeypatch.setattr(bnfold, "fold", off_by_steps)
    assert len(tallied(SEED, NUMBERS).failures) >= 10
