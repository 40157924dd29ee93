"""Conv and ConvTranspose of one to three dimensions."""

from __future__ import annotations

from typing import Any

from random_graphs.builder import Builder, Wire
from random_graphs.numbers import product, vector, weight
from random_graphs.steps import step


def _group(b: Builder, channels: int) -> int:
    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    return int(b.pick(1, 1, channels, b.pick(*divisors)))


@step("Conv")
def conv(b: Builder, wire: Wire) -> Wire:
    b.require(3 <= wire.rank <= 5)
    group = _group(b, wire.shape[1])
    return _conv(b, wire, group * b.number(1, max(1, 6 // group)), group, same=False)


@step("Conv, same", keeps=True)
def conv_same(b: Builder, wire: Wire) -> Wire:
    b.require(3 <= wire.rank <= 5)
    return _conv(b, wire, wire.shape[1], _group(b, wire.shape[1]), same=True)


def _conv(b: Builder, wire: Wire, channels: int, group: int, *, same: bool) -> Wire:
    space, rank = wire.shape[2:], wire.rank - 2
    kernel = [b.number(1, min(3, size + 1)) for size in space]
    strides = [1 if same else b.pick(1, 1, 2) for _ in space]
    dilations = [b.pick(1, 1, 2) for _ in space]
    attributes, total = _pads(b, space, kernel, strides, dilations, same=same)
    sizes = [
        (size + pad - d * (k - 1) - 1) // s + 1
        for size, pad, k, s, d in zip(space, total, kernel, strides, dilations, strict=True)
    ]
    if attributes.get("auto_pad", "").startswith("SAME"):
        sizes = [-(-size // s) for size, s in zip(space, strides, strict=True)]
    b.require(min(sizes) >= 1)
    shape = (channels, wire.shape[1] // group, *kernel)
    inputs = [wire.name, weight(b, *shape, terms=product(shape[1:]), kind=wire.kind)]
    inputs += [vector(b, channels, kind=wire.kind)] if b.chance(0.5) else []
    if any(s > 1 for s in strides) or b.chance(0.3):
        attributes["strides"] = strides
    if any(d > 1 for d in dilations):
        attributes["dilations"] = dilations
    if group > 1:
        attributes["group"] = group
    if b.chance(0.5):
        attributes["kernel_shape"] = kernel
    assert rank == len(kernel)
    return b.add("Conv", inputs, (wire.shape[0], channels, *sizes), wire.kind, **attributes)


def _pads(
    b: Builder, space: tuple[int, ...], kernel: list[int], strides: list[int], dilations: list[int], *, same: bool
) -> tuple[dict[str, Any], list[int]]:
    """The attributes, and how much wider each axis becomes."""
    needed = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    auto = str(b.pick("SAME_UPPER", "SAME_LOWER", "VALID"))
    # SAME with dilations is another number of pads in some runtimes.
    if b.chance(0.15) and not (auto != "VALID" and any(d > 1 for d in dilations)) and not (same and auto == "VALID"):
        return {"auto_pad": auto}, [0] * len(space)
    if same:
        front = [b.number(0, n) for n in needed]
        back = [n - f for n, f in zip(needed, front, strict=True)]
    elif b.chance(0.4):
        return {}, [0] * len(space)
    else:
        front, back = ([b.number(0, 2) for _ in space] for _ in range(2))
    if any(front + back) or b.chance(0.3):
        return {"pads": front + back}, [f + e for f, e in zip(front, back, strict=True)]
    return {}, [0] * len(space)


@step("ConvTranspose")
def conv_transpose(b: Builder, wire: Wire) -> Wire:
    b.require(3 <= wire.rank <= 5)
    space, inner, group = wire.shape[2:], wire.shape[1], _group(b, wire.shape[1])
    per_group = b.number(1, max(1, 4 // group))
    kernel, strides = ([b.number(1, 3) for _ in space], [b.pick(1, 1, 2) for _ in space])
    dilations = [b.pick(1, 1, 1, 2) for _ in space]
    cut = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    front, back = ([b.pick(0, 0, b.number(0, c), c) for c in cut] for _ in range(2))
    extra = [b.number(0, s - 1) if b.chance(0.3) else 0 for s in strides]
    sizes = [
        (n - 1) * s + c + 1 - f - e + x
        for n, s, c, f, e, x in zip(space, strides, cut, front, back, extra, strict=True)
    ]
    b.require(min(sizes) >= 1)
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": front + back}
    if any(extra):
        attributes["output_padding"] = extra
    if group > 1:
        attributes["group"] = group
    terms = max(1, inner // group * product(kernel) // product(strides))
    inputs = [wire.name, weight(b, inner, per_group, *kernel, terms=terms, kind=wire.kind)]
    inputs += [vector(b, per_group * group, kind=wire.kind)] if b.chance(0.5) else []
    return b.add("ConvTranspose", inputs, (wire.shape[0], per_group * group, *sizes), wire.kind, **attributes)


@step("twins", keeps=True)
def twins(b: Builder, wire: Wire) -> Wire:
    """Two convolutions with one weight and one bias, of which one is normalized."""
    b.require(3 <= wire.rank <= 5)
    channels, space = wire.shape[1], wire.rank - 2
    inputs = [wire.name, weight(b, channels, channels, *[1] * space, terms=channels, kind=wire.kind)]
    inputs += [vector(b, channels, kind=wire.kind)] if b.chance(0.5) else []
    left, right = (b.add("Conv", inputs, wire.shape, wire.kind) for _ in range(2))
    shape = [channels] + [1] * space
    scaled = b.add(str(b.pick("Mul", "Add")), [right.name, vector(b, *shape, kind=wire.kind)], wire.shape, wire.kind)
    return b.add(str(b.pick("Add", "Sub")), [left.name, scaled.name], wire.shape, wire.kind)


@step("DeformConv")
def deformed(b: Builder, wire: Wire) -> Wire:
    """Taps that lie elsewhere, beyond the border too, and count less at times."""
    b.require(wire.rank == 4 and b.opset >= 19 and min(wire.shape[2:]) >= 2 and product(wire.shape) <= 200)
    batch, channels, height, width = wire.shape
    group, out = _group(b, channels), b.number(1, 3)
    taps, shape = 2 * 2, (batch, group * out, height - 1, width - 1)
    inputs = [
        wire.name,
        weight(b, shape[1], channels // group, 2, 2, terms=channels * taps // group, kind=wire.kind),
        vector(b, batch, 2 * taps, *shape[2:], kind=wire.kind),
    ]
    inputs += [vector(b, shape[1], kind=wire.kind)] if b.chance(0.6) else [""]
    inputs += [vector(b, batch, taps, *shape[2:], kind=wire.kind)] if b.chance(0.4) else []
    return b.add("DeformConv", inputs, shape, wire.kind, group=group, kernel_shape=[2, 2])


@step("Conv, weight computed")
def conv_dynamic(b: Builder, wire: Wire) -> Wire:
    """A convolution whose weight is the mean of a value: no constant."""
    b.require(3 <= wire.rank <= 5 and b.opset >= 9)
    channels = wire.shape[1]
    kernel = [1] * (wire.rank - 2)
    seed = b.add("GlobalAveragePool", [wire.name], (*wire.shape[:2], *kernel), wire.kind)
    once = b.add("ReduceMax", [seed.name], (1, channels, *kernel), wire.kind, axes=[0]) if b.opset < 18 else None
    if once is None:
        once = b.add("ReduceMax", [seed.name, b.integers([0])], (1, channels, *kernel), wire.kind)
    return b.add("Conv", [wire.name, once.name], (wire.shape[0], 1, *wire.shape[2:]), wire.kind)
