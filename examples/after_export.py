"""Fold right after torch.onnx.export: both exporters, and which of their flags leave a BatchNormalization to fold.

Run it: python examples/after_export.py     (needs bnfold[cpu], torch and onnxscript)

The network has a BatchNormalization in front of its activation and one behind. The dynamo exporter gives a program,
which is folded in memory and comes back as a program; the older one, on TorchScript, writes bytes.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn
from torch.onnx import ONNXProgram, TrainingMode

import bnfold

warnings.simplefilter("ignore")  # the exporters' own: TorchScript is deprecated, training mode is unusual
logging.disable(logging.WARNING)


def network() -> nn.Sequential:
    """Conv, BatchNormalization, Relu; Conv, Relu, BatchNormalization; with statistics that are nothing special."""
    torch.manual_seed(0)
    made = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)),
        *(nn.Flatten(), nn.Linear(8 * 4 * 4, 10)),
    )
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.get_buffer("running_mean"), -1, 1)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2)
    return made.eval()


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def dynamo(module: nn.Module, **flags: Any) -> ONNXProgram:  # noqa: ANN401 (the exporter's)
    """The exporter of torch 2.5 and later, its default since 2.9."""
    program = torch.onnx.export(
        module, (IMAGES,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False, **flags
    )
    assert program is not None
    return program


def torchscript(module: nn.Module, **flags: Any) -> onnx.ModelProto:  # noqa: ANN401 (the exporter's)
    """The exporter before it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.onnx")
        torch.onnx.export(module, (IMAGES,), path, dynamo=False, dynamic_axes={"x": [0]}, input_names=["x"], **flags)
        return onnx.load(path)


EXPORTS: dict[str, Callable[[], ONNXProgram | onnx.ModelProto]] = {
    "dynamo": lambda: dynamo(network()),
    "dynamo, optimize=False": lambda: dynamo(network(), optimize=False),
    "dynamo, of a module in train()": lambda: dynamo(network().train()),
    "TorchScript": lambda: torchscript(network()),
    "TorchScript, do_constant_folding=False": lambda: torchscript(network(), do_constant_folding=False),
    "TorchScript, training=PRESERVE": lambda: torchscript(network(), training=TrainingMode.PRESERVE),
    "TorchScript, training=TRAINING": lambda: torchscript(
        network(), training=TrainingMode.TRAINING, do_constant_folding=False
    ),
}


def main() -> None:
    """Print a line for each export."""
    print(f"{'export':40}  exported  folded  left  why")
    for title, export in EXPORTS.items():
        given = export()
        result = bnfold.fold(given)
        assert type(result.model) is type(given)
        if result:
            bnfold.assert_equivalent(given, result.model)
        why = ", ".join(sorted({entry.code for entry in result.kept}))
        print(f"{title:40}  {count(given):8}  {len(result.folded):6}  {count(result.model):4}  {why}".rstrip())


def count(model: ONNXProgram | onnx.ModelProto) -> int:
    """The BatchNormalizations of a model."""
    proto = model.model_proto if isinstance(model, ONNXProgram) else model
    return Counter(node.op_type for node in proto.graph.node)["BatchNormalization"]


if __name__ == "__main__":
    main()
