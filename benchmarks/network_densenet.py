"""DenseNet-121, as published: a layer reads what all layers before it have made, through a normalization of its own.

G. Huang, Z. Liu, L. van der Maaten, K. Weinberger, Densely Connected Convolutional Networks, arXiv:1608.06993, table 1:
the form with bottlenecks and compression. A normalization stands in front of its ReLU and its convolution, so that the
first one of every layer maps a value with as many readers as there are layers behind it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYERS = (6, 12, 24, 16)
"""Of each block."""
GROWTH, BOTTLENECK = 32, 128
"""Channels that a layer adds, and those of its 1x1 convolution."""


class Layer(nn.Module):
    """What was there, and beside it what two convolutions make of it."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, BOTTLENECK, 1, bias=False)),
            *(nn.BatchNorm2d(BOTTLENECK), nn.ReLU(), nn.Conv2d(BOTTLENECK, GROWTH, 3, padding=1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, inputs, H, W] -> [N, inputs + 32, H, W]``."""
        return torch.cat([x, self.body(x)], 1)


def densenet121() -> nn.Module:
    """The network for images ``[N, 3, 224, 224]`` and 1000 classes."""
    channels = 2 * GROWTH
    stem = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
    body: list[nn.Module] = [stem, nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for count in LAYERS:
        if channels != 2 * GROWTH:
            body += _transition(channels)
            channels //= 2
        body += [Layer(channels + GROWTH * number) for number in range(count)]
        channels += GROWTH * count
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))
    return nn.Sequential(*body, nn.BatchNorm2d(channels), nn.ReLU(), *head)


def _transition(channels: int) -> list[nn.Module]:
    """Half the channels, a quarter of the places."""
    conv = nn.Conv2d(channels, channels // 2, 1, bias=False)
    return [nn.BatchNorm2d(channels), nn.ReLU(), conv, nn.AvgPool2d(2)]
