"""Train an ONNX graph with a loss and data of your own, and deploy the fold of it.

Run it: python examples/finetune.py [FOLDER]     (needs bnfold[cpu,train] and scikit-learn; writes two models to FOLDER)

The network is the source's, as it was shipped without its BatchNormalizations. The loss is a smoothed cross-entropy,
and every epoch sees the digits shifted anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

import bnfold
from bnfold.torch.scores import Batch

MODEL = Path(__file__).parent.parent / "models" / "source_cnn.onnx"
HELD_OUT, SIZE = 400, 64

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
images = (digits.images[order, None] / 16).astype(np.float32)  # [N, 1, 8, 8] in 0..1
labels = digits.target[order]


class Shifted:
    """Batches that are made as they are needed: `steps` and `epoch` are all that bnfold asks for."""

    steps = (len(labels) - HELD_OUT) // SIZE

    def epoch(self, number: int) -> Iterator[Batch]:
        """Every digit once, moved to the left or to the right by up to one pixel."""
        rng = np.random.default_rng(number)
        for rows in rng.permutation(np.arange(HELD_OUT, len(labels)))[: self.steps * SIZE].reshape(-1, SIZE):
            yield Batch({"image": np.roll(images[rows], rng.integers(-1, 2), axis=3)}, labels[rows])


def smoothed(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy that never asks for certainty."""
    return F.cross_entropy(output, target, label_smoothing=0.1)


def main(folder: Path) -> None:
    """Train, and write the trained model and its fold."""
    bare = bnfold.fold(MODEL).model
    held_out = {"image": images[:HELD_OUT], "target": labels[:HELD_OUT]}
    result = bnfold.train(bare, Shifted(), held_out, loss=smoothed, lr=0.02, epochs=2)
    result.save(folder / "digits.trained.onnx")
    result.folded.save(folder / "digits.folded.onnx")
    print(f"loss {result.scores.before.loss:.4f} before, {result.scores.folded.loss:.4f} folded")


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]))
