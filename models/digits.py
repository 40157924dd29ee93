"""The data the shipped models are trained on, and how a model is scored on it. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnxruntime as ort

SEED = 20150211
TEST_SHARE = 0.25


class Split(NamedTuple):
    """Handwritten digits in two disjoint parts: images [N, 1, 8, 8] in [0, 1], labels [N] in 0..9."""

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def load_split() -> Split:
    """Load scikit-learn's 1797 digits and split them, always in the same way, with every class in both parts."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)  # [N, 8, 8] of 0..16 -> [N, 1, 8, 8] of 0..1
    labels = digits.target.astype(np.int64)
    train, test = train_test_split(np.arange(len(labels)), test_size=TEST_SHARE, random_state=SEED, stratify=labels)
    return Split(images[train], labels[train], images[test], labels[test])


def run_model(session: ort.InferenceSession, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute a model's logits [N, 10], giving it the images in the shape that its input asks for."""
    wanted = session.get_inputs()[0]
    batch = images.reshape(len(images), *wanted.shape[1:])  # [N, 1, 8, 8], or [N, 64] for the MLP
    logits: NDArray[np.float32] = session.run(None, {wanted.name: batch})[0]
    return logits


def count_correct(session: ort.InferenceSession, split: Split) -> int:
    """Count the test images that a model names rightly."""
    return int((run_model(session, split.test_images).argmax(axis=1) == split.test_labels).sum())
