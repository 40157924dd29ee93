"""Fold, then quantize: onnxruntime's static quantization of three networks as they are, preprocessed, and folded.

Run it: python examples/quantize.py     (needs bnfold[cpu] and scikit-learn)

The networks are those of models/, trained on scikit-learn's digits. onnxruntime calibrates with 256 images that they
were trained on; what is right is counted over the 450 that they have never seen. onnxruntime's own preprocessing merges
a BatchNormalization into the Conv in front of it. Behind a Relu, where the source's network has it, it stays.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import bnfold

MODELS = Path(__file__).parent.parent / "models"
NETWORKS = {
    "source_cnn": "Conv, Relu, BatchNormalization",
    "source_cnn_bn_first": "Conv, BatchNormalization, Relu",
    "residual": "the same with shortcuts",
}
SEED, BATCH, CALIBRATION = 20150211, 32, 256

digits = load_digits()
images = (digits.images[:, None] / 16).astype(np.float32)  # [N, 8, 8] of 0..16 -> [N, 1, 8, 8] of 0..1
train, test = train_test_split(np.arange(len(images)), test_size=0.25, random_state=SEED, stratify=digits.target)


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """The images that the ranges of the activations are measured on."""

    def __init__(self) -> None:
        chosen = images[train[:CALIBRATION]].reshape(-1, BATCH, *images.shape[1:])
        self._batches: Iterator[dict[str, Any]] = iter([{"image": batch} for batch in chosen])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch."""
        return next(self._batches, None)


def main() -> None:
    """Print a table for each network."""
    logging.disable(logging.WARNING)  # onnxruntime says of each model that it may be preprocessed first
    for name, order in NETWORKS.items():
        print(f"{name}: {order}")
        print("              float  int8, one scale  int8, per channel  agree     kB  BN  Q+DQ")
        with tempfile.TemporaryDirectory() as folder:
            path = MODELS / f"{name}.onnx"
            report("as it is", path)
            report("preprocessed", preprocessed(path, Path(folder, "preprocessed.onnx")))
            bnfold.fold(path, check=True).save(Path(folder, "folded.onnx"))
            report("folded", Path(folder, "folded.onnx"))


def preprocessed(path: Path, target: Path) -> Path:
    """What onnxruntime says to do before a quantization: shapes inferred, graph optimized."""
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        quant_pre_process(path, target, skip_symbolic_shape=True)
    return target


def report(title: str, path: Path) -> None:
    """Quantize a model both ways, and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        one, each = Path(folder, "one.onnx"), Path(folder, "each.onnx")
        for target, per_channel in ((one, False), (each, True)):
            quantize_static(path, target, Calibration(), quant_format=QuantFormat.QDQ, per_channel=per_channel)
        kinds = Counter(node.op_type for node in onnx.load(each).graph.node)
        agree = (logits(path).argmax(1) == logits(each).argmax(1)).mean()
        kilobytes = each.stat().st_size / 1000
        print(
            f"{title:12}  {right(path)}  {right(one):>15}  {right(each):>17}  {agree:5.1%}  {kilobytes:5.1f}"
            f"  {kinds['BatchNormalization']:2}  {kinds['QuantizeLinear'] + kinds['DequantizeLinear']:4}"
        )


def right(path: Path) -> str:
    """How many of the images that were held out a model names rightly."""
    return f"{(logits(path).argmax(1) == digits.target[test]).mean():5.1%}"


def logits(path: Path) -> NDArray[np.float32]:
    """What a model gives for the images that were held out, [450, 10]."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    made: NDArray[np.float32] = session.run(None, {"image": images[test]})[0]
    return made


if __name__ == "__main__":
    main()
