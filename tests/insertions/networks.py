"""Networks in the shape of torchvision's and timm's, small, and their export."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

OPSET = 20
IMAGE = (2, 3, 16, 16)


def exported(make: Callable[[], nn.Module]) -> ModelProto:
    """A network with drawn weights and statistics, as torch exports it: BatchNormalizations kept, the batch open."""
    torch.manual_seed(0)
    network = make().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                nn.init.uniform_(values, 0.5, 1.5)  # type: ignore[arg-type]  # both are there: affine, with statistics
            for values in (module.bias, module.running_mean):
                nn.init.normal_(values, std=0.2)  # type: ignore[arg-type]
    program = torch.onnx.export(
        network,
        (torch.zeros(IMAGE),),
        input_names=["image"],
        output_names=["y"],
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        optimize=False,  # the exporter's optimizer would fold Conv -> BatchNormalization itself
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model: ModelProto = onnx.ModelProto.FromString(program.model_proto.SerializeToString())
    return model


def unit(channels_in: int, channels: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Conv and BatchNormalization."""
    conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def head(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)


class Residual(nn.Module):
    """What a body computes, added to its input or to what a shortcut makes of that."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) + self.shortcut(x)
        return y


def resnet18() -> nn.Module:
    """Four stages of two blocks."""

    def block(channels_in: int, channels: int, stride: int) -> nn.Module:
        body = nn.Sequential(*unit(channels_in, channels, 3, stride), nn.ReLU(), *unit(channels, channels))
        changes = stride != 1 or channels_in != channels
        return nn.Sequential(Residual(body, unit(channels_in, channels, 1, stride) if changes else None), nn.ReLU())

    stages = [(8, 8, 1), (8, 8, 1), (8, 12, 2), (12, 12, 1), (12, 16, 2), (16, 16, 1), (16, 20, 2), (20, 20, 1)]
    blocks = [block(*stage) for stage in stages]
    return nn.Sequential(*unit(3, 8, 7), nn.ReLU(), nn.MaxPool2d(3, 1, 1), *blocks, *head(20))


def mobilenet_v2() -> nn.Module:
    """Inverted residuals: 1x1, depthwise, 1x1, with ReLU6."""

    def block(channels_in: int, channels: int, stride: int) -> nn.Module:
        wide = 3 * channels_in
        body = nn.Sequential(
            *(*unit(channels_in, wide, 1), nn.ReLU6(), *unit(wide, wide, 3, stride, groups=wide), nn.ReLU6()),
            *unit(wide, channels, 1),
        )
        return Residual(body) if stride == 1 and channels_in == channels else body

    blocks = [block(8, 8, 1), block(8, 12, 2), block(12, 12, 1), block(12, 16, 2)]
    return nn.Sequential(*unit(3, 8, 3, 2), nn.ReLU6(), *blocks, *unit(16, 32, 1), nn.ReLU6(), *head(32))


class Dense(nn.Module):
    """A layer of a dense block: its output beside its input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.ReLU(), *unit(channels, 2 * growth, 1), nn.ReLU()),
            nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet() -> nn.Module:
    """Two dense blocks and a transition."""
    transition = (nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1, bias=False), nn.AvgPool2d(2))
    blocks = [Dense(8, 4), Dense(12, 4), *transition, Dense(8, 4), nn.BatchNorm2d(12), nn.ReLU()]
    return nn.Sequential(*unit(3, 8), nn.ReLU(), *blocks, *head(12))


def vgg() -> nn.Module:
    """Convolutions with biases and three Linear layers."""
    features = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    features += [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(256, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 5))


class UNet(nn.Module):
    """Down by pooling, up by ConvTranspose, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(*unit(3, 8), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), *unit(8, 16), nn.ReLU())
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Sequential(*unit(16, 8), nn.ReLU(), nn.Conv2d(8, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        y: Tensor = self.last(torch.cat([skip, self.up(self.bottom(skip))], 1))
        return y


class Attention(nn.Module):
    """Self-attention with two heads, written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries, self.keys, self.values, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(2, (2, -1)).transpose(1, 2) for layer in (self.queries, self.keys, self.values))
        weights = torch.softmax(q @ k.transpose(2, 3) / 4, dim=-1)
        y: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return y


class Tokens(nn.Module):
    """An image as a sequence of patches: ``[N, T, C]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.patches(x).flatten(2).transpose(1, 2)
        return y


class Mean(nn.Module):
    """Over the tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Swapped(nn.Module):
    """A module that sees tokens as channels."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x.transpose(1, 2)).transpose(1, 2)
        return y


def mlp(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


def vit() -> nn.Module:
    """Two blocks of attention and MLP: Linear layers on ``[N, T, C]``, which are MatMul and Add."""
    blocks = [
        nn.Sequential(
            Residual(nn.Sequential(nn.LayerNorm(16), Attention(16))),
            Residual(nn.Sequential(nn.LayerNorm(16), mlp(16, 32))),
        )
        for _ in range(2)
    ]
    return nn.Sequential(Tokens(16), *blocks, nn.LayerNorm(16), Mean(), nn.Linear(16, 5))


def mixer() -> nn.Module:
    """An MLP along the tokens, then one along the channels, twice."""
    blocks = [
        nn.Sequential(
            Residual(nn.Sequential(nn.LayerNorm(12), Swapped(mlp(16, 24)))),
            Residual(nn.Sequential(nn.LayerNorm(12), mlp(12, 20))),
        )
        for _ in range(2)
    ]
    return nn.Sequential(Tokens(12), *blocks, nn.LayerNorm(12), Mean(), nn.Linear(12, 5))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": resnet18,
    "mobilenet_v2": mobilenet_v2,
    "densenet": densenet,
    "vgg": vgg,
    "unet": UNet,
    "vit": vit,
    "mixer": mixer,
}
