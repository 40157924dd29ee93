"""What networks end in."""

from __future__ import annotations

from random_graphs.builder import Wire

from random_networks.layers import Net
from random_networks.updown import pixels
from random_networks.wrapping import Block

CLASSES = 5
WIDEST_FLAT = 400


def classifier(net: Net, wire: Wire) -> Wire:
    """Means over space, then linear layers."""
    return _scored(net, net.flat(net.mean_of_space(wire)))


def flat_classifier(net: Net, wire: Wire) -> Wire:
    """All places of all channels side by side; the sizes have to be known."""
    b = net.b
    b.require(b.whole.options.open_axes in ("none", "batch"))
    flat = net.flat(wire)
    b.require(flat.shape[1] <= WIDEST_FLAT)
    return _scored(net, net.norm(flat) if b.chance(0.4) else flat)


def token_mean(net: Net, wire: Wire) -> Wire:
    """Over the tokens of `[N, T, C]`."""
    b, shape = net.b, (wire.shape[0], wire.shape[2])
    if b.opset >= 18:
        mean = b.add("ReduceMean", [wire.name, net.integers([1])], shape, wire.kind, keepdims=0)
    else:
        mean = b.add("ReduceMean", [wire.name], shape, wire.kind, axes=[1], keepdims=0)
    return _scored(net, mean)


def scored(net: Net, wire: Wire) -> Wire:
    """Of `[N, C]`."""
    return _scored(net, wire)


def _scored(net: Net, wire: Wire) -> Wire:
    b = net.b
    if b.chance(0.4):
        hidden = net.dense(wire, int(b.pick(6, 8)))
        wire = net.act(net.norm(hidden) if b.chance(0.8) else hidden)
    scores = net.dense(wire, CLASSES)
    return b.unary("Softmax", scores, axis=1) if b.chance(0.2) else scores


def convolution(net: Net, wire: Wire) -> Wire:
    """A score per place."""
    scores = net.conv(wire, 2, 1)
    return net.b.unary("Sigmoid", scores) if net.b.chance(0.3) else scores


def finer(net: Net, wire: Wire) -> Wire:
    """Twice as many places each way."""
    net.b.require(wire.rank == 4)
    return pixels(net, net.conv(wire, 4), 1)


def nothing(net: Net, wire: Wire) -> Wire:
    return wire


HEADS: dict[str, Block] = {
    "classifier": classifier,
    "flat classifier": flat_classifier,
    "token mean": token_mean,
    "dense": scored,
    "convolution": convolution,
    "pixels": finer,
    "nothing": nothing,
}
