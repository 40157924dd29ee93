"""Train and export the shipped models, check them, and write models/README.md.

    python models/build.py                    # every model
    python models/build.py mlp residual       # these alone; the README takes the others as they lie there

Run from the repository's root. With the same versions on the same kind of machine, the files come out byte for byte
the same; processors round sums differently, so a model that is added elsewhere is built alone.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import networks
import numpy as np
import onnx
import torch
from digits import SEED, Split, count_correct, load_split, run_model
from export import export_model, open_session, to_bytes
from onnx import numpy_helper
from readme import Row, render
from torch import nn

HERE = Path(__file__).resolve().parent
IMAGE = ("image", (1, 8, 8))
PIXELS = ("pixels", (64,))


class Recipe(NamedTuple):
    """One model to ship, and the number of BatchNormalizations it must have."""

    name: str
    network: Callable[[], nn.Module]
    input: tuple[str, tuple[int, ...]]
    batch_norms: int
    text: str


RECIPES = (
    Recipe(
        *("source_cnn", networks.source_cnn, IMAGE, 2),
        "The source's CNN in its own order, BatchNormalization *after* the activation: "
        "Conv(32) → ReLU → BN → Conv(64) → ReLU → BN → Flatten → Dense(10), 3x3 without padding.",
    ),
    Recipe(
        *("source_cnn_bn_first", networks.source_cnn_bn_first, IMAGE, 2),
        "The same with BatchNormalization *before* the activation: "
        "Conv(32) → BN → ReLU → Conv(64) → BN → ReLU → Flatten → Dense(10).",
    ),
    Recipe(
        *("source_cnn_same", networks.source_cnn_same, IMAGE, 2),
        "The source's CNN in its own order with zero padding, so that each convolution keeps the height and width: "
        "Conv(32) → ReLU → BN → Conv(64) → ReLU → BN → Flatten → Dense(10).",
    ),
    Recipe(
        *("source_cnn_pool", networks.source_cnn_pool, IMAGE, 2),
        "The same with a 2x2 MaxPool behind each BatchNormalization: "
        "Conv(32) → ReLU → BN → MaxPool → Conv(64) → ReLU → BN → MaxPool → Flatten → Dense(10).",
    ),
    Recipe(
        *("residual", networks.residual, IMAGE, 6),
        "A residual network: Conv-BN-ReLU stem, a block with a plain skip, a block of stride 2 with a 1x1 Conv-BN "
        "skip, GlobalAveragePool, Dense(10). 3x3 with zero padding.",
    ),
    Recipe(
        *("mlp", networks.mlp, PIXELS, 2),
        "Dense(64) → BN → ReLU → Dense(32) → BN → ReLU → Dense(10) on 64 pixels.",
    ),
)


def main() -> None:
    """Build every model, or those that are named, and the table that describes all of them."""
    wanted = _wanted()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    split = load_split()
    rows = [build(recipe, split) if recipe.name in wanted else describe(recipe, split) for recipe in RECIPES]
    (HERE / "README.md").write_text(render(rows), encoding="utf-8")


def _wanted() -> list[str]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [recipe.name for recipe in RECIPES]
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"which to build, by default all: {', '.join(names)}"
    )
    wanted: list[str] = parser.parse_args().models or names
    unknown = [name for name in wanted if name not in names]
    if unknown:
        parser.error(f"there is no model {', '.join(unknown)}")
    return wanted


def build(recipe: Recipe, split: Split) -> Row:
    """Train, export, check and write one model; return what the README says of it."""
    torch.manual_seed(SEED)
    input_name, input_shape = recipe.input
    train_images, test_images = (images.reshape(-1, *input_shape) for images in (split.train_images, split.test_images))
    split = split._replace(train_images=train_images, test_images=test_images)

    network = recipe.network()
    networks.train(network, split)
    model = export_model(network, input_name, input_shape)
    data = to_bytes(model)
    check_batch_norms(recipe, model)
    check_against_torch(recipe, network, data, split)

    (HERE / f"{recipe.name}.onnx").write_bytes(data)
    row = describe(recipe, split)
    print(f"{row.name}: {len(data)} bytes, {row.correct} of {row.tested} test images right")
    return row


def describe(recipe: Recipe, split: Split) -> Row:
    """Measure a model as it lies in its file."""
    data = (HERE / f"{recipe.name}.onnx").read_bytes()
    return Row(
        name=f"{recipe.name}.onnx",
        text=recipe.text,
        operators=Counter(node.op_type for node in onnx.load_from_string(data).graph.node),
        data=data,
        correct=count_correct(open_session(data), split),
        tested=len(split.test_labels),
    )


def check_batch_norms(recipe: Recipe, model: onnx.ModelProto) -> None:
    """Refuse a model whose BatchNormalizations are missing, in training mode or untrained."""
    onnx.checker.check_model(model, full_check=True)
    nodes = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    if len(nodes) != recipe.batch_norms:
        raise RuntimeError(f"{recipe.name}: {len(nodes)} BatchNormalizations instead of {recipe.batch_norms}")
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in nodes:
        if any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute):
            raise RuntimeError(f"{recipe.name}: {node.name} was exported in training mode")
        for name, initial in zip(node.input[1:], (1, 0, 0, 1), strict=True):  # scale, bias, mean, variance
            if np.abs(tensors[name] - initial).max() < 0.01:
                raise RuntimeError(f"{recipe.name}: {name} of {node.name} still has its initial value, {initial}")


def check_against_torch(recipe: Recipe, network: nn.Module, data: bytes, split: Split) -> None:
    """Refuse a model whose logits in onnxruntime are not those of torch, on the whole test split."""
    with torch.no_grad():
        expected = network(torch.from_numpy(split.test_images)).numpy()
    actual = run_model(open_session(data), split.test_images)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4, err_msg=recipe.name)


if __name__ == "__main__":
    main()
