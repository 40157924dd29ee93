"""The families of networks: what each is made of, block after block."""

from __future__ import annotations

from dataclasses import dataclass

from random_graphs.builder import Wire

from random_networks.heads import HEADS
from random_networks.images import dense, inception, inverted, plain, residual, shuffled
from random_networks.layers import Net
from random_networks.sequences import recurrent
from random_networks.tokens import as_tokens, attention, mixer, perceptron
from random_networks.updown import u_net
from random_networks.wrapping import Block


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        ranks: of the input.
        stem: what comes first.
        block: what comes then, again and again.
        heads: names of what may come last.
    """

    ranks: tuple[int, ...]
    stem: Block
    block: Block
    heads: tuple[str, ...] = ("classifier", "flat classifier", "convolution", "nothing")


def _unit(net: Net, wire: Wire) -> Wire:
    """A convolution, then a pool at times."""
    wire = net.unit(wire, int(net.b.pick(4, 6, 8)))
    return net.pool(wire, 3, 2) if min(wire.shape[2:]) >= 6 and net.b.chance(0.3) else wire


def _normalized(net: Net, wire: Wire) -> Wire:
    """The input itself is normalized (as in networks for tables)."""
    return net.norm(wire) if net.b.chance(0.5) else wire


IMAGES = (4, 4, 4, 4, 3, 5)
FAMILIES: dict[str, Family] = {
    "plain": Family(IMAGES, _unit, plain),
    "residual": Family(IMAGES, _unit, residual),
    "dense": Family(IMAGES, _unit, dense),
    "inception": Family(IMAGES, _unit, inception),
    "inverted": Family(IMAGES, _unit, inverted),
    "shuffled": Family((4, 4, 3), _unit, shuffled),
    "encoder-decoder": Family((4, 4, 3, 5), _unit, u_net, ("convolution", "pixels", "nothing")),
    "attention": Family((4, 3), as_tokens, attention, ("token mean", "nothing")),
    "mixer": Family((4, 3), as_tokens, mixer, ("token mean", "nothing")),
    "perceptron": Family((2,), _normalized, perceptron, ("dense", "nothing")),
    "recurrent": Family((3,), _unit, recurrent, ("classifier", "convolution", "nothing")),
}

assert all(name in HEADS for family in FAMILIES.values() for name in family.heads)
