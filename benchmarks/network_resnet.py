"""ResNet-50, as published: bottlenecks of 1x1, 3x3 and 1x1 convolutions around a skip.

K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, arXiv:1512.03385, table 1. The stride of
a bottleneck is that of its 3x3 convolution, as in torchvision and in most files that are about.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Bottlenecks, their width, the stride of the first."""
EXPANSION = 4
"""How many times its width a bottleneck gives out."""


class Bottleneck(nn.Module):
    """Three convolutions around a skip, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.body = nn.Sequential(
            *(*_conv_bn(inputs, width, 1), nn.ReLU()),
            *(*_conv_bn(width, width, 3, stride), nn.ReLU()),
            *_conv_bn(width, outputs, 1),
        )
        changes_shape = stride != 1 or inputs != outputs
        self.skip = nn.Sequential(*_conv_bn(inputs, outputs, 1, stride)) if changes_shape else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``[N, inputs, H, W] -> [N, 4 width, H / stride, W / stride]``."""
        return F.relu(self.body(x) + self.skip(x))


def resnet50() -> nn.Module:
    """The network for images ``[N, 3, 224, 224]`` and 1000 classes."""
    blocks: list[nn.Module] = []
    channels = 64
    for count, width, stride in STAGES:
        for number in range(count):
            blocks.append(Bottleneck(channels, width, 1 if number else stride))
            channels = EXPANSION * width
    stem = (*_conv_bn(3, 64, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(outputs)
