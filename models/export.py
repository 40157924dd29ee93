"""From a trained torch network to the bytes of an ONNX file, the same ones in every run."""

from __future__ import annotations

from typing import Any

import onnx
import onnxruntime as ort
import torch
from onnxscript import opset20
from torch import nn

OPSET = 20


def export_model(network: nn.Module, input_name: str, input_shape: tuple[int, ...]) -> onnx.ModelProto:
    """Export with every BatchNormalization kept and the batch dimension left open."""
    program = torch.onnx.export(
        network.eval(),
        (torch.zeros(2, *input_shape),),
        input_names=[input_name],
        output_names=["logits"],
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        custom_translation_table={torch.ops.aten.adaptive_avg_pool2d.default: _global_average_pool},
        optimize=False,  # the exporter's optimizer would fold Conv -> BatchNormalization itself
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program, although it was asked for no file")
    model = program.model_proto
    strip_metadata(model)
    return model


def strip_metadata(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces with this machine's paths, and symbols that change between runs."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Serialize without freedom of order."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def open_session(data: bytes) -> ort.InferenceSession:
    """Open a serialized model in onnxruntime on the CPU."""
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"])


def _global_average_pool(x: Any, output_size: Any) -> Any:
    """Spell a pooling to 1x1 as the ONNX operator; torch's own decomposition writes ReduceMean."""
    if any(size != 1 for size in output_size):
        raise ValueError(f"adaptive_avg_pool2d to {output_size}: only 1x1 is a GlobalAveragePool")
    return opset20.GlobalAveragePool(x)
