"""What the networks of benchmarks/convergence.py learn: scikit-learn's digits and Fashion-MNIST, in three parts."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnfold.torch.scores import Batch

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist (60 000 and 10 000 images, MIT) puts its files."""

DIGITS_HELD_OUT = 300
FASHION_VALIDATION = 1000


@dataclass(frozen=True, eq=False)
class Part:
    """Some examples.

    Attributes:
        images: [N, 1, H, W] in 0..1.
        labels: [N] in 0..9.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, chosen: NDArray[np.int64]) -> Part:
        """Some of them, in that order."""
        return Part(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Split:
    """Examples to train on, to choose a state by, and to score the chosen state on. No two share an example."""

    train: Part
    validation: Part
    test: Part


@cache
def digits(seed: int) -> Split:
    """1797 digits of 8 x 8: 300 to validate, 300 to test, drawn by the seed, and 1197 to train on."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    every = Part((loaded.images[:, None] / 16).astype(np.float32), loaded.target.astype(np.int64))
    order = np.random.default_rng(seed).permutation(len(every))
    test, validation, train = np.split(order, [DIGITS_HELD_OUT, 2 * DIGITS_HELD_OUT])
    return Split(every.rows(train), every.rows(validation), every.rows(test))


@cache
def fashion(seed: int) -> Split:
    """Fashion-MNIST, 28 x 28: 1000 of its training images, drawn by the seed, validate; its 10 000 test images test.

    Raises:
        SystemExit: it is not installed.
    """
    if not FASHION.is_dir():
        raise SystemExit(f"{FASHION} is not there: apt-get install dataset-fashion-mnist")
    every, test = _stored("train"), _stored("t10k")
    validation, train = np.split(np.random.default_rng(seed).permutation(len(every)), [FASHION_VALIDATION])
    return Split(every.rows(train), every.rows(validation), test)


@cache
def _stored(name: str) -> Part:
    """Both files of a part: bytes behind a header of 16 and of 8 bytes."""
    images, labels = (
        np.frombuffer(gzip.decompress((FASHION / f"{name}-{kind}-ubyte.gz").read_bytes()), np.uint8, offset=header)
        for kind, header in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return Part(images.reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255), labels.astype(np.int64))


class Drawn:
    """Batches for `bnfold.train`, whose epoch is a few steps long, so that it scores the network every few steps.

    Args:
        part: what to draw from; a pass over all of it ends before the next begins.
        name: of the model's input.
        size: rows of a batch.
        steps: of an "epoch".
        seed: of the orders.
    """

    def __init__(self, part: Part, name: str, *, size: int, steps: int, seed: int) -> None:
        self._part, self._name, self._size, self._seed = part, name, size, seed
        self.steps = steps

    def epoch(self, number: int) -> Iterator[Batch]:
        """The next batches, counted from 1; the same ones whenever it is asked."""
        for step in range((number - 1) * self.steps, number * self.steps):
            chosen = self._part.rows(self._chosen(step))
            yield Batch({self._name: chosen.images}, chosen.labels)

    def seen(self, steps: int) -> NDArray[np.int64]:
        """The rows of the first pass that so many steps draw, in that order."""
        return self._order(0)[: steps * self._size]

    def _chosen(self, step: int) -> NDArray[np.int64]:
        turn, place = divmod(step, len(self._part) // self._size)
        return self._order(turn)[place * self._size : (place + 1) * self._size]

    def _order(self, turn: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, turn]).permutation(len(self._part))
