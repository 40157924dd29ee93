"""Pools and reductions."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from random_graphs.builder import Builder, Wire
from random_graphs.steps import step


def _window(b: Builder, wire: Wire, *, dilated: bool) -> tuple[dict[str, Any], list[int]]:
    """The attributes, and the sizes behind the pool."""
    b.require(3 <= wire.rank <= 5)
    space = wire.shape[2:]
    kernel = [b.number(1, min(3, size)) for size in space]
    strides = [b.pick(1, 1, 2) for _ in space]
    dilations = [b.pick(1, 2) if dilated else 1 for _ in space]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    if any(d > 1 for d in dilations):
        attributes["dilations"] = dilations
    elif b.chance(0.1):
        auto = str(b.pick("SAME_UPPER", "SAME_LOWER", "VALID"))
        sizes = [-(-(n if auto != "VALID" else n - r + 1) // s) for n, r, s in zip(space, reach, strides, strict=True)]
        return attributes | {"auto_pad": auto}, sizes
    padded = b.chance(0.5)
    front, back = ([b.number(0, k - 1) if padded else 0 for k in kernel] for _ in range(2))
    if any(front + back) or b.chance(0.2):
        attributes["pads"] = front + back
    room = [n + f + e - r for n, f, e, r in zip(space, front, back, reach, strict=True)]
    b.require(min(room) >= 0)
    ceil = b.opset >= 10 and b.chance(0.25)
    sizes = [-(-r // s) + 1 if ceil else r // s + 1 for r, s in zip(room, strides, strict=True)]
    # Runtimes differ in what a window that starts behind the input is.
    starts_inside = all((o - 1) * s < n + f for o, s, n, f in zip(sizes, strides, space, front, strict=True))
    if ceil and starts_inside:
        return attributes | {"ceil_mode": 1}, sizes
    return attributes, [r // s + 1 for r, s in zip(room, strides, strict=True)]


@step("MaxPool")
def max_pool(b: Builder, wire: Wire) -> Wire:
    b.require(wire.kind != TensorProto.BFLOAT16 or b.opset >= 22)
    attributes, sizes = _window(b, wire, dilated=b.opset >= 10 and b.chance(0.2))
    shape = (*wire.shape[:2], *sizes)
    if b.opset < 8 or not b.chance(0.1) or b.outer is not None or b.in_function:
        return b.add("MaxPool", [wire.name], shape, wire.kind, **attributes)
    pooled, places = b.add_many("MaxPool", [wire.name], [shape, shape], wire.kind, **attributes)
    b.outputs.append(Wire(places.name, shape, TensorProto.INT64))
    return pooled


@step("AveragePool")
def average_pool(b: Builder, wire: Wire) -> Wire:
    attributes, sizes = _window(b, wire, dilated=b.opset >= 19 and b.chance(0.2))
    if b.chance(0.5):
        attributes["count_include_pad"] = b.number(0, 1)
    return b.add("AveragePool", [wire.name], (*wire.shape[:2], *sizes), wire.kind, **attributes)


@step("LpPool")
def lp_pool(b: Builder, wire: Wire) -> Wire:
    attributes, sizes = _window(b, wire, dilated=b.opset >= 18 and b.chance(0.2))
    b.require("ceil_mode" not in attributes)
    attributes["p"] = b.number(1, 3)
    return b.add("LpPool", [wire.name], (*wire.shape[:2], *sizes), wire.kind, **attributes)


@step("global pool")
def global_pool(b: Builder, wire: Wire) -> Wire:
    b.require(3 <= wire.rank <= 5)
    op_type = str(b.pick("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"))
    attributes = {"p": b.number(1, 3)} if op_type == "GlobalLpPool" else {}
    return b.add(op_type, [wire.name], (*wire.shape[:2], *[1] * (wire.rank - 2)), wire.kind, **attributes)


@step("reduction")
def reduction(b: Builder, wire: Wire) -> Wire:
    """Over any axes, the channels among them now and then, kept as ones or not."""
    b.require(wire.rank >= 2)
    op_type = str(b.pick("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"))
    candidates = [k for k in range(wire.rank) if k >= 2 or b.chance(0.2)]
    axes = [k for k in candidates if b.chance(0.6)]
    keep = b.number(0, 1)
    b.require(bool(axes) and (keep == 1 or len(axes) < wire.rank))
    shape = [1 if k in axes else n for k, n in enumerate(wire.shape) if keep or k not in axes]
    if b.whole.options.open_batch:
        b.require(0 not in axes)  # the first size stays the open one
    stated = [k - wire.rank if b.opset >= 11 and b.chance(0.3) else k for k in axes]
    attributes: dict[str, Any] = {} if keep and b.chance(0.5) else {"keepdims": keep}
    since = 13 if op_type == "ReduceSum" else 18
    inputs = [wire.name, b.integers(stated)] if b.opset >= since else [wire.name]
    if b.opset < since:
        attributes["axes"] = stated
    return b.add(op_type, inputs, shape, wire.kind, **attributes)


@step("reduction of everything kept", keeps=True)
def no_reduction(b: Builder, wire: Wire) -> Wire:
    """An empty list of axes that means none."""
    b.require(b.opset >= 18)
    return b.add(
        str(b.pick("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")),
        [wire.name, b.integers([])],
        wire.shape,
        wire.kind,
        noop_with_empty_axes=1,
    )
