"""An affine behind a Concat, with several readers, on a graph input, between two barriers, in dense layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto
from residual_chains import BOUND, PADS, Size, border_map
from residual_net import (
    Array,
    Laid,
    Net,
    Numbers,
    Written,
    add_only,
    add_shift,
    channels_first,
    channels_last,
    max_only,
    mul_add,
    normalization,
    nothing,
    numbers,
    sub_mul_add,
    weights,
)


def _conv(net: Net, wire: str, weight: Array, bias: Array) -> str:
    return net.add("Conv", wire, weight, bias, pads=PADS)


def _bias(channels: int, seed: int) -> Array:
    return weights(channels, 1, 1, seed=seed).reshape(-1)


def _image(size: Size) -> tuple[int, ...]:
    return size.batch, size.channels[0], size.height, size.height


@dataclass(frozen=True)
class _Joined:
    """A form around a Concat: what each branch and what follows takes of the affine."""

    behind: Written = nothing
    branch: Written = nothing
    folded: bool = False  # the branch without a Relu takes its part of the affine
    scaled: bool = False  # the branch with a Relu takes the scale, which passes it
    shifted: bool = False  # the branch with a Relu takes the shift too, and a Max stands for the Relu
    second: bool = False  # the Conv behind takes the scale


JOINED = {
    "BN": _Joined(behind=normalization),
    "BN, fewer": _Joined(branch=normalization, folded=True),
    "Mul, Add": _Joined(behind=mul_add),
    "Mul, Add, fewer": _Joined(branch=mul_add, folded=True),
    "Add": _Joined(behind=add_only, second=True),
    "Add, fewer": _Joined(branch=add_shift, folded=True, scaled=True),
    "Max, fewer": _Joined(branch=max_only, folded=True, scaled=True, shifted=True),
    BOUND: _Joined(second=True),
}


def joined(size: Size) -> dict[str, ModelProto]:
    """Conv and Conv-Relu, Concat, affine, padded Conv; fewer: on the branch with the Relu alone."""
    return {name: _joined(form, size) for name, form in JOINED.items()}


def _joined(form: _Joined, size: Size) -> ModelProto:
    inner, middle, outer = size.channels
    net, affine = Net(), numbers(2 * middle)
    parts = affine.part(0, middle), affine.part(middle, 2 * middle)
    linear = _taking(middle, inner, 1, parts[0], scale=form.folded, shift=form.folded)
    bent = _taking(middle, inner, 2, parts[1], scale=form.scaled, shift=form.shifted)
    branches = [_conv(net, "x", *linear), _conv(net, "x", *bent)]
    if not form.shifted:
        branches[1] = net.add("Relu", branches[1])
    branches[1] = form.branch(net, branches[1], parts[1], channels_first)
    wire = form.behind(net, net.add("Concat", *branches, axis=1), affine, channels_first)
    weight = weights(outer, 2 * middle, 3, 3, seed=3)
    if form.second:
        weight = weight * affine.scale.reshape(1, -1, 1, 1)
    return net.model(_image(size), _conv(net, wire, weight, _bias(outer, 4)))


def _taking(outer: int, inner: int, seed: int, affine: Numbers, *, scale: bool, shift: bool) -> tuple[Array, Array]:
    """Weight and bias of a Conv that takes the scale, and the shift, of an affine behind it."""
    weight, bias = weights(outer, inner, 3, 3, seed=seed), _bias(outer, 10 + seed)
    if scale:
        weight, bias = weight * affine.scale.reshape(-1, 1, 1, 1), bias * affine.scale
    return weight, bias + affine.shift if shift else bias


def in_a_dense_block(size: Size) -> dict[str, ModelProto]:
    """MaxPool and a 1x1 Conv behind it, Concat, affine, Relu, 1x1 Conv; fewer: the first Conv takes its part."""
    return {name: _in_a_dense_block(size, fewer=name != "BN") for name in ("BN", "BN, fewer")}


def _in_a_dense_block(size: Size, *, fewer: bool) -> ModelProto:
    old, new, outer = size.channels
    net, affine = Net(), numbers(old + new)
    part = affine.part(old, old + new)
    wire = net.add("MaxPool", "x", kernel_shape=[1, 1])  # the cheapest way into the layout between convolutions
    weight, bias = weights(new, old, 1, 1, seed=1), _bias(new, 2)
    if fewer:
        weight, bias = weight * part.scale.reshape(-1, 1, 1, 1), bias * part.scale + part.shift
    grown = net.add("Conv", wire, weight, bias)
    if fewer:
        wire = net.add("Concat", normalization(net, wire, affine.part(0, old), channels_first), grown, axis=1)
    else:
        wire = normalization(net, net.add("Concat", wire, grown, axis=1), affine, channels_first)
    return net.model(_image(size), net.add("Conv", net.add("Relu", wire), weights(outer, old + new, 1, 1, seed=3)))


READ: dict[str, tuple[Written, bool, bool, bool]] = {
    # form: (what is written, the Conv in front takes the affine, those behind the scale, each gets a border map)
    "BN": (normalization, False, False, False),
    "Mul, Add": (mul_add, False, False, False),
    "Add": (add_only, False, True, False),
    "Max": (max_only, True, False, False),
    "border map": (nothing, False, True, True),
    BOUND: (nothing, False, True, False),
}
READERS = 3


def several_readers(size: Size) -> dict[str, ModelProto]:
    """Conv-Relu, affine, three padded Convs that read it, their outputs joined."""
    return {name: _several(name, size) for name in READ}


def _several(name: str, size: Size) -> ModelProto:
    written, first, second, border = READ[name]
    inner, middle, outer = size.channels
    net, affine = Net(), numbers(middle)
    wire = _conv(net, "x", *_taking(middle, inner, 1, affine, scale=first, shift=first))
    wire = written(net, wire if first else net.add("Relu", wire), affine, channels_first)
    outputs = []
    for reader in range(READERS):
        weight = weights(outer, middle, 3, 3, seed=20 + reader)
        constant = border_map(weight, affine.shift, size.height, 1)[None]  # [1, O, H, W]
        if second:
            weight = weight * affine.scale.reshape(1, -1, 1, 1)
        output = _conv(net, wire, weight, _bias(outer, 30 + reader))
        outputs.append(net.add("Add", output, constant) if border else output)
    return net.model(_image(size), net.add("Concat", *outputs, axis=1))


FED = {
    "BN": (normalization, False, False),
    "Mul, Add": (mul_add, False, False),
    "Sub, Mul, Add": (sub_mul_add, False, False),
    "Add": (add_only, True, False),
    "border map": (nothing, True, True),
    BOUND: (nothing, True, False),
}


def on_an_input(size: Size) -> dict[str, ModelProto]:
    """The affine on the graph input, padded Conv, Relu: what prepares an image, or a network that begins with a BN."""
    return {name: _fed(name, size) for name in FED}


def _fed(name: str, size: Size) -> ModelProto:
    written, second, border = FED[name]
    inner, outer, _ = size.channels
    net, affine = Net(), numbers(inner)
    wire = written(net, "x", affine, channels_first)
    weight = weights(outer, inner, 3, 3, seed=1)
    constant = border_map(weight, affine.shift, size.height, 1)[None]  # [1, O, H, W]
    if second:
        weight = weight * affine.scale.reshape(1, -1, 1, 1)
    wire = _conv(net, wire, weight, _bias(outer, 2))
    return net.model(_image(size), net.add("Relu", net.add("Add", wire, constant) if border else wire))


def between_barriers(size: Size) -> dict[str, ModelProto]:
    """Relu, affine, Relu, no Conv near: nothing can be taken over, only the form is open."""
    made = {}
    for name, written in {"BN": normalization, "Mul, Add": mul_add, "Sub, Mul, Add": sub_mul_add}.items():
        net = Net()
        wire = written(net, net.add("Relu", "x"), numbers(size.channels[0]), channels_first)
        made[name] = net.model(_image(size), net.add("Relu", wire))
    return made


@dataclass(frozen=True)
class Dense:
    """`rows` vectors of `width`; with a batch, a sequence each."""

    rows: int
    width: int
    batch: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the input."""
        return (self.batch, self.rows, self.width) if self.batch else (self.rows, self.width)

    def __str__(self) -> str:
        return "x".join(map(str, self.shape))


def by_reshape(net: Net, wire: str, affine: Numbers, laid: Laid) -> str:
    """[N, T, C] -> [N * T, C], where BatchNormalization has its axis, and back."""
    width = len(affine.gain)
    rows = net.add("Reshape", wire, np.array([-1, width]))
    shaped = net.add("Shape", wire)
    return net.add("Reshape", normalization(net, rows, affine, laid), shaped)


IN_SEQUENCES: dict[str, tuple[Written, bool, bool]] = {
    # form: (what is written, the layer in front takes the scale, and the shift too)
    "Mul, Add": (mul_add, False, False),
    "Sub, Mul, Add": (sub_mul_add, False, False),
    "Reshape, BN, Reshape": (by_reshape, False, False),
    "Add": (add_shift, True, False),
    "Max": (max_only, True, True),
    BOUND: (nothing, True, False),
}
IN_ROWS: dict[str, tuple[Written, bool, bool]] = {
    "BN": (normalization, False, False),
    **{name: form for name, form in IN_SEQUENCES.items() if name != "Reshape, BN, Reshape"},
}


def in_a_sequence(size: Dense) -> dict[str, ModelProto]:
    """[N, T, C]: MatMul, Add, Relu, affine, Relu, MatMul."""
    return {name: _dense(*form, size) for name, form in IN_SEQUENCES.items()}


def in_rows(size: Dense) -> dict[str, ModelProto]:
    """[N, C]: Gemm, Relu, affine, Relu, Gemm."""
    return {name: _dense(*form, size) for name, form in IN_ROWS.items()}


def _dense(written: Written, scale: bool, shift: bool, size: Dense) -> ModelProto:
    net, affine = Net(), numbers(size.width)
    weight, bias = weights(size.width, size.width, seed=1), _bias(size.width, 2)
    if scale:
        weight, bias = weight * affine.scale, bias * affine.scale
    if shift:
        bias = bias + affine.shift
    wire = _layer(net, "x", weight, bias, size)
    wire = written(net, wire if shift else net.add("Relu", wire), affine, channels_last)
    wire = net.add("Relu", wire)
    return net.model(size.shape, _layer(net, wire, weights(size.width, size.width, seed=3), _bias(size.width, 4), size))


def _layer(net: Net, wire: str, weight: Array, bias: Array, size: Dense) -> str:
    if not size.batch:
        return net.add("Gemm", wire, weight, bias)
    return net.add("Add", net.add("MatMul", wire, weight), bias)
