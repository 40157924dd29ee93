"""Keras 3 writes an ONNX file without a single BatchNormalization node; bnfold folds the affines that it wrote instead.

The network of the source, as its code stands, is trained for a moment on real digits, exported by Keras itself, folded,
and proved equal. Keras's exporter (torch backend) spells each BatchNormalization as Sub, Mul, Add over the last axis,
between Casts that do nothing and Transposes; the convolutions' biases are Adds of their own.

Make an environment of its own in the repository's root, then run:

    python -m venv keras-env
    keras-env/bin/pip install -e ".[cpu,models]" "keras>=3.15"
    keras-env/bin/python examples/keras_export.py --padding same --pooling

Two files are written: the export, and beside it the folded one.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")  # read when keras is imported

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import bnfold

SEED = 20150211
BATCH = 32
LEARNING_RATE = 1e-4
"""A tenth of Adam's default, which saturates the softmax over so many features within a few steps."""


def main() -> None:
    """Build, train, export, fold, prove."""
    options = _options()
    path: Path = options.out / f"keras_{options.padding}{'_pool' if options.pooling else ''}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(SEED)
    network = source_cnn(options.padding, pooling=options.pooling)
    train(network, options.epochs)
    network.export(str(path), format="onnx", verbose=False)
    fold(path)


def source_cnn(padding: str, *, pooling: bool) -> Any:  # noqa: ANN401 (keras is untyped)
    """Build the source's network; with padding "valid", Keras's default, and no pooling, its code as it stands."""
    network = keras.Sequential()
    network.add(layers.Conv2D(32, (3, 3), activation="relu", padding=padding, input_shape=(32, 32, 3)))
    network.add(layers.BatchNormalization())
    if pooling:
        network.add(layers.MaxPooling2D((2, 2)))
    network.add(layers.Conv2D(64, (3, 3), activation="relu", padding=padding))
    network.add(layers.BatchNormalization())
    if pooling:
        network.add(layers.MaxPooling2D((2, 2)))
    network.add(layers.Flatten())
    network.add(layers.Dense(10, activation="softmax"))
    network.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


def train(network: Any, epochs: int) -> None:  # noqa: ANN401
    """A few epochs on scikit-learn's digits, so that the statistics are those of real activations."""
    digits = load_digits()
    images = coloured(digits.images)
    network.optimizer.learning_rate = LEARNING_RATE
    network.fit(images, digits.target, batch_size=BATCH, epochs=epochs, verbose=2)


def coloured(images: NDArray[np.float64]) -> NDArray[np.float32]:
    """Digits [N, 8, 8] of 0..16 as pictures [N, 32, 32, 3] of 0..1: each pixel 4x4 times, in every colour."""
    grown = np.kron(images / 16, np.ones((1, 4, 4)))
    return np.repeat(grown[..., None], 3, axis=3).astype(np.float32)


def fold(path: Path) -> None:
    """Fold the export, compare the two files on onnxruntime, and say what stays and why."""
    out = path.with_suffix(".folded.onnx")
    result, found = bnfold.fold(path), bnfold.inspect(path)
    result.save(out)
    report = bnfold.check(path, out)
    print(f"{path.name}: affines are {counted(info.op_type for info in found)}")
    print(f"  folded: {counted(folded.op_type for folded in result.folded)}")
    for info in found:
        if not info.folds:
            print(f"  stays: {info.node}: {info.reason} [{info.code}]")
    for output in report.outputs:
        print(f"  output {output.name}: max |y - y'| = {output.max_abs:.2e}, tolerated {output.tolerance:.2e}")
    if not report:
        raise SystemExit(f"{out} does not compute what {path} does")
    print(f"{out}: equal")


def counted(names: Iterable[str]) -> str:
    """Operators in a sentence."""
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(names).items())) or "none"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--padding", choices=["valid", "same"], default="valid")
    parser.add_argument("--pooling", action="store_true", help="a 2x2 MaxPooling2D behind each BatchNormalization")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build", "keras"), help="the folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
