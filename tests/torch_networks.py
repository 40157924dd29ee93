"""A dozen small networks of the usual architectures, and their export."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor, nn


class Residual(nn.Module):
    """x + f(x), or side(x) + f(x)."""

    def __init__(self, body: nn.Module, side: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.side = body, side or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.side(x))


class Branches(nn.Module):
    """The outputs of all branches side by side along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class SqueezeExcite(nn.Module):
    """Channels weighed by what their means say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


class UNet(nn.Module):
    """One level down and up again, with the way across."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = block(3, 4), block(4, 8)
        self.up, self.last = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        across = self.first(x)
        deep = F.max_pool2d(self.down(across), 2)
        made: Tensor = self.last(torch.cat([across, self.up(deep)], 1))
        return made


class Attention(nn.Module):
    """One layer of a transformer on patches, with a BatchNormalization over the features."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.project, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.norm, self.bn, self.head = nn.LayerNorm(8), nn.BatchNorm1d(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)  # [N, T, 8]
        q, k, v = self.project(self.norm(tokens)).chunk(3, -1)
        weights = torch.softmax(q @ k.transpose(1, 2) / 8**0.5, -1)
        tokens = tokens + F.gelu(self.out(weights @ v))
        logits: Tensor = self.head(self.bn(tokens.transpose(1, 2)).mean(2))
        return logits


class Recurrent(nn.Module):
    """Rows read as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.bn, self.head = nn.GRU(24, 6, batch_first=True), nn.BatchNorm1d(6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 1, 3).flatten(2)  # [N, H, C * W]
        logits: Tensor = self.head(self.bn(self.gru(rows)[0][:, -1]))
        return logits


class Reparameterizable(nn.Module):
    """A block of RepVGG: three branches, of which one is a BatchNormalization alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.three, self.one = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norms[0](self.three(x)) + self.norms[1](self.one(x)) + self.norms[2](x))


class Speech(nn.Module):
    """Rows read as a sequence by two layers, the second normalized in front, as in Deep Speech 2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bn, self.second = nn.GRU(24, 6), nn.BatchNorm1d(6), nn.GRU(6, 5)
        self.last, self.head = nn.BatchNorm1d(5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.first(x.permute(2, 0, 1, 3).flatten(2))[0]  # [H, N, C * W] -> [H, N, 6]
        rows = self.second(self.bn(rows.permute(1, 2, 0)).permute(2, 0, 1))[0]  # normalized as [N, 6, H]
        logits: Tensor = self.head(self.last(rows[-1]))
        return logits


class Upsampling(nn.Module):
    """An autoencoder that makes its images large again without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = block(3, 6, stride=2), nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        large = F.interpolate(self.down(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        made: Tensor = self.up(large)
        return made


class Tied(nn.Module):
    """One layer applied twice, and one weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.first, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), *_tied_linears()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv(F.relu(self.bn(self.conv(x))))))
        logits: Tensor = self.last(F.relu(self.first(x.mean((2, 3)))))
        return logits


def _tied_linears() -> tuple[nn.Linear, nn.Linear]:
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = one.weight
    return one, other


def block(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalization, activation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def classifier(channels: int) -> list[nn.Module]:
    """The mean of each channel, and one layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]


def _residual() -> nn.Module:
    side = nn.Conv2d(4, 8, 1, stride=2)
    body = nn.Sequential(block(4, 8, stride=2), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    return nn.Sequential(block(3, 4), Residual(body, side), *classifier(8))


def _depthwise() -> nn.Module:
    return nn.Sequential(block(3, 8), block(8, 8, groups=8), block(8, 12, kernel=1), nn.Hardswish(), *classifier(12))


def _dense() -> nn.Module:
    grown = [Branches(nn.Identity(), block(channels, 4)) for channels in (3, 7, 11)]
    return nn.Sequential(*grown, nn.AvgPool2d(2), *classifier(15))


def _inception() -> nn.Module:
    pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), block(3, 2, kernel=1))
    return nn.Sequential(Branches(block(3, 2, kernel=1), block(3, 4), block(3, 3, kernel=5), pooled), *classifier(11))


def _mlp() -> nn.Module:
    layers = [nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.Sigmoid(), nn.Linear(16, 8), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(8, 5), nn.LogSoftmax(1))


def _plain() -> nn.Module:
    layers = [nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.0), nn.Linear(144, 5)]
    return nn.Sequential(*layers)


def _others() -> nn.Module:
    """The normalizations and activations that are left."""
    norms = [nn.GroupNorm(2, 4), nn.ELU(), nn.InstanceNorm2d(4, affine=True), nn.Softplus(), nn.BatchNorm2d(4)]
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=2, dilation=2), *norms, nn.SiLU(), *classifier(4))


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "attention": Attention,
    "dense": _dense,
    "depthwise": _depthwise,
    "inception": _inception,
    "mlp": _mlp,
    "others": _others,
    "plain": _plain,
    "recurrent": Recurrent,
    "reparameterizable": lambda: nn.Sequential(block(3, 4), *[Reparameterizable(4) for _ in range(2)], *classifier(4)),
    "residual": _residual,
    "speech": Speech,
    "squeeze-excite": lambda: nn.Sequential(block(3, 6), SqueezeExcite(6), *classifier(6)),
    "tied": Tied,
    "u-net": UNet,
    "upsampling": Upsampling,
}
"""All of them take images ``[N, 3, 8, 8]``."""


def build(name: str) -> nn.Module:
    """A network with statistics that are nothing special, in eval mode; the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ARCHITECTURES[name]()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                lows = {"weight": 0.5, "bias": -1.0, "running_mean": -1.0, "running_var": 0.5}
                for values, low in lows.items():
                    nn.init.uniform_(getattr(module, values), low, 1.5)
    return network.eval()


def images(count: int = 6) -> Tensor:
    """Standard normal images."""
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def exported(network: nn.Module) -> ModelProto:
    """The network as torch's exporter writes it, its batch open, nothing folded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(
            copy.deepcopy(network),
            (images(2),),
            input_names=["image"],
            opset_version=20,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            optimize=False,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: ModelProto = program.model_proto
    return model
