"""The networks of benchmarks/convergence.py, as torch starts them, and as ONNX graphs without BatchNormalization."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from onnx import ModelProto
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

from export import export_model

INPUT = "image"
WIDTH, DEPTH = 64, 6


def source_cnn(side: int) -> nn.Module:
    """Build the source's network for images of that height and width, without its BatchNormalizations."""
    rest = side - 4
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64 * rest * rest, 10)),
    )


def six_sigmoids(side: int) -> nn.Module:
    """Build six linear layers: five of 64 with a sigmoid each, and one of 10."""
    sizes = [side * side, *[WIDTH] * (DEPTH - 1)]
    hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.Sigmoid())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(WIDTH, 10))


def exported(build: Callable[[int], nn.Module], side: int, seed: int) -> ModelProto:
    """The network with the weights that torch draws for it, as a graph that takes ``image``: [N, 1, side, side]."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.manual_seed(seed)
        return export_model(build(side), INPUT, (1, side, side))
