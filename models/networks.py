"""The six small networks that are shipped, and their training."""

from __future__ import annotations

import torch
from digits import SEED, Split
from torch import Tensor, nn

EPOCHS = 30
BATCH = 64
LEARNING_RATE = 3e-3


def source_cnn() -> nn.Module:
    """Build the source's CNN: each BatchNormalization stands after its activation."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.BatchNorm2d(32)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.BatchNorm2d(64)),
        *(nn.Flatten(), nn.Linear(64 * 4 * 4, 10)),
    )


def source_cnn_same() -> nn.Module:
    """Build the source's CNN with same padding: the second convolution pads what a BatchNormalization made."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(64)),
        *(nn.Flatten(), nn.Linear(64 * 8 * 8, 10)),
    )


def source_cnn_pool() -> nn.Module:
    """Build the source's CNN with same padding and a pooling behind each BatchNormalization."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(64), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 2 * 2, 10)),
    )


def source_cnn_bn_first() -> nn.Module:
    """Build the source's CNN with each BatchNormalization in front of its activation."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64 * 4 * 4, 10)),
    )


def residual() -> nn.Module:
    """Build a residual network: a stem, a block with a plain skip, a block with a strided projection."""
    return nn.Sequential(
        *(*_conv_bn(1, 16, kernel=3), nn.ReLU()),
        *(ResidualBlock(16, 16), ResidualBlock(16, 32, stride=2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


def mlp() -> nn.Module:
    """Build three Linear layers with a BatchNormalization after each of the first two."""
    return nn.Sequential(
        *(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()),
        *(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU()),
        nn.Linear(32, 10),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(*_conv_bn(channels_in, channels_out, kernel=3, stride=stride), nn.ReLU()),
            *_conv_bn(channels_out, channels_out, kernel=3),
        )
        changes_shape = stride != 1 or channels_in != channels_out
        self.skip = (
            nn.Sequential(*_conv_bn(channels_in, channels_out, kernel=1, stride=stride))
            if changes_shape
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, H / stride, W / stride]."""
        return torch.relu(self.body(x) + self.skip(x))


def train(network: nn.Module, split: Split) -> None:
    """Train in place, in batches of one size, and leave the network in inference mode."""
    images, labels = torch.from_numpy(split.train_images), torch.from_numpy(split.train_labels)
    order = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    network.train()
    for _ in range(EPOCHS):
        shuffled = torch.randperm(len(labels), generator=order)
        for start in range(0, len(shuffled) - BATCH + 1, BATCH):  # a small last batch would disturb the statistics
            chosen = shuffled[start : start + BATCH]
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(images[chosen]), labels[chosen]))
            optimizer.step()
    network.eval()


def _conv_bn(channels_in: int, channels_out: int, *, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    # With bias=False the unoptimized exporter computes a bias of zeros in the graph: Shape, Expand, CastLike, Expand.
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2)
    return convolution, nn.BatchNorm2d(channels_out)
