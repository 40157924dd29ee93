"""Blocks of networks on `[N, C, ...]`, of one to three dimensions: residual, dense, inception, inverted, shuffled."""

from __future__ import annotations

from random_graphs.builder import Wire

from random_networks.layers import Net

WIDEST = 20


def plain(net: Net, wire: Wire) -> Wire:
    """A unit or two, then a pool at times (VGG)."""
    channels = _wider(net, wire)
    for _ in range(net.b.number(1, 2)):
        wire = net.unit(wire, channels)
    return _smaller(net, wire) if net.b.chance(0.2) else wire


def residual(net: Net, wire: Wire) -> Wire:
    """What a basic, a bottleneck or a depthwise body computes, added to its input or a projection of that."""
    b = net.b
    stride = 2 if min(wire.shape[2:]) >= 4 and b.chance(0.15) else 1
    channels = _wider(net, wire) if stride > 1 or b.chance(0.15) else wire.shape[1]
    if b.chance(0.5):
        body = net.unit(net.unit(wire, channels, stride=stride), channels, acts=b.chance(0.3))
    else:
        narrow = max(2, channels // 2)
        body = net.unit(net.unit(wire, narrow, 1), narrow, stride=stride)
        body = net.unit(body, channels, 1, acts=b.chance(0.3))
    shortcut = wire
    if body.shape != wire.shape:
        projected = net.conv(wire, channels, 1, stride=stride)
        shortcut = net.norm(projected) if b.chance(0.8) else projected
    b.require(shortcut.shape == body.shape)
    total = net.both("Add", body, shortcut) if b.chance(0.5) else net.both("Add", shortcut, body)
    total = net.norm(total) if b.chance(0.2) else total
    return net.act(total) if b.chance(0.7) else total


def dense(net: Net, wire: Wire) -> Wire:
    """A layer whose output goes beside its input; where that gets wide, a transition."""
    growth = net.b.number(2, 4)
    made = net.act(net.norm(wire))
    if net.b.chance(0.6):
        made = net.act(net.norm(net.conv(made, 2 * growth, 1)))
    wire = net.joined([wire, net.conv(made, growth)])
    if wire.shape[1] < WIDEST:
        return wire
    narrowed = net.conv(net.act(net.norm(wire)), WIDEST // 3, 1)
    return _smaller(net, narrowed) if net.b.chance(0.4) else narrowed


def inception(net: Net, wire: Wire) -> Wire:
    """Two to four branches side by side; normalized each, or all at once behind the Concat."""
    b = net.b
    sizes = [b.number(2, 4) for _ in range(4)]
    branches = [net.unit(wire, sizes[0], 1), net.unit(net.unit(wire, sizes[1], 1), sizes[1])]
    if b.chance(0.5):
        deep = net.unit(wire, sizes[2], 1)
        branches.append(net.unit(net.unit(deep, sizes[2]), sizes[2]))
    if b.chance(0.5) and min(wire.shape[2:]) >= 3:
        branches.append(net.unit(net.pool(wire, 3, 1), sizes[3], 1))
    joined = net.joined(branches)
    return net.act(net.norm(joined)) if b.chance(0.35) else joined


def inverted(net: Net, wire: Wire) -> Wire:
    """Wider by 1x1, depthwise, squeezed and excited at times, narrower by 1x1 (MobileNet, EfficientNet)."""
    b = net.b
    stride = 2 if min(wire.shape[2:]) >= 4 and b.chance(0.15) else 1
    channels = _wider(net, wire) if b.chance(0.2) else wire.shape[1]
    wide = min(WIDEST, int(b.pick(1, 2, 3)) * wire.shape[1])
    made = net.unit(wire, wide, 1) if wide > wire.shape[1] else wire
    wide = made.shape[1]
    made = net.unit(made, wide, int(b.pick(3, 3, 5)), stride=stride, group=wide)
    if b.chance(0.45):
        made = excited(net, made)
    made = net.norm(net.conv(made, channels, 1))
    return net.both("Add", made, wire) if made.shape == wire.shape else made


def excited(net: Net, wire: Wire) -> Wire:
    """Each channel times what a small network makes of the means of all (squeeze and excitation)."""
    b, narrow = net.b, max(1, wire.shape[1] // 2)
    small = net.conv(net.mean_of_space(wire), narrow, 1)
    small = net.act(net.norm(small) if b.chance(0.3) else small)
    gate = b.unary(str(b.pick("Sigmoid", "HardSigmoid")), net.conv(small, wire.shape[1], 1))
    return net.both("Mul", wire, gate)


def shuffled(net: Net, wire: Wire) -> Wire:
    """Half of the channels through a depthwise branch, then both halves mixed (ShuffleNet v2)."""
    b, channels = net.b, wire.shape[1]
    b.require(channels % 2 == 0 and channels >= 4)
    half = channels // 2
    pieces = _halves(net, wire)
    branch = net.unit(net.norm(net.conv(net.unit(pieces[1], half, 1), half, group=half)), half, 1)
    joined = net.joined([pieces[0], branch])
    b.require(not b.whole.options.open_batch or b.whole.options.open_axes == "batch")
    space = list(wire.shape[2:])
    b.require(len(space) <= 2)
    split = net.reshaped(joined, [0, 2, half, *space], [wire.shape[0], 2, half, *space])
    mixed = net.transposed(split, (0, 2, 1, *range(3, 3 + len(space))))
    return net.reshaped(mixed, [0, channels, *space], wire.shape)


def _halves(net: Net, wire: Wire) -> list[Wire]:
    b, half = net.b, wire.shape[1] // 2
    shapes = [(wire.shape[0], half, *wire.shape[2:])] * 2
    if b.opset < 13:
        return b.add_many("Split", [wire.name], shapes, wire.kind, axis=1, split=[half, half])
    return b.add_many("Split", [wire.name, net.integers([half, half])], shapes, wire.kind, axis=1)


def _wider(net: Net, wire: Wire) -> int:
    """How many channels the next unit has."""
    return int(net.b.pick(wire.shape[1], min(WIDEST, 2 * wire.shape[1]), 4, 6, 8))


def _smaller(net: Net, wire: Wire) -> Wire:
    """Pooled, where there is room."""
    return net.pool(wire) if min(wire.shape[2:]) >= 2 else wire
