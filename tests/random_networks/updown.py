"""Encoder and decoder: down by pools or strides, up by ConvTranspose, Resize or DepthToSpace, with skips."""

from __future__ import annotations

from random_graphs.builder import Wire

from random_networks.layers import Net


def u_net(net: Net, wire: Wire) -> Wire:
    """One or two levels down and up again."""
    levels = 2 if all(size % 4 == 0 for size in wire.shape[2:]) and net.b.chance(0.5) else 1
    return _level(net, wire, levels)


def _level(net: Net, wire: Wire, levels: int) -> Wire:
    b, channels = net.b, wire.shape[1]
    if levels == 0 or any(size % 2 for size in wire.shape[2:]):
        return net.unit(wire, channels)
    skip = net.unit(wire, channels)
    down = net.pool(skip) if b.chance(0.6) else net.unit(skip, channels, stride=2)
    b.require(all(2 * low == high for low, high in zip(down.shape[2:], skip.shape[2:], strict=True)))
    raised = up(net, _level(net, net.unit(down, min(16, 2 * channels)), levels - 1), channels)
    if b.chance(0.6):
        return net.unit(net.joined([skip, raised]), channels)
    return net.unit(net.both("Add", skip, raised), channels)


def up(net: Net, wire: Wire, channels: int) -> Wire:
    """Twice the size, normalized mostly."""
    b = net.b
    way = str(b.pick("ConvTranspose", "ConvTranspose", "Resize", "Resize", "DepthToSpace"))
    if way == "DepthToSpace" and wire.rank == 4:
        made = pixels(net, net.conv(wire, 4 * channels), channels)
    elif way == "Resize" and wire.rank <= 4:
        made = net.conv(net.upsampled(wire), channels, 3)
    else:
        made = net.conv_transpose(wire, channels)
    return net.act(net.norm(made)) if b.chance(0.8) else made


def pixels(net: Net, wire: Wire, channels: int) -> Wire:
    """Four channels to a square of four places."""
    n, _, height, width = wire.shape
    shape = (n, channels, 2 * height, 2 * width)
    mode = "CRD" if net.b.opset >= 11 and net.b.chance(0.6) else None
    return net.b.add("DepthToSpace", [wire.name], shape, wire.kind, blocksize=2, mode=mode)
