"""Blocks on `[N, T, C]` and `[N, C]`: attention, mixers and multilayer perceptrons, all with BatchNormalizations."""

from __future__ import annotations

import numpy as np
from random_graphs.builder import Wire
from random_graphs.numbers import constant

from random_networks.layers import Net

HEADS = 2


def as_tokens(net: Net, wire: Wire) -> Wire:
    """`[N, C, ...]` as `[N, T, C]`, cut into patches by a convolution first at times."""
    b = net.b
    channels = int(b.pick(4, 8))
    stride = 2 if min(wire.shape[2:]) >= 4 else 1
    patches = net.conv(wire, channels, 3, stride=stride)
    patches = net.norm(patches) if b.chance(0.6) else patches
    places = int(np.prod(patches.shape[2:]))
    row = net.reshaped(patches, [0, channels, -1], (wire.shape[0], channels, places))
    return net.transposed(row, (0, 2, 1))


def attention(net: Net, wire: Wire) -> Wire:
    """Self-attention and a feed-forward network, each with its input added and a normalization somewhere."""
    b = net.b
    first = b.chance(0.5)
    body = _attended(net, net.norm_last(wire) if first else wire)
    wire = net.both("Add", wire, body)
    wire = wire if first else net.norm_last(wire)
    wire = net.both("Add", wire, _feed_forward(net, net.norm_last(wire) if first else wire))
    return net.norm_last(wire) if not first or b.chance(0.3) else wire


def _attended(net: Net, wire: Wire) -> Wire:
    b, (n, places, channels) = net.b, wire.shape
    b.require(channels % HEADS == 0)
    width = channels // HEADS
    split = [n, places, HEADS, width]
    queries, keys, values = (
        net.transposed(net.reshaped(net.dense(wire, channels), [0, -1, HEADS, width], split), perm)
        for perm in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))
    )
    scores = b.add("MatMul", [queries.name, keys.name], (n, HEADS, places, places), wire.kind)
    root = constant(b, np.asarray(width**0.5), wire.kind)
    weights = b.unary("Softmax", b.add("Div", [scores.name, root], scores.shape, wire.kind), axis=3)
    mixed = b.add("MatMul", [weights.name, values.name], (n, HEADS, places, width), wire.kind)
    back = net.reshaped(net.transposed(mixed, (0, 2, 1, 3)), [0, -1, channels], wire.shape)
    return net.dense(back, channels)


def _feed_forward(net: Net, wire: Wire) -> Wire:
    hidden = net.dense(wire, 2 * wire.shape[-1])
    if net.b.chance(0.5):
        hidden = net.norm_last(hidden)
    return net.dense(_act(net, hidden), wire.shape[-1])


def _act(net: Net, wire: Wire) -> Wire:
    """A PRelu would have a slope per place here."""
    return net.b.unary("Relu", wire) if net.style.activation == "PRelu" else net.act(wire)


def mixer(net: Net, wire: Wire) -> Wire:
    """A perceptron along the tokens, then one along the channels."""
    net.b.require(net.b.whole.options.open_axes in ("none", "batch"))
    swapped = net.transposed(net.norm_last(wire), (0, 2, 1))
    along = net.transposed(_feed_forward_plain(net, swapped), (0, 2, 1))
    wire = net.both("Add", wire, along)
    return net.both("Add", wire, _feed_forward(net, net.norm_last(wire)))


def _feed_forward_plain(net: Net, wire: Wire) -> Wire:
    return net.dense(net.b.unary("Relu", net.dense(wire, 6)), wire.shape[-1])


def perceptron(net: Net, wire: Wire) -> Wire:
    """Linear, normalization, activation on `[N, C]`, with its input added at times."""
    b = net.b
    width = wire.shape[1] if b.chance(0.4) else int(b.pick(6, 8, 12))
    if net.style.order in ("norm-act-conv", "norm-conv-act"):
        made = net.dense(net.act(net.norm(wire)), width)
    elif net.style.order == "conv-act-norm":
        made = net.norm(net.act(net.dense(wire, width)))
    else:
        made = net.act(net.norm(net.dense(wire, width)))
    return net.both("Add", wire, made) if made.shape == wire.shape and b.chance(0.5) else made
