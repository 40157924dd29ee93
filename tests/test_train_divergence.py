"""A training that diverges stops, says what to try, and keeps what was good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import graph_model, normal

import bnfold
from bnfold.model.tensors import Array

torch = pytest.importorskip("torch", reason="torch is not installed")

from bnfold.torch.scores import Batch  # noqa: E402 (only where torch is)

LINEAR = "(float[N,4] x) => (float[N,3] y) { y = Gemm(x, w, b) }"
X = normal(64, 4, seed=3)
WANTED = X[:, :3] * 2


class Extreme:
    """Batches that a linear map learns from, and one that is far out in the middle or at the end of the third epoch.

    Args:
        size: how far.
        position: which of an epoch's four.
        epoch: of which epoch.
    """

    steps = 4

    def __init__(self, size: float, position: int, epoch: int = 3) -> None:
        self._size, self._place = size, (epoch, position)

    def epoch(self, number: int) -> Iterator[Batch]:
        for position in range(self.steps):
            rows = slice(16 * position, 16 * position + 16)
            factor = np.float32(self._size if (number, position) == self._place else 1.0)
            yield Batch({"x": X[rows] * factor}, WANTED[rows])


def train(data: Any, **options: Any) -> Any:
    options = {"loss": "mse", "lr": 0.05, "epochs": 5, "insert": False, **options}
    return bnfold.train(graph_model(LINEAR, w=normal(4, 3), b=normal(3)), data, {"x": X, "target": WANTED}, **options)


def rooted(output: Any, target: Any) -> Any:
    """The mean square, and a term of which torch's gradient is NaN far out though it is 0 everywhere."""
    near = output.abs() < 1e6
    return (output - target).square().mean() + 0.0 * ((1e6 - output.abs()) * near).sqrt().mean()


@pytest.mark.parametrize(
    ("data", "loss", "epochs", "said"),
    [
        (Extreme(1e25, 1), "mse", 2, "the loss is inf in step 2 of epoch 3"),
        (Extreme(1e12, 3), "mse", 3, "the validation loss is inf after epoch 3"),
        (Extreme(1e8, 3), rooted, 3, "'w' is not finite after epoch 3"),
    ],
)
def test_the_best_state_before_a_divergence_is_kept_with_what_to_try(
    data: Extreme, loss: Any, epochs: int, said: str
) -> None:
    told = list[Any]()
    result = train(data, loss=loss, after_epoch=told.append)
    assert result
    assert result.history.diverged == result.remarks[0]
    assert result.history.diverged.startswith(f"the training diverged: {said}; try a lower --lr than 0.05, ")
    assert result.history.diverged.endswith("; the best state so far, that of epoch 2, is kept")
    assert not result.history.is_interrupted
    assert [epoch.is_best for epoch in told] == [True, True, False][:epochs]
    whole = train(Extreme(1.0, 0), loss=loss)
    assert result.scores.best == whole.history.epochs[1].validation
    assert result.scores.folded.loss == pytest.approx(result.scores.best.loss, rel=1e-5)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_divergence_before_anything_was_better_than_the_start_is_an_error(epoch: int) -> None:
    start: dict[str, Array] = {"x": X, "target": -WANTED}  # the better it learns, the worse it does here
    model = graph_model(LINEAR, w=np.zeros((4, 3), np.float32), b=np.zeros(3, np.float32))
    with pytest.raises(bnfold.UsageError, match=f"diverged: the loss is inf in step 2 of epoch {epoch}"):
        bnfold.train(model, Extreme(1e25, 1, epoch), start, loss="mse", insert=False)


def test_a_state_that_diverged_gets_into_no_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    train(Extreme(1e12, 3), checkpoint=checkpoint)
    again = train(Extreme(1e12, 3), checkpoint=checkpoint, resume=True)
    assert again.history.diverged is not None
    assert [epoch.number for epoch in again.history.epochs] == [1, 2, 3]


def test_a_mask_of_minus_infinity_is_no_divergence() -> None:
    body = "(float[N,4] x) => (float[N,3] y) { h = Gemm(x, w, b) m = Add(h, mask) y = Softmax<axis = 1>(m) }"
    model = graph_model(body, w=normal(4, 3), b=normal(3), mask=np.array([0, 0, -np.inf], np.float32))
    target = np.eye(3, dtype=np.float32)[X[:, :2].argmax(axis=1)]
    result = bnfold.train(model, {"x": X, "target": target}, loss="mse", epochs=2, insert=False)
    assert result.history.diverged is None
    assert len(result.history.epochs) == 2


def test_a_validation_loss_that_was_infinite_before_the_first_step_is_no_divergence() -> None:
    model = graph_model(LINEAR, w=np.full((4, 3), 1e30, np.float32), b=normal(3))
    x = np.zeros_like(X)
    x[0, 0] = 1.0
    data, validation = {"x": np.zeros_like(X), "target": WANTED}, {"x": x, "target": WANTED}
    result = bnfold.train(model, data, validation, loss="mse", epochs=2, insert=False, weight_decay=0.0)
    assert not np.isfinite(result.scores.before.loss)
    assert result.history.diverged is None
    assert len(result.history.epochs) == 2
