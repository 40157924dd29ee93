"""MobileNetV3-large, as published: depthwise convolutions between 1x1 ones, some weighed by squeeze-and-excitation.

A. Howard et al., Searching for MobileNetV3, arXiv:1905.02244, table 1; widths that the paper leaves open (of the
squeeze) are those of torchvision, multiples of 8.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

EPSILON, MOMENTUM = 1e-3, 0.01
"""Of the normalizations, in torch's sense."""


class Row(NamedTuple):
    """A row of the paper's table."""

    kernel: int
    expanded: int
    outputs: int
    squeezes: bool
    activation: type[nn.Module]
    stride: int


RE, HS = nn.ReLU, nn.Hardswish
ROWS = (
    Row(3, 16, 16, False, RE, 1),
    Row(3, 64, 24, False, RE, 2),
    Row(3, 72, 24, False, RE, 1),
    Row(5, 72, 40, True, RE, 2),
    Row(5, 120, 40, True, RE, 1),
    Row(5, 120, 40, True, RE, 1),
    Row(3, 240, 80, False, HS, 2),
    Row(3, 200, 80, False, HS, 1),
    Row(3, 184, 80, False, HS, 1),
    Row(3, 184, 80, False, HS, 1),
    Row(3, 480, 112, True, HS, 1),
    Row(3, 672, 112, True, HS, 1),
    Row(5, 672, 160, True, HS, 2),
    Row(5, 960, 160, True, HS, 1),
    Row(5, 960, 160, True, HS, 1),
)


class SqueezeExcite(nn.Module):
    """Channels weighed by what their means say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _multiple_of_8(channels // 4)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            *(nn.Conv2d(channels, squeezed, 1), nn.ReLU()),
            *(nn.Conv2d(squeezed, channels, 1), nn.Hardsigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same shape."""
        weighed: Tensor = x * self.weigh(x)
        return weighed


class Block(nn.Module):
    """An inverted residual: wide in the middle, a skip around it where shapes allow."""

    def __init__(self, inputs: int, row: Row) -> None:
        super().__init__()
        expand = _conv_bn(inputs, row.expanded, 1, activation=row.activation) if row.expanded != inputs else ()
        squeeze = (SqueezeExcite(row.expanded),) if row.squeezes else ()
        depthwise = _conv_bn(
            row.expanded, row.expanded, row.kernel, row.stride, groups=row.expanded, activation=row.activation
        )
        self.body = nn.Sequential(*expand, *depthwise, *squeeze, *_conv_bn(row.expanded, row.outputs, 1))
        self.skips = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor) -> Tensor:
        """``[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]``."""
        made: Tensor = self.body(x)
        return made + x if self.skips else made


def mobilenet_v3_large() -> nn.Module:
    """The network for images ``[N, 3, 224, 224]`` and 1000 classes."""
    inputs = (16, *(row.outputs for row in ROWS))
    blocks = [Block(channels, row) for channels, row in zip(inputs, ROWS, strict=False)]
    return nn.Sequential(
        *_conv_bn(3, 16, 3, stride=2, activation=HS),
        *blocks,
        *_conv_bn(160, 960, 1, activation=HS),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.Linear(960, 1280), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1280, 1000)),
    )


def _conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, EPSILON, MOMENTUM), *([] if activation is None else [activation()])]


def _multiple_of_8(channels: int) -> int:
    """The nearest one that does not take away more than a tenth."""
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
