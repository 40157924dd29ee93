"""The bias in front of a normalization: training can not move it to any effect, so it goes into the mean.

    (W x + b - m) / s  =  (W x - (m - b)) / s          for every b, in both modes

Its gradient is zero, up to rounding, and yet an optimiser that divides by the size of gradients moves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnfold.inserting.sites import Site
from bnfold.inserting.view import View
from bnfold.model.constants import Constant
from bnfold.model.graph import Node, Value
from bnfold.model.patch import Patch

Vector = npt.NDArray[np.float64]

OPTIONAL_C = 11
"""From this opset on a Gemm may do without its third input."""


@dataclass(frozen=True, eq=False)
class Bias:
    """What a linear operator adds, one number per channel.

    Attributes:
        values: [C], in float64.
        own: the linear operator, where it adds it itself; `None` where it does not.
        adder: the Add behind it, where there is one.
    """

    values: Vector
    own: Node | None = None
    adder: Node | None = None

    def remove(self, patch: Patch) -> None:
        """Take it out of the graph."""
        if self.own is not None:
            patch.read_instead(self.own, 2, "")
        if self.adder is not None:
            patch.removed.add(self.adder.address)


def bias_of(view: View, site: Site) -> Bias | None:
    """The bias in front of a site, as far as it can go into the mean; `None` where there is none that can."""
    if site.is_behind_activation:
        return None
    own, behind = _own(view, site), _behind(view, site)
    if own is None and behind is None:
        return None
    values = sum((part for part in (own, behind) if part is not None), np.zeros(site.channels))
    return Bias(values, None if own is None else site.linear, None if behind is None else site.bias)


def _own(view: View, site: Site) -> Vector | None:
    """The third input of Conv, ConvTranspose and Gemm (times beta), where it can be left out."""
    node, op = site.linear, view.operator(site.linear)
    constant = op.constant(2) if node.op_type != "MatMul" and _is_fixed(view, op.input(2)) else None
    if constant is None or not constant.is_float:
        return None
    if node.op_type != "Gemm":
        return constant.wide.reshape(-1)
    if node.since_version < OPTIONAL_C:
        return None
    values = _laid(constant, site)
    return None if values is None else values * float(op.attribute("beta", 1.0))


def _behind(view: View, site: Site) -> Vector | None:
    """The constant of the Add behind the operator."""
    if site.bias is None:
        return None
    op = view.operator(site.bias)
    index = 0 if op.constant(0) is not None else 1
    constant = op.constant(index)
    if constant is None or not constant.is_float or not _is_fixed(view, op.input(index)):
        return None
    return _laid(constant, site)


def _is_fixed(view: View, value: Value | None) -> bool:
    """Whether no caller may give other numbers: for them, a mean that holds the default ones would be wrong."""
    if value is None or view.graph.is_overridable(value):
        return False
    return value.producer is None or all(each is None or _is_fixed(view, each) for each in value.producer.inputs)


def _laid(constant: Constant, site: Site) -> Vector | None:
    """A constant that broadcasts to the wire as one number per channel; `None` where it has more than that."""
    shape = (1,) * (site.rank - constant.rank) + constant.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != site.axis):
        return None
    return np.broadcast_to(constant.wide.reshape(-1), (site.channels,)).astype(np.float64)
