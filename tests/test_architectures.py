"""The three networks of the benchmarks are the published ones, with every BatchNormalization in the file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from support import ROOT, op_types, run_ort

import bnfold

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript")
pytest.importorskip("onnxruntime", reason="the networks are run with onnxruntime")

sys.path.insert(0, str(ROOT / "benchmarks"))

import architectures  # noqa: E402 (only where torch is)

PUBLISHED = {
    "resnet50": (25.6e6, 53, 53),
    "mobilenet_v3_large": (5.5e6, 46, 62),
    "densenet121": (8.0e6, 121, 120),
}
"""Parameters, BatchNormalizations, convolutions."""
LEFT = {"resnet50": 0, "mobilenet_v3_large": 0, "densenet121": 62}
"""Of DenseNet's, the first of each layer maps what layers behind it read through normalizations of their own."""
each_network = pytest.mark.parametrize("name", architectures.NAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all three lie."""
    made = tmp_path_factory.mktemp("architectures")
    for name in architectures.NAMES:
        architectures.build(name, made / f"{name}.onnx")
    yield made
    for path in made.iterdir():
        path.unlink()


@each_network
def test_the_network_is_as_large_as_published(name: str, folder: Path) -> None:
    parameters, normalizations, convolutions = PUBLISHED[name]
    network = architectures.network(name)
    assert sum(values.numel() for values in network.parameters()) == pytest.approx(parameters, rel=0.01)
    operators = op_types(onnx.load(folder / f"{name}.onnx"))
    assert operators.count("BatchNormalization") == normalizations
    assert operators.count("Conv") == convolutions


@each_network
def test_the_file_computes_what_torch_does(name: str, folder: Path) -> None:
    images = torch.rand(3, *architectures.SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = architectures.network(name)(images).numpy()
    (outputs,) = run_ort(onnx.load(folder / f"{name}.onnx"), {"image": images.numpy()})
    assert np.abs(outputs - expected).max() <= 1e-5 * np.abs(expected).max()


@each_network
def test_activations_neither_explode_nor_vanish(name: str, folder: Path) -> None:
    images = np.random.default_rng(2).standard_normal((2, *architectures.SHAPE), dtype=np.float32)
    (outputs,) = run_ort(onnx.load(folder / f"{name}.onnx"), {"image": images})
    assert np.isfinite(outputs).all()
    assert 0.1 < outputs.std() < 10
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1 * outputs.std()


@each_network
def test_no_batch_normalization_is_near_the_identity(name: str) -> None:
    modules = architectures.network(name).modules()
    for module in (module for module in modules if isinstance(module, torch.nn.BatchNorm2d)):
        deviation = (module.running_var + module.eps).sqrt()
        scale = (module.weight / deviation).detach()
        shift = (module.bias - module.running_mean * scale).detach()
        assert scale.std() > 0.05
        assert shift.std() > 0.05


@each_network
def test_what_can_be_folded_is(name: str, folder: Path) -> None:
    result = bnfold.fold(folder / f"{name}.onnx")
    assert len(result.folded) == PUBLISHED[name][1] - LEFT[name]
    assert [kept.code for kept in result.kept] == ["several-readers"] * LEFT[name]
    assert op_types(result.model).count("BatchNormalization") == LEFT[name]
