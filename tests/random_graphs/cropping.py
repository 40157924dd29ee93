"""Operators that take a part of a value, put a border around it, or sample it anew."""

from __future__ import annotations

from typing import Any

import numpy as np

from random_graphs.builder import Builder, Wire
from random_graphs.numbers import constant, product
from random_graphs.steps import step

FAR = 2**31 - 1


@step("Slice")
def slice_(b: Builder, wire: Wire) -> Wire:
    """Along some axes, the channels among them; backwards and in steps from opset 10 on."""
    low = 1 if b.whole.options.open_batch else 0
    axes = [k for k in range(low, wire.rank) if b.chance(0.5)]
    b.require(bool(axes))
    parts = [_part(b, wire.shape[k]) for k in axes]
    shape = list(wire.shape)
    for axis, part in zip(axes, parts, strict=True):
        shape[axis] = len(range(wire.shape[axis])[slice(*part)])
    b.require(min(shape) >= 1)
    # A start beyond the first element, counted from the end, means the same in every step
    starts, ends, steps = ([part[k] for part in parts] for k in range(3))
    stated = [k - wire.rank if b.opset >= 10 and b.chance(0.3) else k for k in axes]
    if b.opset < 10:
        return b.add("Slice", [wire.name], shape, wire.kind, starts=starts, ends=ends, axes=stated)
    inputs = [wire.name, *(b.integers(v) for v in (starts, ends, stated))]
    inputs += [b.integers(steps)] if any(s != 1 for s in steps) or b.chance(0.5) else []
    return b.add("Slice", inputs, shape, wire.kind)


def _part(b: Builder, size: int) -> tuple[int, int, int]:
    start = b.number(0, size - 1)
    if b.opset >= 10 and b.chance(0.25):
        return (b.pick(-1, FAR, start), -FAR, -b.number(1, 2))
    step_ = b.number(1, 2) if b.opset >= 10 else 1
    end = int(b.pick(FAR, b.number(start + 1, size)))
    return (start - size if start and b.chance(0.3) else start, end, step_)


@step("Pad")
def pad(b: Builder, wire: Wire) -> Wire:
    """In every mode; the channels are padded now and then."""
    b.require(wire.rank >= 2)
    mode = str(b.pick("constant", "constant", "reflect", "edge", *(["wrap"] if b.opset >= 19 else [])))
    spatial = range(min(2, wire.rank - 1), wire.rank)
    axes = [k for k in range(1, wire.rank) if (k in spatial and b.chance(0.7)) or b.chance(0.1)]
    b.require(bool(axes))
    most = {k: wire.shape[k] - 1 if mode == "reflect" else wire.shape[k] if mode == "wrap" else 2 for k in axes}
    before, after = ({k: b.number(0, min(2, most[k])) for k in axes} for _ in range(2))
    shape = [n + before.get(k, 0) + after.get(k, 0) for k, n in enumerate(wire.shape)]
    some_axes = b.opset >= 18 and b.chance(0.4)
    places = axes if some_axes else list(range(wire.rank))
    pads = [side.get(k, 0) for side in (before, after) for k in places]
    border = float(b.pick(0.0, 0.75, -1.25)) if mode == "constant" and b.chance(0.6) else None
    attributes: dict[str, Any] = {} if mode == "constant" and b.chance(0.5) else {"mode": mode}
    if b.opset < 11:
        return b.add("Pad", [wire.name], shape, wire.kind, pads=pads, value=border, **attributes)
    inputs = [wire.name, b.integers(pads)]
    inputs += [constant(b, np.asarray(border), wire.kind)] if border is not None else []
    if some_axes:
        inputs += [""] * (3 - len(inputs)) + [b.integers(axes)]
    return b.add("Pad", inputs, shape, wire.kind, **attributes)


@step("Resize")
def resize(b: Builder, wire: Wire) -> Wire:
    """Of space, by factors or to sizes; Upsample before there was Resize."""
    b.require(wire.rank in (3, 4) and product(wire.shape) <= 400)
    factors = [1, 1, *(b.pick(1, 2, 2, 3) for _ in wire.shape[2:])]
    shape = [n * f for n, f in zip(wire.shape, factors, strict=True)]
    scales = np.asarray(factors, np.float32)
    if b.opset < 9:
        return b.add("Upsample", [wire.name], shape, wire.kind, scales=[float(f) for f in factors], mode="nearest")
    if b.opset < 11:
        op_type = "Upsample" if b.opset < 10 else "Resize"
        return b.add(op_type, [wire.name, b.stored(scales)], shape, wire.kind, mode="nearest")
    return _resize(b, wire, shape, scales)


def _resize(b: Builder, wire: Wire, shape: list[int], scales: np.ndarray) -> Wire:
    mode = str(b.pick("nearest", "nearest", "linear", "cubic"))
    b.require(wire.rank == 4 or mode != "cubic")
    attributes: dict[str, Any] = {"mode": mode}
    if b.chance(0.6):
        choices = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
        attributes["coordinate_transformation_mode"] = str(b.pick(*choices))
    if mode == "cubic" and b.chance(0.4):
        attributes["exclude_outside"] = 1
    region = b.stored(np.zeros(0, np.float32))
    roi = "" if b.opset >= 13 else region
    if b.opset >= 18 and b.chance(0.3):
        axes = list(range(2, wire.rank))
        return b.add("Resize", [wire.name, "", "", b.integers(shape[2:])], shape, wire.kind, axes=axes, **attributes)
    if b.chance(0.4) and not b.whole.options.open_batch:
        inputs = [wire.name, roi, "" if b.opset >= 13 else region, b.integers(shape)]
        return b.add("Resize", inputs, shape, wire.kind, **attributes)
    return b.add("Resize", [wire.name, roi, b.stored(scales)], shape, wire.kind, **attributes)
