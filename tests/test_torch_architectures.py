"""What torch exports comes back as what it was: the same outputs, the same gradients, the same training step."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
from onnx import ModelProto
from support import run_ort

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript")
pytest.importorskip("onnxruntime", reason="the exports are compared with onnxruntime")
import torch
from torch_networks import ARCHITECTURES, build, exported, images

from bnfold.torch import to_module

each_architecture = pytest.mark.parametrize("name", sorted(ARCHITECTURES))


@cache
def export(name: str) -> ModelProto:
    return exported(build(name))


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Of one step in training mode, in float64; of a tied weight under each of its names."""
    module = module.double().train()
    module(images().double()).square().mean().backward()

    named = module.named_parameters(remove_duplicate=False)
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


@each_architecture
@pytest.mark.parametrize("count", [1, 5])
def test_the_module_computes_what_onnxruntime_does(name: str, count: int) -> None:
    x = images(count)
    (expected,) = run_ort(export(name), {"image": x.numpy()})
    made = to_module(export(name))(x).detach().numpy()
    assert np.abs(made - expected).max() <= 1e-5 * np.abs(expected).max()


@each_architecture
def test_gradients_are_those_of_the_network(name: str) -> None:
    network, module = build(name), to_module(export(name))
    expected = gradients(copy.deepcopy(network))
    made = {module.onnx_names[key]: gradient for key, gradient in gradients(module).items()}
    assert made.keys() <= expected.keys()
    for key in made:
        wanted = expected[key]
        scale = max(
            float(wanted.abs().max()), 1e-6
        )  # a bias in front of a BatchNormalization has a gradient of nothing
        assert (made[key] - wanted).abs().max() <= 1e-5 * scale, key


@each_architecture
def test_every_parameter_has_the_name_of_the_network_s(name: str) -> None:
    module = to_module(export(name))
    network = build(name)
    made = [module.onnx_names[key] for key, _ in module.named_parameters()]
    assert len(made) == len(list(network.parameters()))  # of a tied weight there is one, under one of its names
    assert set(made) <= dict(network.named_parameters(remove_duplicate=False)).keys()
